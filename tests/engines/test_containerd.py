# SPDX-License-Identifier: Apache-2.0
"""containerd's runc shim drives the runtime: tasks, exec, kill, pause, metrics, events of out-of-memory, errors."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines.engine import runtime_path, wait_for
from tests.harness.configuration import default_config
from tests.harness.driver import runtime_under_test
from tests.harness.rootfs import copy_busybox

if TYPE_CHECKING:
    from tests.engines.containerd import Containerd
    from tests.harness.driver import Result

Name = Callable[[], str]
OURS = runtime_under_test() == "ociruntime"
CGROUPS = ("--mount", "type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro")


@pytest.fixture
def run(containerd: Containerd, new_name: Name) -> Callable[..., Result]:
    """`ctr run --rm` of a new container."""

    def call(*command: str, flags: tuple[str, ...] = ()) -> Result:
        return containerd.call(*containerd.run_words(new_name(), *command, flags=("--rm", *flags)))

    return call


def status(containerd: Containerd, name: str) -> str:
    """What containerd says of a task: CREATED, RUNNING, PAUSED, STOPPED, or nothing."""
    rows = [line.split() for line in containerd.call("task", "ls").ok().out.splitlines()[1:]]
    return next((row[2] for row in rows if row[0] == name), "")


@pytest.fixture
def task(containerd: Containerd, new_name: Name) -> Iterator[str]:
    """A running task that sleeps."""
    name = new_name()
    containerd.call(*containerd.run_words(name, "sleep", "300", flags=("-d",))).ok()
    wait_for(lambda: status(containerd, name) == "RUNNING")
    yield name
    containerd.call("task", "kill", "-s", "KILL", name)
    wait_for(lambda: status(containerd, name) in ("STOPPED", ""))
    containerd.call("task", "delete", name)
    containerd.call("container", "delete", name).ok()


def test_run(run: Callable[..., Result]) -> None:
    """Output, error output and exit status reach the caller."""
    done = run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.code, done.out) == (7, "out\n")
    assert "err" in done.err.splitlines()  # newer ones also warn of cgroup v1


def test_options(run: Callable[..., Result]) -> None:
    """Seccomp, read-only root, memory limit and network of the host."""
    flags = ("--seccomp", "--read-only", "--memory-limit", str(32 << 20), "--net-host", *CGROUPS)
    script = "grep Seccomp: /proc/self/status; touch /x; cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max"
    done = run("sh", "-c", script, flags=flags)
    assert "Seccomp:\t2" in done.out
    assert str(32 << 20) in done.out
    assert "Read-only file system" in done.err


def test_exec(containerd: Containerd, task: str) -> None:
    """Exec's output and exit status, and a directory of its own."""
    words = ["task", "exec", "--exec-id", "e1", "--cwd", "/tmp", task, "sh", "-c", "pwd; exit 5"]
    done = containerd.call(*words)
    assert (done.code, done.out) == (5, "/tmp\n")
    assert "sleep" in containerd.call("task", "exec", "--exec-id", "e2", task, "ps").ok().out
    processes = containerd.call("task", "ps", task).ok().out.splitlines()
    assert len(processes) == 2  # a head line and the sleeper


def test_pause_and_metrics(containerd: Containerd, task: str) -> None:
    """pause, resume, and metrics read from the container's own cgroup."""
    containerd.call("task", "pause", task).ok()
    assert status(containerd, task) == "PAUSED"
    containerd.call("task", "resume", task).ok()
    assert status(containerd, task) == "RUNNING"
    metrics = containerd.call("task", "metrics", task).ok().out
    used = next(line.split()[1] for line in metrics.splitlines() if line.startswith("memory.usage"))
    assert int(used) > 0


def test_kill(containerd: Containerd, new_name: Name) -> None:
    """A task whose init ignores TERM is killed with all its processes; another signal is then refused."""
    name = new_name()
    containerd.call(*containerd.run_words(name, "sh", "-c", "sleep 300; true", flags=("-d",))).ok()
    containerd.call("task", "kill", "-s", "TERM", name).ok()
    assert status(containerd, name) == "RUNNING"
    containerd.call("task", "kill", "-s", "KILL", "-a", name).ok()
    wait_for(lambda: status(containerd, name) == "STOPPED")
    containerd.call("task", "kill", "-s", "KILL", name).refused("not found")
    containerd.call("task", "delete", name)
    containerd.call("container", "delete", name).ok()


def test_errors_have_our_reason(run: Callable[..., Result]) -> None:
    """A program that is missing, and one that may not be executed."""
    assert "/missing" in run("/missing").refused("no such file or directory").err
    run("/etc/passwd").refused("permission denied")
    run("true", flags=("--mount", "type=bind,src=/missing,dst=/x,options=rbind")).refused(
        "no such file or directory"
    )


def test_wrong_config(containerd: Containerd, new_name: Name, tmp_path: Path) -> None:
    """A config that the specification forbids: the property and the reason reach the caller of the engine."""
    config = default_config("true")
    config["process"]["cwd"] = "relative"
    config["root"]["path"] = str(tmp_path / "rootfs")
    (tmp_path / "config.json").write_text(json.dumps(config))
    copy_busybox(tmp_path / "rootfs")
    flags = ("--runc-binary", runtime_path(), "--config", str(tmp_path / "config.json"))
    done = containerd.call("run", "--rm", *flags, new_name())
    done.refused(*(("/process/cwd", "absolute") if OURS else ("absolute path",)))


def test_missing_mount_point_on_a_read_only_root(
    containerd: Containerd, new_name: Name, tmp_path: Path
) -> None:
    """The mount, the system call and the reason are named."""
    root = tmp_path / "rootfs"
    copy_busybox(root)
    subprocess.run(["mount", "--bind", root, root], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", root], check=True)
        flags = ("--runc-binary", runtime_path(), "--mount", "type=bind,src=/tmp,dst=/missing,options=rbind")
        done = containerd.call("run", "--rm", *flags, "--rootfs", str(root), new_name(), "true")
        done.refused("read-only file system", *(("/missing", "mkdirat", "EROFS") if OURS else ()))
    finally:
        subprocess.run(["umount", root], check=True)


def test_full_pids_cgroup(containerd: Containerd, task: str) -> None:
    """No process is left to make: exec says so, or the program that needs one does."""
    pid = containerd.call("task", "ls").ok().out
    init = next(line.split()[1] for line in pid.splitlines() if line.startswith(f"{task} "))
    lines = Path(f"/proc/{init}/cgroup").read_text().splitlines()
    path = next(
        (line.split(":")[2] for line in lines if "pids" in line.split(":")[1]), lines[-1].split(":")[2]
    )
    for limit in (f"/sys/fs/cgroup/pids{path}/pids.max", f"/sys/fs/cgroup{path}/pids.max"):
        if Path(limit).exists():
            Path(limit).write_text("1")
    done = containerd.call("task", "exec", "--exec-id", "full", task, "sh", "-c", "echo began; true | true")
    assert done.code != 0
    assert "EAGAIN" in done.err or "can't fork" in done.err, done
