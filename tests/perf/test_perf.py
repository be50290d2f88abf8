# SPDX-License-Identifier: Apache-2.0
"""Does the measuring work? Times are printed, and no test fails on them: `python -m tests.perf --check` does."""

from __future__ import annotations

import pytest

from tests.harness.driver import runtime_under_test
from tests.perf import __main__ as command, report
from tests.perf.breakdown import Part, gathered, parts_of
from tests.perf.contender import OPERATIONS
from tests.perf.stopwatch import CommandFailedError, Lap, Times, lap, peak_memory

MILLISECOND = 1000.0  # in a trace's unit


def test_a_failing_command_is_no_lap() -> None:
    """The time of a command that failed is refused, with its words."""
    with pytest.raises(CommandFailedError, match="/bin/false: wait status 256"):
        lap(["/bin/false"])


def test_the_parts_add_up_to_the_whole() -> None:
    """A breakdown has no gap and counts nothing twice, where steps of both sides overlap as well."""
    events = [
        {"tid": 0, "ts": 1_010 * MILLISECOND, "dur": 15 * MILLISECOND, "name": "create"},
        {"tid": 1, "ts": 1_012 * MILLISECOND, "dur": 4 * MILLISECOND, "name": "clone"},
        {"tid": 2, "ts": 1_015 * MILLISECOND, "dur": 3 * MILLISECOND, "name": "mount"},
        {"tid": 2, "ts": 1_019 * MILLISECOND, "dur": 90 * MILLISECOND, "name": "wait for start"},
    ]
    parts = parts_of(Lap(1.0, 0.030, 0.0), events)
    assert sum(part.milliseconds for part in parts) == pytest.approx(30.0)
    times = {part.what: part.milliseconds for part in parts}
    assert times["shell, interpreter, imports, flags"] == pytest.approx(10.0)
    assert times["check, plan"] == pytest.approx(2.0)
    assert times["mount"] == pytest.approx(2.0)
    assert times["wait for start"] == pytest.approx(6.0)


def test_small_parts_are_added_up() -> None:
    """What is gathered keeps the sum, and a large part its own line."""
    parts = [
        Part("init", "a", 0.01),
        Part("init", "b", 0.02),
        Part("init", "c", 0.5),
        Part("runtime", "d", 0.03),
    ]
    small, large, other = gathered(parts, 0.1)
    assert small.what == "2 parts below 0.1 ms"
    assert small.milliseconds == pytest.approx(0.03)
    assert (large, other) == (parts[2], parts[3])


def test_a_budget_is_judged() -> None:
    """A ratio above its limit is missed, and the line says so."""
    assert report.Budget("x", 0.75, 0.75).kept()
    assert "missed" in report.Budget("x", 0.76, 0.75).line()
    times = Times()
    times.laps += [Lap(0.0, 0.003, 0.002), Lap(0.0, 0.001, 0.004), Lap(0.0, 0.002, 0.009)]
    assert (times.least(), times.median(), times.cpu()) == pytest.approx((1.0, 2.0, 2.0))


def test_memory_is_that_of_the_command_alone() -> None:
    """A program of 40 MiB is seen as one, and a small one not as large as this process."""
    large = peak_memory(["/usr/bin/python3", "-I", "-S", "-c", "b'x' * (40 << 20)"])
    assert 40 << 10 < large < 80 << 10
    assert peak_memory(["/bin/true"]) < 8 << 10


@pytest.mark.root
@pytest.mark.perf
def test_the_table_has_every_operation(capsys: pytest.CaptureFixture[str]) -> None:
    """Two rounds of all runtimes: every operation succeeds under each and gets its line, and the parts their table."""
    assert command.main(["--rounds", "2"]) == 0
    printed = capsys.readouterr().out
    print(printed)
    words = [line.split() for line in printed.splitlines()]
    for operation in OPERATIONS:
        assert any(row[:1] == [operation] and len(row) >= 7 for row in words), operation
    if runtime_under_test() == "ociruntime":
        assert "where create's time goes" in printed
        assert "clone init" in printed
    assert "peak memory" in printed
    assert f"state / {report.FLOOR}" in printed
