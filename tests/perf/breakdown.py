# SPDX-License-Identifier: Apache-2.0
"""Where does the time of one operation go? Its own --trace, between the spawn and the reaping of the process.

Stopwatch and trace use the same clock (CLOCK_MONOTONIC), so what is not in the trace is known as well: what
came before it (shell, interpreter, imports) and after it. Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    from tests.perf.contender import Contender
    from tests.perf.stopwatch import Lap

_VERB, _RUNTIME, _INIT = 0, 1, 2  # rows of the trace
_NOTHING = 0.01  # ms between two steps that is not worth a line


class Part(NamedTuple):
    """One line of the breakdown: who works, on what, for how long (ms)."""

    where: str
    what: str
    milliseconds: float


def breakdown(contender: Contender, verb: str, rounds: int) -> list[Part]:
    """The parts of the fastest of some rounds of `create` or `run`; they add up to its whole time."""
    trace = contender.directory / "trace.json"
    best: tuple[Lap, list[dict[str, Any]]] | None = None
    for _ in range(rounds):
        container_id = contender.new_id()
        bundle = contender.ending if verb == "run" else contender.staying
        words = ("--trace", str(trace), verb, "--bundle", str(bundle.directory), container_id)
        lap = contender.lap(*words)
        if verb != "run":
            contender.lap("delete", "--force", container_id)
        if best is None or lap.seconds < best[0].seconds:
            best = (lap, events_of(trace))
    assert best is not None, "at least one round"
    return parts_of(*best)


def events_of(trace: Path) -> list[dict[str, Any]]:
    """The events with a duration, of a trace file."""
    events = json.loads(trace.read_bytes())["traceEvents"]
    return [event for event in events if event["ph"] == "X"]


def parts_of(lap: Lap, events: list[dict[str, Any]]) -> list[Part]:
    """One process's time as parts without gaps: what is between two steps has a line of its own."""
    whole = next(event for event in events if event["tid"] == _VERB)
    begun, ended = lap.begun * 1e6, (lap.begun + lap.seconds) * 1e6
    parts = [Part("process", "shell, interpreter, imports, flags", (whole["ts"] - begun) / 1000)]
    now = whole["ts"]
    end = whole["ts"] + whole["dur"]
    for event in sorted((one for one in events if one["tid"] != _VERB), key=lambda one: one["ts"]):
        since = (event["ts"] - now) / 1000
        first = len(parts) == 1
        if since > _NOTHING:
            parts.append(Part("runtime", "check, plan" if first else "between steps", since))
        last = min(event["ts"] + event["dur"], end)
        if last > now:
            where = "runtime" if event["tid"] == _RUNTIME else "init"
            parts.append(
                Part(where, event["name"], (last - (event["ts"] if since > _NOTHING else now)) / 1000)
            )
            now = last
    parts.append(Part("runtime", "after the last step", (end - now) / 1000))
    parts.append(Part("process", "writing the trace, end of the process", (ended - end) / 1000))
    return parts


def gathered(parts: list[Part], least: float) -> list[Part]:
    """The same, with the parts below `least` ms that follow each other and belong to one side added up."""
    shown: list[Part] = []
    small: list[Part] = []

    def flush() -> None:
        if small:
            names = small[0].what if len(small) == 1 else f"{len(small)} parts below {least} ms"
            shown.append(Part(small[0].where, names, sum(part.milliseconds for part in small)))
            small.clear()

    for part in parts:
        if part.milliseconds >= least:
            flush()
            shown.append(part)
            continue
        if small and small[0].where != part.where:
            flush()
        small.append(part)
    flush()
    return shown
