# SPDX-License-Identifier: Apache-2.0
"""How do the runtimes bear many containers: many `run` at once, and many that live while others are asked for, made, deleted?

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.harness.configuration import without_namespace
from tests.perf.contender import wait_for_end
from tests.perf.stopwatch import rate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.harness.bundle import Bundle
    from tests.harness.configuration import Config
    from tests.perf.contender import Contender
    from tests.perf.results import Results
    from tests.perf.sections import Size
    from tests.perf.stopwatch import Lap


_TRIES = 3
_LAPS = 5  # beside the living ones


def at_once(width: int) -> str:
    """The row's name."""
    return f"run, {width} at once" if width > 1 else "run, one after the other"


def measure_at_once(results: Results, contenders: Sequence[Contender], size: Size) -> None:
    """Runs in a second, so many at a time: a new one begins when one has ended."""
    bundles = [one.bundle("many", "true") for one in contenders]
    for width in size.widths:
        rates: dict[str, list[float]] = {one.name: [] for one in contenders}
        count = max(8, 2 * width)
        for _ in range(min(_TRIES, size.rounds)):
            for contender, bundle in zip(contenders, bundles, strict=True):
                words = ("run", "--bundle", str(bundle.directory))
                commands = [contender.argv(*words, contender.new_id()) for _ in range(count)]
                rates[contender.name].append(rate(commands, width))
        for name, values in rates.items():
            results.row(at_once(width), "per second").add(name, values)


def measure_live(results: Results, contenders: Sequence[Contender], size: Size) -> None:
    """state, list, create and delete beside so many living containers, of one runtime after the other.

    Both forms of our command work on the same containers.
    """
    families: dict[str, list[Contender]] = {}
    for contender in contenders:
        families.setdefault("ours" if contender.is_ours else contender.name, []).append(contender)
    for family in families.values():
        with _population(family[0]) as population:
            for count in size.live:
                population.grow(count)
                _beside(results, family, count, population, size)


class Population:
    """Living containers, as small as they can be: each is a sleeping program, without a network of its own."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.ids: list[str] = []
        self._bundle = contender.bundle("living", "sleep", "100000", edit=_small)

    def grow(self, count: int) -> None:
        """Until there are so many."""
        ids = [self.contender.new_id() for _ in range(count - len(self.ids))]
        self.ids += ids
        with _workers() as workers:
            list(workers.map(self._begin, ids))

    def _begin(self, container_id: str) -> None:
        self.contender.runtime.call(
            "run",
            "--detach",
            "--bundle",
            str(self._bundle.directory),
            container_id,
            out=subprocess.DEVNULL,
            err=subprocess.DEVNULL,
        ).ok()

    def remove(self) -> None:
        """Delete them, and wait until they are gone."""
        with _workers() as workers:
            list(workers.map(lambda one: self.contender.runtime.call("delete", "--force", one), self.ids))


def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(len(os.sched_getaffinity(0)))


def _small(config: Config) -> None:
    for kind in ("network", "ipc", "uts"):
        without_namespace(config, kind)
    config.pop("hostname")


@contextmanager
def _population(contender: Contender) -> Iterator[Population]:
    population = Population(contender)
    try:
        yield population
    finally:
        population.remove()


def _beside(
    results: Results, family: Sequence[Contender], count: int, population: Population, size: Size
) -> None:
    """A few laps of each verb; all of the family use the --root of the first one, where the living ones are."""
    bundles = [one.bundle(f"beside-{count}", "sleep", "1000") for one in family]
    laps: dict[tuple[str, str], list[float]] = {}
    middle = population.ids[len(population.ids) // 2]
    for number in range(min(size.rounds, _LAPS) + 1):
        for contender, bundle in zip(family, bundles, strict=True):
            own = contender.runtime.root
            contender.runtime.root = family[0].runtime.root
            taken = _laps(contender, bundle, middle)
            contender.runtime.root = own
            if number > 0:
                for verb, lap in taken.items():
                    laps.setdefault((verb, contender.name), []).append(lap.seconds * 1000)
    for (verb, name), values in laps.items():
        results.row(live(verb, count)).add(name, values)


def _laps(contender: Contender, bundle: Bundle, living: str) -> dict[str, Lap]:
    """State of a living one, list, and create and delete of one more."""
    taken = {"state": contender.lap("state", living), "list": contender.lap("list")}
    container_id = contender.new_id()
    pid_file = contender.directory / "pid"
    words = ("--bundle", str(bundle.directory), "--pid-file", str(pid_file), container_id)
    taken["create"] = contender.lap("create", *words)
    pidfd = os.pidfd_open(int(pid_file.read_text(encoding="ascii")))
    contender.lap("start", container_id)
    contender.lap("kill", container_id, "KILL")
    wait_for_end(pidfd)
    os.close(pidfd)
    taken["delete"] = contender.lap("delete", container_id)
    return taken


def live(verb: str, count: int) -> str:
    """The row's name."""
    return f"{verb} beside {count:,} living"
