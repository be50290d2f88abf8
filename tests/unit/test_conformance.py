# SPDX-License-Identifier: Apache-2.0
"""Is the conformance ledger honest? Every row is whole, every test that it names exists and is collected."""

from __future__ import annotations

import ast
import functools
import json
from collections import Counter
from typing import TYPE_CHECKING

from tests.conformance import ledger
from tests.conftest import is_whole_suite

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

_ROWS = ledger.load()
_INVALID = ledger.REPOSITORY / "bundle-examples/invalid"


@functools.cache
def _functions(path: str) -> frozenset[str]:
    """The test functions that pytest collects from a file, which is where pytest looks and is called test_*.py."""
    assert path.startswith("tests/"), path
    assert path.rpartition("/")[2].startswith("test_"), path
    tree = ast.parse((ledger.REPOSITORY / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def test_there_is_one_row_for_each_requirement() -> None:
    """R001 to R257, each once and in order; as many of each kind as the specification has."""
    assert [row.id for row in _ROWS] == [f"R{number:03}" for number in range(1, 258)]
    assert Counter(row.testable for row in _ROWS) == ledger.KINDS


def _lacks(row: ledger.Requirement) -> Iterator[str]:
    if not all((row.title, row.section, row.level)):
        yield "a title, section or level"
    if not (ledger.REPOSITORY / "ociruntime" / row.subject).is_file():
        yield f"the file {row.subject}"
    if row.status not in ledger.STATUSES:
        yield f"a status: {row.status}"
    if row.status == "shown" and not (row.tests or row.invalid):
        yield "what shows it"
    if row.status != "shown" and not row.why:
        yield "why it is not shown"
    if len(set(row.tests)) != len(row.tests):
        yield "tests that are named once"


def test_rows_are_whole() -> None:
    """Title, section, level and subject are there; what is shown names what shows it, the rest says why not."""
    assert [f"{row.id} lacks {what}" for row in _ROWS for what in _lacks(row)] == []


def test_what_rows_name_exists() -> None:
    """Each test is a function of its file; each invalid bundle is expected to break this very requirement."""
    missing = []
    for row in _ROWS:
        for test in row.tests:
            path, _, name = test.partition("::")
            if not name.startswith("test") or name not in _functions(path):
                missing.append(f"{row.id}: {test}")
        for bundle in row.invalid:
            expected = json.loads((_INVALID / bundle / "expected.json").read_text(encoding="utf-8"))
            if row.id not in {entry["rule"] for entry in expected}:
                missing.append(f"{row.id}: {bundle}")
    assert missing == []


def test_named_tests_are_collected(request: pytest.FixtureRequest) -> None:
    """Where the whole suite is run, each test of the ledger is among what pytest has collected."""
    if not is_whole_suite(request.config):
        return  # a part of the suite has only its own; test_what_rows_name_exists reads the files
    collected = {item.nodeid.partition("[")[0] for item in request.session.items}
    missing = {test for row in _ROWS for test in row.tests} - collected
    assert missing == set()


def test_enough_is_shown() -> None:
    """At least 190 of the 196 that plain root can test, 35 of the 44 with a special set-up, all 11 for authors."""
    done = Counter(row.testable for row in _ROWS if row.status in ("shown", "departs"))
    assert done["plain root"] >= 190
    assert done["special set-up"] >= 35
    assert done["by validate"] == 11


def test_the_page_is_current() -> None:
    """`python3 -m tests.conformance.ledger --write` would change nothing."""
    assert ledger.PAGE.read_text(encoding="utf-8") == ledger.page()
