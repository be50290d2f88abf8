# SPDX-License-Identifier: Apache-2.0
"""Invariant 27: a container that makes cgroups below its own, or freezes itself, is listed, killed and deleted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.harness.cgroup_files import V2, directories, place
from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the attacks are on this runtime: run with RUNTIME=ociruntime"
)
_LONG = "d" * 250


def _put(pid: int, cgroup: str) -> None:
    with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(pid))


def test_deep_cgroups(stage: Stage) -> None:
    """No path is long enough for them (PATH_MAX), and init is in the deepest one."""
    container = stage.running()
    pid = container.state()["pid"]
    here = os.open(place(pid, "pids"), os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(20):
        os.mkdir(_LONG, dir_fd=here)
        below = os.open(_LONG, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
    _put(pid, f"/proc/self/fd/{here}")  # its path is too long
    os.close(here)
    assert str(pid) in stage.runtime.call("ps", "--format", "json", container.id).ok().out
    container.kill("--all", "CONT").ok()
    container.delete("--force").ok()
    assert directories(container.id) == []


@pytest.mark.skipif(V2, reason="a process of a frozen cgroup2 cgroup dies when it is killed")
def test_frozen_below(stage: Stage) -> None:
    """Init has frozen itself below its cgroup, where SIGKILL does not end it: delete thaws it there."""
    container = stage.running()
    pid = container.state()["pid"]
    below = f"{place(pid, 'freezer')}/below"
    os.mkdir(below)
    _put(pid, below)
    with open(f"{below}/freezer.state", "w", encoding="ascii") as file:
        file.write("FROZEN")
    assert container.status() == "running"
    container.delete("--force").ok()
    assert directories(container.id) == []
