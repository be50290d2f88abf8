# SPDX-License-Identifier: Apache-2.0
"""One runtime in the race: the life of a container, one process an operation, each timed.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import select
from typing import TYPE_CHECKING

from tests.harness.bundle import make_bundle
from tests.harness.driver import MARK, Runtime
from tests.perf.stopwatch import CommandFailedError, Lap, Times, lap, peak_memory

if TYPE_CHECKING:
    from pathlib import Path

LIFE = ("create", "start", "state", "kill", "delete")
OPERATIONS = (*LIFE, "run")
_PATIENCE = 10_000  # milliseconds for a killed program to be gone


class Contender:
    """One runtime with two bundles: a program that stays, and one that ends at once."""

    def __init__(self, name: str, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.runtime = Runtime(name, directory / "state", directory)
        self.name = self.runtime.name
        self.directory = directory
        self.staying = make_bundle(directory / "staying", "sleep", "1000")
        self.ending = make_bundle(directory / "ending", "true")
        for bundle in (self.staying, self.ending):
            self.runtime.prepare(bundle)
        self.times = {operation: Times() for operation in OPERATIONS}
        self.rounds = 0

    def close(self) -> None:
        """Remove what a failed round has left."""
        for container_id in self.runtime.ids():
            self.runtime.call("delete", "--force", container_id)

    def new_id(self) -> str:
        """An id that the leak check of the tests knows."""
        self.rounds += 1
        return f"{MARK}-perf-{self.rounds}"

    def round(self) -> None:
        """One container's life, and one run; every operation adds one lap."""
        container_id = self.new_id()
        pid_file = self.directory / "pid"
        self.time(
            "create", "--bundle", str(self.staying.directory), "--pid-file", str(pid_file), container_id
        )
        pidfd = os.pidfd_open(int(pid_file.read_text(encoding="ascii")))
        try:
            self.time("start", container_id)
            self.time("state", container_id)
            self.time("kill", container_id, "KILL")
            wait_for_end(pidfd)
        finally:
            os.close(pidfd)
        self.time("delete", container_id)
        self.time("run", "--bundle", str(self.ending.directory), container_id)

    def time(self, *words: str) -> None:
        """One operation."""
        self.times[words[0]].laps.append(self.lap(*words))

    def lap(self, *words: str) -> Lap:
        """One call of the command, in no statistics."""
        return lap(self.runtime.argv(*words), str(self.directory / "diagnostics"))

    def memory(self) -> dict[str, int]:
        """Peak resident set, in KiB, of create and of state."""
        container_id = self.new_id()
        create = ("create", "--bundle", str(self.staying.directory), container_id)
        peaks = {
            "create": peak_memory(self.runtime.argv(*create)),
            "state": peak_memory(self.runtime.argv("state", container_id)),
        }
        self.lap("delete", "--force", container_id)
        return peaks


def wait_for_end(pidfd: int) -> None:
    """Wait until a process has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(_PATIENCE):
        raise CommandFailedError("a killed program is still there")
