# SPDX-License-Identifier: Apache-2.0
"""tests/mutants: does each mistake still apply, and is there one for each subject? Whether it is caught, a command shows."""

from __future__ import annotations

import pytest

from tests import mutants

_MUTANTS = mutants.load()
_PACKAGE = mutants.REPOSITORY / "ociruntime"


def _named(mutant: mutants.Mutant) -> str:
    return f"{mutant.file}: {mutant.what}"


@pytest.mark.parametrize("mutant", _MUTANTS, ids=_named)
def test_applies(mutant: mutants.Mutant) -> None:
    """The old text stands in the file exactly once, and the new one is another; Python still compiles."""
    text = mutant.path.read_text(encoding="utf-8")
    changed = mutants.apply(mutant, text)
    assert changed != text
    if mutant.path.suffix == ".py":
        compile(changed, mutant.file, "exec")


@pytest.mark.parametrize("mutant", _MUTANTS, ids=_named)
def test_names_tests(mutant: mutants.Mutant) -> None:
    """The tests that must catch it are there: a file, or functions of one."""
    assert mutant.tests
    for test in mutant.tests:
        path, _, name = test.partition("::")
        assert f"\ndef {name}(" in (mutants.REPOSITORY / path).read_text(encoding="utf-8") or not name, test


def test_each_subject_has_one() -> None:
    """Every file with a check or plan of its own, below linux/ and hooks.py, is broken at least once."""
    subjects = {
        str(path.relative_to(_PACKAGE))
        for path in [*_PACKAGE.glob("linux/*.py"), _PACKAGE / "hooks.py"]
        if "\ndef check(" in path.read_text(encoding="utf-8")
    }
    assert subjects - {one.file for one in _MUTANTS} == set()


def test_a_place_that_is_gone_is_told() -> None:
    """A text that is missing, or stands there twice, is no mutant."""
    one = _MUTANTS[0]
    for text in ("", one.old * 2):
        with pytest.raises(ValueError, match="places have"):
            mutants.apply(one, text)
