# SPDX-License-Identifier: Apache-2.0
"""tests/conformance/runtime_tools: is TAP read rightly, and is the table of expectations whole?"""

from __future__ import annotations

import pytest

from tests.conformance.runtime_tools import suite

_GOOD = 'TAP version 13\nok 1 - a\n  ---\n  { "not ok": 1 }\n  ...\nok 2 # SKIP b\n1..2\n'


@pytest.mark.parametrize(
    ("output", "code", "complaints"),
    [
        (_GOOD, 0, ()),
        (_GOOD + _GOOD, 0, ()),
        (_GOOD, 1, ("exit status 1",)),
        (_GOOD.replace("ok 1", "not ok 1"), 0, ("not ok 1 - a",)),
        (_GOOD.replace("ok 1 - a", "not ok 1 - a # Todo later"), 0, ()),
        (_GOOD.replace("1..2", "1..3"), 0, ("2 checks, planned were 3",)),
        (_GOOD.replace("1..2\n", ""), 0, ("it broke off",)),
        (_GOOD + "ok 1 - more\n", 0, ("it broke off",)),
        ("TAP version 13\nBail out! no\n", 0, ("Bail out! no", "it broke off")),
        ("TAP version 13\n  ---\n  error\n  ...\n1..0\n", 0, ()),
        ("", 0, ()),
        ("", 2, ("exit status 2",)),
    ],
)
def test_verdict(output: str, code: int, complaints: tuple[str, ...]) -> None:
    """A failed check, a plan that was not kept, and the exit status count; what is indented or excused does not."""
    verdict = suite.judge(output, code)
    assert verdict.complaints == complaints
    assert verdict.word == ("fail" if complaints else "pass")


def test_points_are_counted() -> None:
    """Checks that were made, and those that were skipped."""
    verdict = suite.judge(_GOOD, 0)
    assert (verdict.passed, verdict.skipped) == (1, 1)


def test_table_is_whole() -> None:
    """58 programs, each with two verdicts; a failure of ours has a cause and a reason, a pass has no cause."""
    table = suite.expectations().values()
    assert len(table) == 58
    for row in table:
        assert {row.ociruntime, row.runc} <= {"pass", "fail"}, row
        assert (row.ociruntime == "fail") == bool(row.cause), row
        assert row.cause in {"", *suite.CAUSES}, row
        assert row.reason or "fail" not in (row.ociruntime, row.runc), row


def test_as_many_pass_as_can() -> None:
    """45 programs are what any conformant runtime passes as plain root; what is still missing counts against it."""
    table = suite.expectations().values()
    assert sum(row.ociruntime == "pass" or row.cause == "missing" for row in table) == 45
    assert [row.name for row in table if row.in_user_namespace == "pass"] == ["process_capabilities"]
