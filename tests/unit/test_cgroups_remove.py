# SPDX-License-Identifier: Apache-2.0
"""ociruntime/linux/cgroups/remove.py: which processes get a signal, shown on directories that only look like cgroups."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from ociruntime.linux.cgroups import remove

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Start = Callable[[], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes that sleep."""
    made: list[subprocess.Popen[bytes]] = []

    def one() -> subprocess.Popen[bytes]:
        made.append(subprocess.Popen(["sleep", "1000"]))
        return made[-1]

    yield one
    for process in made:
        process.kill()
        process.wait()


class Cgroup:
    """A directory with a file of members; `then` is done when a process is opened for the first time."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.file = directory / "cgroup.procs"
        self.paths = {"pids": str(directory)}
        self.then: Callable[[], object] | None = None
        really = remove.open_process

        def open_process(pid: int) -> int:
            if self.then is not None:
                then, self.then = self.then, None
                then()
            return really(pid)

        monkeypatch.setattr(remove, "open_process", open_process)

    def has(self, *processes: subprocess.Popen[bytes]) -> None:
        self.file.write_text("".join(f"{process.pid}\n" for process in processes))


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cgroup:
    """A cgroup without members."""
    return Cgroup(tmp_path, monkeypatch)


def test_a_number_that_is_another_process_by_now(cgroup: Cgroup, start: Start) -> None:
    """Between the look and the signal a process ends and its number goes to one outside: that one lives on."""
    member, outsider = start(), start()
    cgroup.has(member, outsider)
    cgroup.then = lambda: cgroup.has(member)
    remove.kill_all(cgroup.paths, signal.SIGKILL)
    assert member.wait(10) == -signal.SIGKILL
    assert outsider.poll() is None


def test_a_process_that_is_made_meanwhile(cgroup: Cgroup, start: Start) -> None:
    """Without a freezer a member may fork between look and signal: what it has made is signalled too, once each."""
    first, second = start(), start()
    cgroup.has(first)
    cgroup.then = lambda: cgroup.has(first, second)
    remove.kill_all(cgroup.paths, signal.SIGTERM)
    assert first.wait(10) == -signal.SIGTERM
    assert second.wait(10) == -signal.SIGTERM


def test_more_processes_than_are_opened_at_once(
    cgroup: Cgroup, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Descriptors are few: processes are opened in portions, and every one gets the signal."""
    monkeypatch.setattr(remove, "_AT_ONCE", 2)
    processes = [start() for _ in range(5)]
    cgroup.has(*processes)
    before = len(os.listdir("/proc/self/fd"))
    remove.kill_all(cgroup.paths, signal.SIGKILL)
    assert [process.wait(10) for process in processes] == [-signal.SIGKILL] * 5
    assert len(os.listdir("/proc/self/fd")) == before
