# SPDX-License-Identifier: Apache-2.0
"""Where does the time of `run` go? Its own --trace, and for what lies before and after it a few stamps of strace.

The trace has the steps of the runtime and of init; strace stops only the calls that mark the start and the end of the process,
so that everything else runs at full speed. Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.harness.driver import ENVIRONMENT, TIMEOUT
from tests.perf.results import Phase
from tests.perf.stopwatch import CommandFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.harness.bundle import Bundle
    from tests.perf.contender import Contender
    from tests.perf.results import Results
    from tests.perf.sections import Size
    from tests.perf.stopwatch import Lap

# strace stops for each of these; what lies between two of them is known
_MARKS = "execve,brk,wait4,exit_group"
_VERB, _INIT = 0, 2  # rows of the trace
KERNEL_STARTS = "the kernel executes and maps the program"
PYTHON_STARTS = "libc and Python start, flags"
DELETE, KERNEL_ENDS = "delete", "the kernel ends the process"
PROGRAM = "the program runs, and is waited for"


class Marks(NamedTuple):
    """What strace has seen of one call, in ms."""

    exec: float  # from execve until the program's first call
    delete: float  # from the end of the waiting until exit_group
    exit: float  # from exit_group until the process is gone


def measure(results: Results, contenders: Sequence[Contender], size: Size) -> None:
    """Both forms of our command."""
    for contender in contenders:
        if contender.is_ours:
            bundle = contender.bundle("traced", "true")
            results.phases += breakdown(contender, bundle, size.rounds)


def breakdown(contender: Contender, bundle: Bundle, rounds: int) -> list[Phase]:
    """The phases of the fastest of some rounds; they add up to its whole time."""
    trace = contender.directory / "trace.json"
    best: tuple[Lap, list[dict[str, Any]]] | None = None
    for _ in range(rounds):
        words = ("--trace", str(trace), "run", "--bundle", str(bundle.directory), contender.new_id())
        lap = contender.lap(*words)
        if best is None or lap.seconds < best[0].seconds:
            best = (lap, events_of(trace))
    assert best is not None, "at least one round"
    lap, events = best
    # The trace has the clock that no time namespace shifts, the stopwatch the one that nobody sets.
    begun = (lap.begun + time.time() - time.monotonic()) * 1000
    parts = parts_of(begun, begun + lap.seconds * 1000, events)
    marked = [marks(contender, bundle) for _ in range(min(rounds, 5))]
    least = Marks(*(min(values) for values in zip(*marked, strict=True)))
    return [
        Phase(contender.name, *part)
        for part in split(parts, least, in_one_program=contender.name == "snapshot")
    ]


def events_of(trace: Path) -> list[dict[str, Any]]:
    """The events with a duration, of a trace file, in the order of time."""
    events = [event for event in json.loads(trace.read_bytes())["traceEvents"] if event["ph"] == "X"]
    return sorted(events, key=lambda event: float(event["ts"]))


def parts_of(begun: float, ended: float, events: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """One process's time in parts without gaps: (what, ms). begun, ended: when, in ms of the trace's clock."""

    def when(word: str, *, end: bool = False) -> float:
        found = [one for one in events if one["tid"] != _VERB and one["name"].startswith(word)]
        if not found:
            raise CommandFailedError(f"no step {word!r} in the trace")
        return float(found[-1]["ts"] + (found[-1]["dur"] if end else 0)) / 1000

    prepares = next(event for event in events if event["name"] == "check, plan")
    first = next(event for event in events if event["tid"] != _VERB)
    inside = next(event for event in events if event["tid"] == _INIT)
    borders = (
        (PYTHON_STARTS, prepares["ts"] / 1000),
        ("load, check, plan", first["ts"] / 1000),
        ("cgroups, and the plan for init", when("clone init")),
        ("spawn init", inside["ts"] / 1000),
        ("init makes the container", when("sync ready")),
        ("write the state, start", when("exec ")),
        ("init executes the program", when("exec ", end=True)),
        (PROGRAM, ended),
    )
    parts = []
    now = begun
    for what, border in borders:
        until = min(max(border, now), ended)  # steps that overlap count once
        parts.append((what, until - now))
        now = until
    return parts


def split(parts: list[tuple[str, float]], seen: Marks, *, in_one_program: bool) -> list[tuple[str, float]]:
    """The same sum, with what strace has seen as parts of the first and the last one.

    in_one_program  nothing else is executed before the command: otherwise the start is not divided
    """
    (first, starting), *middle, (last, ending) = parts
    exec_ = min(seen.exec, starting)
    delete = min(seen.delete, ending)
    exit_ = min(seen.exit, ending - delete)
    beginning = [(KERNEL_STARTS, exec_), (first, starting - exec_)]
    if not in_one_program:
        beginning = [("shell and Python start, imports, flags", starting)]
    return [*beginning, *middle, (last, ending - delete - exit_), (DELETE, delete), (KERNEL_ENDS, exit_)]


def marks(contender: Contender, bundle: Bundle) -> Marks:
    """One run under strace."""
    seen = contender.directory / "strace"
    argv = contender.argv("run", "--bundle", str(bundle.directory), contender.new_id())
    words = ["/usr/bin/strace", "-f", "--seccomp-bpf", "-q", "-ttt", "-e", f"trace={_MARKS}"]
    subprocess.run(
        [*words, "-e", "signal=none", "-o", str(seen), *argv],
        env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=TIMEOUT, check=True,
    )  # fmt: skip
    return marks_in(seen.read_text(errors="replace"))


def marks_in(text: str) -> Marks:
    """What the lines of strace say: `PID SECONDS CALL`."""
    lines = [line.split(None, 2) for line in text.splitlines()]
    host = lines[0][0]
    calls = [(float(stamp) * 1000, call) for pid, stamp, call in lines if pid == host]

    def last(pattern: str) -> float:
        found = [stamp for stamp, call in calls if re.match(pattern, call)]
        if not found:
            raise CommandFailedError(f"no {pattern} in the lines of strace")
        return found[-1]

    leaving = last(r"exit_group\(")
    waited = last(r"wait4\(.*\) = \d|<\.\.\. wait4 resumed>.*\) = \d")
    return Marks(calls[1][0] - calls[0][0], leaving - waited, last(r"\+\+\+ exited") - leaving)
