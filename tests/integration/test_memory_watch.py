# SPDX-License-Identifier: Apache-2.0
"""What wakes a caller who waits until a container is out of memory, on cgroup v2? Real files of the kernel's, on any machine."""

from __future__ import annotations

import os
import select
import subprocess
from typing import TYPE_CHECKING

import pytest

from ociruntime.operations.events import _watch
from tests.harness.driver import MARK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A cgroup of v2. Where v1 has the memory controller, it has no memory.events: cgroup.events is of the same kind."""
    mount = tmp_path / "cgroup2"
    mount.mkdir()
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", mount], check=True)
    group = mount / f"{MARK}-watched"
    group.mkdir()
    try:
        yield group
    finally:
        group.rmdir()
        subprocess.run(["umount", mount], check=True)


def test_it_wakes_when_something_happened(place: Path, tmp_path: Path) -> None:
    """Not before: the kernel says of such a file at any time that it can be read."""
    seen = tmp_path / "seen"
    seen.mkdir()
    for name in ("memory.events", "cgroup.events"):
        (seen / name).symlink_to(place / "cgroup.events")
    watch = _watch({"": str(seen)})
    poll = select.epoll()
    poll.register(watch.descriptor, select.EPOLLIN)
    assert poll.poll(0) != []
    poll.modify(watch.descriptor, watch.readiness)
    assert poll.poll(0.05) == []
    with subprocess.Popen(["sleep", "100"]) as sleeper:
        (place / "cgroup.procs").write_text(str(sleeper.pid))
        assert [descriptor for descriptor, _ in poll.poll(5)] == [watch.descriptor]
        assert watch.wait(0) == 0  # nothing was killed for want of memory
        assert not watch.ended()
        assert poll.poll(0.05) == []
        sleeper.kill()
    assert [descriptor for descriptor, _ in poll.poll(5)] == [watch.descriptor]
    assert watch.wait(0) == 0
    assert watch.ended()
    watch.close()
    poll.close()


def test_what_was_killed_is_counted_once(tmp_path: Path) -> None:
    """Each number of memory.events is compared with the last one; a cgroup that is gone has no more."""
    events = tmp_path / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n")
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    watch = _watch({"": str(tmp_path)})
    assert watch.wait(0) == 0
    events.write_text("low 0\nhigh 0\nmax 9\noom 3\noom_kill 3\noom_group_kill 0\n")
    assert [watch.wait(0), watch.wait(0)] == [2, 0]
    assert not watch.ended()
    (tmp_path / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    assert watch.wait(0) == 0
    assert watch.ended()
    watch.close()


def test_without_the_controller(tmp_path: Path) -> None:
    """There is nothing to wait for, and that is no error."""
    watch = _watch({"": str(tmp_path)})
    assert (watch.descriptor, watch.wait(0)) == (-1, 0)
    assert os.path.isdir(tmp_path)
    watch.close()
