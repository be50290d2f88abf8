# SPDX-License-Identifier: Apache-2.0
"""A program whose first thread has ended runs on as a zombie with threads: do all verbs know that it lives?

The peers take it for stopped, and lose it; so most of this is asked of this runtime alone.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import without_namespace
from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.programs import without_first_thread
from tests.harness.skips import has_pidfds_of_threads
from tests.harness.stage import new_id

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

own = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the peers lose such a container: run with RUNTIME=ociruntime"
)
for _peer in PEERS:
    departure("first thread has ended", _peer, "R202", "its program has not exited, so it is running")


def test_it_is_running(compare: Compare, first_thread: Path) -> None:
    """State says running, with the process id."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container, pid = without_first_thread(stage, first_thread)
        state = container.state()
        os.kill(pid, 9)
        container.wait_for("stopped")
        container.delete("--force").ok()
        return {"first thread has ended": [state["status"], state["pid"] == pid]}

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        assert answers == {"first thread has ended": ["running", True]}


@own
def test_kill_reaches_it(stage: Stage, first_thread: Path) -> None:
    """TERM gets to the thread that is left, and ends it."""
    container, _ = without_first_thread(stage, first_thread)
    container.kill("TERM").ok()
    container.wait_for("stopped")
    container.delete().ok()


@own
def test_pause_and_resume(stage: Stage, first_thread: Path) -> None:
    """It is paused and resumed as any."""
    container, _ = without_first_thread(stage, first_thread)
    container.runtime.call("pause", container.id).ok()
    assert container.status() == "paused"
    container.runtime.call("resume", container.id).ok()
    assert container.status() == "running"
    container.delete("--force").ok()


@own
@pytest.mark.skipif(not has_pidfds_of_threads(), reason="a thread can be entered since Linux 6.9")
def test_exec_enters_it(stage: Stage, first_thread: Path) -> None:
    """Exec joins the namespaces that the thread has: pid, root and host name are the container's."""
    container, _ = without_first_thread(stage, first_thread)
    shown = container.exec("sh", "-c", "hostname; ls /bin/first_thread; [ $$ -lt 50 ] && echo inside").ok()
    assert shown.out == "runc\n/bin/first_thread\ninside\n"
    container.delete("--force").ok()


@own
def test_delete_without_force_is_refused(stage: Stage, first_thread: Path) -> None:
    """It has not stopped, whatever its first thread looks like."""
    container, _ = without_first_thread(stage, first_thread)
    container.delete().refused("that is not stopped: running")
    assert container.status() == "running"
    container.delete("--force").ok()


@own
@pytest.mark.parametrize("own_pids", [True, False])
def test_delete_ends_it_without_a_cgroup(stage: Stage, first_thread: Path, own_pids: bool) -> None:
    """No cgroup tells that something is left: delete --force ends the process anyway."""

    def edit(config: Config) -> None:
        if not own_pids:
            without_namespace(config, "pid")

    container, pid = without_first_thread(stage, first_thread, "--cgroup-manager", "disabled", edit=edit)
    container.delete("--force").ok()
    assert len(list(Path(f"/proc/{pid}/task").glob("*"))) <= 1, "a thread is left"


@own
def test_run_waits_for_the_last_thread(stage: Stage, first_thread: Path) -> None:
    """`run` in the foreground ends with the process, not with its first thread."""
    bundle = stage.bundle("/bin/first_thread")
    shutil.copy(first_thread, bundle.rootfs / "bin")
    container = stage.container(bundle=bundle, container_id=new_id())
    with container.begin_run() as call:
        assert call.stdout is not None
        assert call.stdout.readline() == b"one left\n"
        time.sleep(0.2)
        assert call.poll() is None
        container.kill("TERM").ok()
        assert call.wait(30 * PATIENCE) == 15
        assert call.stdout.read() == b""
