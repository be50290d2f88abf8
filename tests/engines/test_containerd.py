# SPDX-License-Identifier: Apache-2.0
"""containerd's runc shim drives the runtime: tasks, exec, kill, pause, metrics, events of out-of-memory, errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest

from tests.engines.engine import wait_for

if TYPE_CHECKING:
    from tests.engines.containerd import Containerd
    from tests.harness.driver import Result

Name = Callable[[], str]
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
    assert done.err.startswith("err\n")


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
