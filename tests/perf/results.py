# SPDX-License-Identifier: Apache-2.0
"""What was measured? Rows of figures by contender, with the machine and its load; kept as JSON between two calls of the tool.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# What is ours, the best form first: the first one that has a figure in a row is compared with the peers.
OURS = ("library", "snapshot", "launcher")
UNITS = ("ms", "KiB", "per second")


class Figure(NamedTuple):
    """The best of some measurements (the least time, the highest rate), and the middle one."""

    best: float
    median: float


@dataclass
class Row:
    """One line of the table: an operation, the unit, and a figure for each contender that could do it."""

    unit: str
    figures: dict[str, Figure] = field(default_factory=dict)

    def add(self, contender: str, values: Iterable[float]) -> None:
        """Enter what was measured, all in the row's unit."""
        measured = list(values)
        best = max(measured) if self.unit == "per second" else min(measured)
        self.figures[contender] = Figure(best, statistics.median(measured))

    def ours(self) -> str:
        """The contender of ours that is compared; "" if there is none."""
        return next((name for name in OURS if name in self.figures), "")

    def ratio(self, peer: str, ours: str = "") -> float | None:
        """Our best figure by the peer's, or None if there is no such pair."""
        ours = ours or self.ours()
        if ours not in self.figures or peer not in self.figures:
            return None
        return self.figures[ours].best / self.figures[peer].best


class Phase(NamedTuple):
    """One part of a call's time: the form that was called, what happens, ms."""

    form: str
    what: str
    milliseconds: float


@dataclass
class Results:
    """Everything of one call of the tool."""

    machine: str
    contenders: dict[str, str]  # name -> what it is, with its version
    rows: dict[str, Row] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)
    load: list[float] = field(
        default_factory=list
    )  # of the last minute, at the start of each section, and at the end
    failures: list[str] = field(default_factory=list)  # sections that could not be measured, and why

    def row(self, name: str, unit: str = "ms") -> Row:
        """The row of that name, made if it is not there."""
        assert unit in UNITS, unit
        return self.rows.setdefault(name, Row(unit))

    def note_load(self) -> None:
        """Remember how busy the machine is now."""
        self.load.append(round(os.getloadavg()[0], 1))

    def where(self) -> str:
        """The machine, the date and the load in one line."""
        return f"{self.machine}, load {min(self.load):.1f} to {max(self.load):.1f}"

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def machine() -> str:
    """Where and when: figures of different machines can't be compared."""
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    cores = len(os.sched_getaffinity(0))
    return f"{when} UTC, Linux {platform.release()}, {cores} cores, Python {platform.python_version()}"


def read(path: Path) -> Results:
    """What `save` has written. Raises OSError, ValueError or KeyError if it is not that."""
    document = json.loads(path.read_text(encoding="utf-8"))
    rows = {
        name: Row(row["unit"], {who: Figure(*figure) for who, figure in row["figures"].items()})
        for name, row in document["rows"].items()
    }
    phases = [Phase(*phase) for phase in document["phases"]]
    return Results(
        document["machine"], document["contenders"], rows, phases, document["load"], document["failures"]
    )
