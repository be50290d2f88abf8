# SPDX-License-Identifier: Apache-2.0
"""A program whose first thread has ended runs on as a zombie with threads: do all verbs know that it lives?

The peers take it for stopped, and lose it; so most of this is asked of this runtime alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.skips import has_pidfds_of_threads
from tests.harness.stage import new_id

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

own = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the peers lose such a container: run with RUNTIME=ociruntime"
)
for _peer in PEERS:
    departure("first thread has ended", _peer, "R202", "its program has not exited, so it is running")


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, static."""
    made = tmp_path_factory.mktemp("first-thread") / "first_thread"
    source = Path(__file__).with_name("first_thread.c")
    command = [
        "gcc",
        "-O2",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-static",
        "-pthread",
        str(source),
        "-o",
        str(made),
    ]
    subprocess.run(command, check=True)
    return made


def started(stage: Stage, program: Path, *flags: str, edit: Any = None) -> tuple[Container, int]:
    """A container of which only the second thread is left, and its process id."""
    bundle = stage.bundle("/bin/first_thread", edit=edit)
    shutil.copy(program, bundle.rootfs / "bin")
    container = stage.container(bundle=bundle)
    container.create(options=flags).ok()
    pid = container.state()["pid"]
    container.start().ok()
    container.wait_for_output("one left\n")
    end = time.monotonic() + 10 * PATIENCE
    while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
        assert time.monotonic() < end, "the first thread has not ended"
        time.sleep(0.01)
    return container, pid


def test_it_is_running(compare: Compare, program: Path) -> None:
    """State says running, with the process id."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container, pid = started(stage, program)
        state = container.state()
        os.kill(pid, 9)
        container.wait_for("stopped")
        container.delete("--force").ok()
        return {"first thread has ended": [state["status"], state["pid"] == pid]}

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        assert answers == {"first thread has ended": ["running", True]}


@own
def test_kill_reaches_it(stage: Stage, program: Path) -> None:
    """TERM gets to the thread that is left, and ends it."""
    container, _ = started(stage, program)
    container.kill("TERM").ok()
    container.wait_for("stopped")
    container.delete().ok()


@own
def test_pause_and_resume(stage: Stage, program: Path) -> None:
    """It is paused and resumed as any."""
    container, _ = started(stage, program)
    container.runtime.call("pause", container.id).ok()
    assert container.status() == "paused"
    container.runtime.call("resume", container.id).ok()
    assert container.status() == "running"
    container.delete("--force").ok()


@own
@pytest.mark.skipif(not has_pidfds_of_threads(), reason="a thread can be entered since Linux 6.9")
def test_exec_enters_it(stage: Stage, program: Path) -> None:
    """Exec joins the namespaces that the thread has: pid, root and host name are the container's."""
    container, _ = started(stage, program)
    shown = container.exec("sh", "-c", "hostname; ls /bin/first_thread; [ $$ -lt 50 ] && echo inside").ok()
    assert shown.out == "runc\n/bin/first_thread\ninside\n"
    container.delete("--force").ok()


@own
def test_delete_without_force_is_refused(stage: Stage, program: Path) -> None:
    """It has not stopped, whatever its first thread looks like."""
    container, _ = started(stage, program)
    container.delete().refused("that is not stopped: running")
    assert container.status() == "running"
    container.delete("--force").ok()


@own
@pytest.mark.parametrize("own_pids", [True, False])
def test_delete_ends_it_without_a_cgroup(stage: Stage, program: Path, own_pids: bool) -> None:
    """No cgroup tells that something is left: delete --force ends the process anyway."""

    def edit(config: Config) -> None:
        if not own_pids:
            names = config["linux"]["namespaces"]
            config["linux"]["namespaces"] = [one for one in names if one["type"] != "pid"]

    container, pid = started(stage, program, "--cgroup-manager", "disabled", edit=edit)
    container.delete("--force").ok()
    assert len(list(Path(f"/proc/{pid}/task").glob("*"))) <= 1, "a thread is left"


@own
def test_run_waits_for_the_last_thread(stage: Stage, program: Path) -> None:
    """`run` in the foreground ends with the process, not with its first thread."""
    bundle = stage.bundle("/bin/first_thread")
    shutil.copy(program, bundle.rootfs / "bin")
    container = stage.container(bundle=bundle, container_id=new_id())
    with container.begin_run() as call:
        assert call.stdout is not None
        assert call.stdout.readline() == b"one left\n"
        time.sleep(0.2)
        assert call.poll() is None
        container.kill("TERM").ok()
        assert call.wait(30 * PATIENCE) == 15
        assert call.stdout.read() == b""
