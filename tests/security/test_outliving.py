# SPDX-License-Identifier: Apache-2.0
"""Can a program outlive its container by ending its first thread, so that it looks as if it had stopped? (invariant 21)"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import without_namespace
from tests.harness.driver import PATIENCE
from tests.harness.programs import without_first_thread

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.configuration import Config
    from tests.harness.driver import Container
    from tests.harness.stage import Stage


def hidden(stage: Stage, program: Path, *, own_pids: bool) -> tuple[Container, int]:
    """A container, and the pid of its program, which looks like a zombie. No cgroup tells that it lives."""

    def edit(config: Config) -> None:
        if not own_pids:
            without_namespace(config, "pid")

    return without_first_thread(stage, program, "--cgroup-manager", "disabled", edit=edit)


def lives(pid: int) -> bool:
    """Whether a thread of it is left."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("own_pids", [True, False], ids=["own pids", "the host's pids"])
def test_a_process_that_looks_dead(stage: Stage, first_thread: Path, own_pids: bool) -> None:
    """An engine that believes the state deletes without --force: the container must not go and leave its program."""
    container, pid = hidden(stage, first_thread, own_pids=own_pids)
    assert lives(pid), "nothing hides"
    container.delete().refused("that is not stopped: running")
    assert container.status() == "running"
    container.delete("--force").ok()
    assert not lives(pid)
    assert stage.runtime.ids() == []


@pytest.mark.parametrize("own_pids", [True, False], ids=["own pids", "the host's pids"])
def test_kill_reaches_it(stage: Stage, first_thread: Path, own_pids: bool) -> None:
    """KILL ends it, and then the container has stopped."""
    container, pid = hidden(stage, first_thread, own_pids=own_pids)
    container.kill("KILL").ok()
    container.wait_for("stopped")
    end = time.monotonic() + 10 * PATIENCE  # its threads are ending then; the kernel has still to remove them
    while lives(pid):
        assert time.monotonic() < end
        time.sleep(0.01)
    container.delete().ok()
