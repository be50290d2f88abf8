# SPDX-License-Identifier: Apache-2.0
"""How are the measurements shown? Plain text tables that can be pasted into docs/evidence/performance.md.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import platform
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.perf.contender import LIFE, OPERATIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.perf.breakdown import Part
    from tests.perf.contender import Contender
    from tests.perf.stopwatch import Times

FLOOR = "python3 -I -S -c pass"


class Budget(NamedTuple):
    """A promise about a ratio of two minima of one session."""

    what: str
    ratio: float
    limit: float

    def kept(self) -> bool:
        return self.ratio <= self.limit

    def line(self) -> str:
        verdict = "kept" if self.kept() else "missed"
        return f"{self.what:<46}{self.ratio:8.2f}   at most {self.limit:.2f}: {verdict}"


def machine() -> str:
    """Where and when: numbers of different machines and loads can't be compared."""
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    python = platform.python_version()
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    cores = len(os.sched_getaffinity(0))
    return f"{when} UTC, Linux {platform.release()}, {cores} cores, load {load}, tests by Python {python}"


def table(contenders: Sequence[Contender], floor: Times) -> str:
    """Minimum and median of every operation, and the first contender's minimum as a ratio to each of the others'."""
    ours, *peers = contenders
    heads = ["milliseconds", *(one.name for one in contenders), *(f"/ {one.name}" for one in peers)]
    rows = [heads]
    for operation in OPERATIONS:
        row = [operation, *(cell(one.times[operation]) for one in contenders)]
        row += [f"{ours.times[operation].least() / one.times[operation].least():.2f}" for one in peers]
        rows.append(row)
    sums = [sum(one.times[operation].least() for operation in LIFE) for one in contenders]
    rows.append(
        [
            "create to delete",
            *(f"{one:6.1f}        " for one in sums),
            *(f"{sums[0] / one:.2f}" for one in sums[1:]),
        ]
    )
    row = ["processor, run", *(f"{one.times['run'].cpu():6.1f}        " for one in contenders)]
    row += [f"{ours.times['run'].cpu() / one.times['run'].cpu():.2f}" for one in peers]
    rows.append(row)
    return f"{aligned(rows)}\n{FLOOR:<18}{cell(floor)}   (minimum, and the median in brackets)"


def cell(times: Times) -> str:
    """Minimum (median)."""
    return f"{times.least():6.1f} ({times.median():5.1f})"


def aligned(rows: list[list[str]]) -> str:
    """Columns of equal width; the first one to the left, the others to the right."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            word.ljust(width) if index == 0 else word.rjust(width)
            for index, (word, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def memory_table(contenders: Sequence[Contender]) -> str:
    """Peak resident set of create and state."""
    peaks = [one.memory() for one in contenders]
    rows = [["peak memory, KiB", *(one.name for one in contenders)]]
    rows += [[verb, *(str(peak[verb]) for peak in peaks)] for verb in peaks[0]]
    return aligned(rows)


def breakdown_table(verb: str, parts: Sequence[Part]) -> str:
    """The parts of one call, in order, with their share."""
    whole = sum(part.milliseconds for part in parts)
    rows = [[f"where {verb}'s time goes", "ms", "%"]]
    for part in parts:
        share = 100 * part.milliseconds / whole
        rows.append([f"{part.where:<8} {part.what}"[:76], f"{part.milliseconds:.2f}", f"{share:.0f}"])
    rows.append(["whole", f"{whole:.2f}", "100"])
    return aligned(rows)


def budgets(contenders: Sequence[Contender], floor: Times) -> list[Budget]:
    """What was promised, as far as the contenders allow to say it."""
    ours, *peers = contenders
    promised = [Budget(f"state / {FLOOR}", ours.times["state"].least() / floor.least(), 1.7)]
    promised += [
        Budget(f"run / {peer.name} run", ours.times["run"].least() / peer.times["run"].least(), 0.75)
        for peer in peers
        if peer.name == "runc"
    ]
    return promised
