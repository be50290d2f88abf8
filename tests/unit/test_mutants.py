# SPDX-License-Identifier: Apache-2.0
"""tests/mutants: does each mistake still apply, and is there one for each subject? Whether it is caught, a command shows."""

from __future__ import annotations

import functools

import pytest

from tests import mutants
from tests.conformance import ledger

_MUTANTS = mutants.load()
_PACKAGE = mutants.REPOSITORY / "ociruntime"
_ROWS = {row.id: row for row in ledger.load()}
_INVALID = "tests/unit/test_schema_invalid.py"


@functools.cache
def _text(path: str) -> str:
    return (mutants.REPOSITORY / path).read_text(encoding="utf-8")


def _named(mutant: mutants.Mutant) -> str:
    return f"{mutant.file}: {mutant.what}"


def test_they_apply() -> None:
    """The old text is in the file exactly once, and the new one differs; Python still compiles."""
    gone = []
    for mutant in _MUTANTS:
        try:
            changed = mutants.apply(mutant, _text(mutant.place))
        except ValueError as failure:
            gone.append(f"{_named(mutant)}: {failure}")
            continue
        if changed == _text(mutant.place):
            gone.append(f"{_named(mutant)}: nothing changes")
        if mutant.place.endswith(".py"):
            compile(changed, mutant.file, "exec")
    assert gone == []


def test_they_name_tests() -> None:
    """The tests that must catch one are there: a file, or functions of one."""
    for mutant in _MUTANTS:
        assert mutant.tests, _named(mutant)
        for test in mutant.tests:
            path, _, name = test.partition("::")
            assert f"\ndef {name.partition('[')[0]}(" in _text(path) or not name, test


def test_a_row_s_mutant_is_caught_by_the_row_s_tests() -> None:
    """Only a row's own tests can show that they are not blind."""
    wrong = []
    for mutant in _MUTANTS:
        for number in mutant.rows:
            row = _ROWS[number]
            named = {test.partition("[")[0] for test in mutant.tests}
            if row.invalid:
                named = {test for test in named if not test.startswith(_INVALID)}
            if not named <= set(row.tests):
                wrong.append(f"{number}: {sorted(named - set(row.tests))}")
    assert wrong == []


def test_each_row_has_one_or_a_reason() -> None:
    """A requirement that is shown is broken by a mutant, or without.toml says why not; never both."""
    shown = {row.id for row in _ROWS.values() if row.status == "shown"}
    broken = {number for mutant in _MUTANTS for number in mutant.rows}
    reasons = mutants.without()
    assert sorted(shown - broken - set(reasons)) == []
    assert sorted(broken & set(reasons)) == []
    assert set(reasons) <= shown
    assert all(len(reason) > 20 for reason in reasons.values())


def test_each_subject_has_one() -> None:
    """Every file with a check or plan of its own, below linux/, is broken at least once."""
    subjects = {
        str(path.relative_to(_PACKAGE))
        for path in _PACKAGE.glob("linux/*.py")
        if "\ndef check(" in path.read_text(encoding="utf-8")
    }
    assert subjects - {one.file for one in _MUTANTS} == set()


def test_a_place_that_is_gone_is_told() -> None:
    """A text that is missing, or occurs twice, can't be a mutant's."""
    one = _MUTANTS[0]
    for text in ("", one.old * 2):
        with pytest.raises(ValueError, match="places have"):
            mutants.apply(one, text)
