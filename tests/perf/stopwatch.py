# SPDX-License-Identifier: Apache-2.0
"""How long does one process take, and what do many such times say?

Only the minimum tells what a program costs: everything else that happens on a machine makes times longer. The
median says what to expect. Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import functools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.harness.driver import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Sequence


class Lap(NamedTuple):
    """One process: when it was started (CLOCK_MONOTONIC, s), how long it took, and its processor time."""

    begun: float
    seconds: float
    cpu: float


class Times:
    """The laps of one command."""

    def __init__(self) -> None:
        self.laps: list[Lap] = []

    def least(self) -> float:
        """The shortest lap, in milliseconds."""
        return min(lap.seconds for lap in self.laps) * 1000

    def median(self) -> float:
        """The middle one, in milliseconds."""
        return statistics.median(lap.seconds for lap in self.laps) * 1000

    def cpu(self) -> float:
        """The least processor time, user and system, in milliseconds."""
        return min(lap.cpu for lap in self.laps) * 1000


class CommandFailedError(Exception):
    """A command that is measured did not succeed: its time says nothing."""


def lap(argv: Sequence[str], diagnostics: str = os.devnull) -> Lap:
    """Run a command with its output thrown away, and time it from before the spawn until it is reaped.

    diagnostics   file for its stderr
    Raises CommandFailedError unless it ends with 0.
    """
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_OPEN, 2, diagnostics, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    begun = time.monotonic()
    pid = os.posix_spawn(argv[0], list(argv), ENVIRONMENT, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - begun
    if status != 0:
        said = ""
        if diagnostics != os.devnull:
            with open(diagnostics, encoding="utf-8", errors="replace") as file:
                said = f": {file.read().strip()}"
        raise CommandFailedError(f"{' '.join(argv)}: wait status {status}{said}")
    return Lap(begun, seconds, usage.ru_utime + usage.ru_stime)


def peak_memory(argv: Sequence[str]) -> int:
    """The largest resident set of a command, in KiB.

    It is started by a small program, because a process counts the memory of the one that it was forked from.
    """
    return _told(argv) // _unit()


def _told(argv: Sequence[str]) -> int:
    """What busybox says about a command's memory; in a file, as a pipe would be held by the container."""
    with tempfile.NamedTemporaryFile() as told, tempfile.TemporaryFile() as said:
        done = subprocess.run(
            ["/bin/busybox", "time", "-f", "%M", "-o", told.name, *argv],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=said,
            check=False,
        )
        if done.returncode != 0:
            said.seek(0)
            raise CommandFailedError(f"{' '.join(argv)}: {said.read().decode(errors='replace').strip()}")
        return int(told.read().split()[-1])


@functools.cache
def _unit() -> int:
    """4 for a busybox that takes the kernel's KiB for pages and tells four times as much (1.35 does), else 1."""
    known = 100_000  # KiB
    program = f"text = b'x' * {known * 1024}"
    told = _told([sys.executable, "-I", "-S", "-c", program])
    return 4 if told > 3 * known else 1
