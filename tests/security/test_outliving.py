# SPDX-License-Identifier: Apache-2.0
"""Can a program outlive its container by ending its first thread, so that it looks as if it had stopped? (invariant 21)"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import without_namespace
from tests.harness.driver import PATIENCE

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.driver import Container
    from tests.harness.stage import Stage

_SOURCE = Path(__file__).parents[1] / "integration" / "first_thread.c"


@pytest.fixture(scope="session")
def hiding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program: one thread of it goes on when the first has ended."""
    made = tmp_path_factory.mktemp("hiding") / "hiding"
    command = [
        "gcc",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-static",
        "-pthread",
        str(_SOURCE),
        "-o",
        str(made),
    ]
    subprocess.run(command, check=True)
    return made


def hidden(stage: Stage, hiding: Path, *, own_pids: bool) -> tuple[Container, int]:
    """A container, and the pid of its program, which looks like a zombie. No cgroup tells that it lives."""

    def edit(config: Config) -> None:
        if not own_pids:
            without_namespace(config, "pid")

    bundle = stage.bundle("/bin/hiding", edit=edit)
    shutil.copy(hiding, bundle.rootfs / "bin/hiding")
    container = stage.container(bundle=bundle)
    container.create(options=("--cgroup-manager", "disabled")).ok()
    pid: int = container.state()["pid"]
    container.start().ok()
    end = time.monotonic() + 10 * PATIENCE
    while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
        assert time.monotonic() < end, "the first thread has not ended"
        time.sleep(0.01)
    return container, pid


def lives(pid: int) -> bool:
    """Whether a thread of it is left."""
    try:
        return len(os.listdir(f"/proc/{pid}/task")) > 1
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("own_pids", [True, False], ids=["own pids", "the host's pids"])
def test_a_process_that_looks_dead(stage: Stage, hiding: Path, own_pids: bool) -> None:
    """An engine that believes the state deletes without --force: the container must not go and leave its program."""
    container, pid = hidden(stage, hiding, own_pids=own_pids)
    assert lives(pid), "nothing hides"
    container.delete().refused("that is not stopped: running")
    assert container.status() == "running"
    container.delete("--force").ok()
    assert not lives(pid)
    assert stage.runtime.ids() == []


@pytest.mark.parametrize("own_pids", [True, False], ids=["own pids", "the host's pids"])
def test_kill_reaches_it(stage: Stage, hiding: Path, own_pids: bool) -> None:
    """KILL ends it, and then the container has stopped."""
    container, pid = hidden(stage, hiding, own_pids=own_pids)
    container.kill("KILL").ok()
    container.wait_for("stopped")
    assert not lives(pid)
    container.delete().ok()
