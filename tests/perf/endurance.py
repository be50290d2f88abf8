# SPDX-License-Identifier: Apache-2.0
"""Does a process that uses the library for a long time stay as it was? sudo .venv/bin/python3 -m tests.perf.endurance --write

10,000 exec requests on one warm container, then 2,000 `run`s, each with captured output. Before and after: descriptors,
threads, children, memory; the latency of the first and the last thousand. --write makes docs/evidence/endurance.md.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import ociruntime
from ociruntime import Container, Options, Result, bundle, make_config
from tests.harness.rootfs import busybox_template

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = Path(__file__).parents[2] / "docs" / "evidence" / "endurance.md"
WARM_UP = 50  # calls before the first look: what is imported and cached once
_MEMORY_MAY_GROW = 2 << 20  # bytes: pages of the allocator, whose number is not a matter of how long it runs
_REAPER = "while :; do sleep 1000000 & wait $!; done"


class Look(NamedTuple):
    """What a process has."""

    descriptors: int
    threads: int
    children: int
    memory: int  # resident bytes of its own


class Course(NamedTuple):
    """One kind of call, many times."""

    name: str
    times: int
    before: Look
    after: Look
    first: list[float]  # ms
    last: list[float]

    def problems(self) -> list[str]:
        """What is not flat."""
        found = [
            f"{self.name}: {getattr(self.before, what)} {what} before, {getattr(self.after, what)} after"
            for what in ("descriptors", "threads", "children")
            if getattr(self.before, what) != getattr(self.after, what)
        ]
        grown = self.after.memory - self.before.memory
        return found + ([f"{self.name}: memory grew by {grown} bytes"] if grown > _MEMORY_MAY_GROW else [])

    def row(self) -> str:
        """A line of the page's table."""
        flat = [f"{old} / {new}" for old, new in zip(self.before[:3], self.after[:3], strict=True)]
        memory = f"{self.before.memory / 2**20:.1f} / {self.after.memory / 2**20:.1f}"
        times = [f"{statistics.median(part):.1f} / {_late(part):.1f}" for part in (self.first, self.last)]
        return f"| {' | '.join([self.name, f'{self.times:,}', *flat, memory, *times])} |"


def _late(times: list[float]) -> float:
    return sorted(times)[len(times) * 99 // 100]


def look() -> Look:
    """At this process."""
    gc.collect()
    rollup = Path("/proc/self/smaps_rollup").read_text(encoding="ascii")
    own = sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_"))
    children = len(Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split())
    return Look(len(os.listdir("/proc/self/fd")), threading.active_count(), children, own << 10)


def course(name: str, count: int, call: Callable[[int], Result]) -> Course:
    """Call it so often. Raises AssertionError if a result is wrong."""
    for number in range(WARM_UP):
        _require(call(-1 - number))
    before, times = look(), []
    for number in range(count):
        began = time.perf_counter()
        result = call(number)
        times.append((time.perf_counter() - began) * 1000)
        _require(result)
    part = min(1000, count // 2)
    return Course(name, count, before, look(), times[:part], times[-part:])


def _require(result: Result) -> None:
    assert (result.exit_code, result.stdout, result.warnings) == (0, b"hi\n", []), (result, result.warnings)


def endure(root: str, execs: int, runs: int) -> list[Course]:
    """Both courses, in this process."""
    echo = ["/bin/busybox", "echo", "hi"]

    def config(args: list[str]) -> bundle.Bundle:
        return bundle.made(make_config(args, str(busybox_template()), user_namespace=False))

    short = config(echo)

    def run(number: int) -> Result:
        return ociruntime.run(root, short, Options(f"endure{number}"), capture=True, timeout=60)

    def execute(container: Container) -> Course:
        return course("`Container.run`", execs, lambda _: container.run(echo, capture=True, timeout=60))

    with ociruntime.create(root, config(["/bin/sh", "-c", _REAPER]), Options("endure-warm")) as warm:
        warm.start()
        found = [execute(warm)]
    return [*found, course("`run`", runs, run)]


def page(courses: list[Course]) -> str:
    """docs/evidence/endurance.md."""
    load = ", ".join(f"{number:.1f}" for number in os.getloadavg())
    return "\n".join([
        "# A process that uses the library for long",
        "",
        "One process, one thread: exec requests on one warm container, then containers of their own, each with the preset",
        "`untrusted` (a seccomp filter, limits, captured output, a time limit), and each result is checked. Before / after:",
        "descriptors, threads, children, private memory in MiB (anonymous, smaps_rollup). Then the latency in ms of the first and",
        "of the last thousand, median / 99th percentile; other work ran on the machine at the same time, so only their ratio counts.",
        "",
        "| call | times | descriptors | threads | children | MiB | first thousand | last thousand |",
        "|---|---|---|---|---|---|---|---|",
        *(one.row() for one in courses),
        "",
        f"Linux {os.uname().release}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}, load {load} at the end, {time.strftime('%Y-%m-%d')}.",
        "Made by `sudo nice .venv/bin/python3 -m tests.perf.endurance --write`; do not edit.",
        "",
    ])  # fmt: skip


def main() -> int:
    """Returns 1 if something was not flat."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--execs", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=2_000)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="endurance-") as root:
        courses = endure(f"{root}/state", given.execs, given.runs)
    print(page(courses))
    if given.write:
        PAGE.write_text(page(courses), encoding="utf-8")
    problems = [problem for one in courses for problem in one.problems()]
    print(*problems, sep="\n", end="")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
