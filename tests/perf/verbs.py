# SPDX-License-Identifier: Apache-2.0
"""How long does each verb take? The life of a container, one process a verb, and `run`; the contenders take turns.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.perf.contender import wait_for_end

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.harness.bundle import Bundle
    from tests.perf.contender import Contender
    from tests.perf.results import Results
    from tests.perf.sections import Size
    from tests.perf.stopwatch import Lap

LIFE = ("create", "start", "state", "kill", "delete")
OPERATIONS = ("run", *LIFE, "exec")
FIVE = "the five verbs"
# Whose processor time has a row.
_BUSY = ("run", "create", "exec")
Laps = dict[str, list["Lap"]]


def measure(results: Results, contenders: Sequence[Contender], size: Size) -> None:
    """One round to warm up, and so many that count."""
    bundles = [(one.bundle("staying", "sleep", "1000"), one.bundle("ending", "true")) for one in contenders]
    laps: list[Laps] = [defaultdict(list) for _ in contenders]
    for number in range(size.rounds + 1):
        if number == 1:
            for one in laps:
                one.clear()
        for contender, (staying, ending), taken in zip(contenders, bundles, laps, strict=True):
            one_round(contender, staying, ending, taken)
    for operation in OPERATIONS:
        for contender, taken in zip(contenders, laps, strict=True):
            results.row(operation).add(contender.name, _milliseconds(taken[operation]))
        if operation == LIFE[-1]:
            for contender, taken in zip(contenders, laps, strict=True):
                _five(results, contender.name, taken)
    for contender, taken in zip(contenders, laps, strict=True):
        for operation in _BUSY:
            row = results.row(f"{operation}, processor time")
            row.add(contender.name, (lap.cpu * 1000 for lap in taken[operation]))
        row = results.row(f"{FIVE}, processor time")
        sums = [sum(lap.cpu for lap in one) * 1000 for one in _rounds(taken)]
        row.add(contender.name, sums)


def one_round(contender: Contender, staying: Bundle, ending: Bundle, taken: Laps) -> None:
    """One container's life, and one run; every operation adds one lap."""
    container_id = contender.new_id()
    pid_file = contender.directory / "pid"

    def take(verb: str, *words: str) -> None:
        taken[verb].append(contender.lap(verb, *words))

    take("create", "--bundle", str(staying.directory), "--pid-file", str(pid_file), container_id)
    pidfd = os.pidfd_open(int(pid_file.read_text(encoding="ascii")))
    try:
        take("start", container_id)
        take("state", container_id)
        take("exec", container_id, "true")
        take("kill", container_id, "KILL")
        wait_for_end(pidfd)
    finally:
        os.close(pidfd)
    take("delete", container_id)
    take("run", "--bundle", str(ending.directory), container_id)


def _milliseconds(laps: Iterable[Lap]) -> list[float]:
    return [lap.seconds * 1000 for lap in laps]


def _rounds(taken: Laps) -> Iterable[tuple[Lap, ...]]:
    """The five laps of each round."""
    return zip(*(taken[operation] for operation in LIFE), strict=True)


def _five(results: Results, name: str, taken: Laps) -> None:
    """The sum of the five minima, as the budgets have it, and the median of the rounds' sums."""
    row = results.row(FIVE)
    row.add(name, (sum(lap.seconds for lap in one) * 1000 for one in _rounds(taken)))
    least = sum(min(_milliseconds(taken[operation])) for operation in LIFE)
    row.figures[name] = row.figures[name]._replace(best=least)
