# SPDX-License-Identifier: Apache-2.0
"""docker drives the runtime: run, exec, stop, kill, stats, update, pause, limits, restarts, health."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.engine import SHOW_LIMITS, limits, wait_for
from tests.engines.image import NAME

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engines.docker import Docker
    from tests.harness.driver import Result

Name = Callable[[], str]


def inspect(docker: Docker, name: str) -> dict[str, Any]:
    """What docker knows of a container."""
    found = json.loads(docker.call("inspect", name).ok().out)[0]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def run(docker: Docker, new_name: Name) -> Callable[..., Result]:
    """`docker run --rm` of a new container."""

    def call(*command: str, flags: tuple[str, ...] = ()) -> Result:
        return docker.call(*docker.run_words(new_name(), *command, flags=("--rm", *flags)))

    return call


@pytest.fixture
def sleeper(docker: Docker, new_name: Name) -> Iterator[str]:
    """A running container that sleeps, and ends with 3 on TERM."""
    name = new_name()
    script = "trap 'exit 3' TERM; echo ready; sleep 300 & wait"
    docker.call(*docker.run_words(name, "sh", "-c", script, flags=("-d",))).ok()
    wait_for(lambda: "ready" in docker.call("logs", name).out)
    yield name
    docker.call("rm", "-f", name).ok()


def test_run(run: Callable[..., Result]) -> None:
    """Output, error output and exit status reach the caller."""
    done = run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.code, done.out, done.err) == (7, "out\n", "err\n")


def test_another_user_opens_the_streams(run: Callable[..., Result]) -> None:
    """Images that log to /dev/stdout as another user than root do it by its name, and the engine's pipes are root's."""
    done = run("sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr", flags=("--user", "1000")).ok()
    assert (done.out, done.err) == ("out\n", "err\n")


def test_standard_input(docker: Docker, new_name: Name) -> None:
    """`-i` passes standard input on, and its end."""
    words = docker.run_words(new_name(), "cat", flags=("--rm", "-i"))
    assert docker.call(*words, stdin="some text").ok().out == "some text"


def test_default_confinement(run: Callable[..., Result]) -> None:
    """Docker's default profile and capabilities are in force: a filter, and 14 capabilities."""
    status = run("cat", "/proc/self/status").ok().out
    assert "Seccomp:\t2\n" in status
    assert "CapEff:\t00000000a80425fb\n" in status
    assert run("unshare", "-m", "true").code != 0


def test_security_options(run: Callable[..., Result]) -> None:
    """--cap-drop, --cap-add, no-new-privileges, seccomp=unconfined, a user and --read-only."""
    flags = ("--cap-drop", "ALL", "--cap-add", "NET_RAW", "--security-opt", "no-new-privileges")
    status = run("cat", "/proc/self/status", flags=(*flags, "--security-opt", "seccomp=unconfined")).ok().out
    assert "CapBnd:\t0000000000002000\n" in status
    assert "NoNewPrivs:\t1\n" in status
    assert "Seccomp:\t0\n" in status
    identity = run("id", flags=("--user", "1000:1000", "--group-add", "2000")).ok().out
    assert identity.startswith("uid=1000(user) gid=1000(user) groups=")
    assert "2000(extra)" in identity
    refused = run("touch", "/x", flags=("--read-only", "--tmpfs", "/tmp"))
    assert "Read-only file system" in refused.err
    run("touch", "/tmp/x", flags=("--read-only", "--tmpfs", "/tmp")).ok()


def test_custom_seccomp_profile(run: Callable[..., Result], tmp_path: Path) -> None:
    """--security-opt seccomp=FILE."""
    profile = tmp_path / "profile.json"
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
    profile.write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    done = run("mkdir", "/tmp/x", flags=("--security-opt", f"seccomp={profile}"))
    assert "No space left on device" in done.err


def test_mounts(run: Callable[..., Result], tmp_path: Path) -> None:
    """Bind mounts, read-write and read-only, and a tmpfs with options."""
    (tmp_path / "file").write_text("from the host")
    flags = ("-v", f"{tmp_path}:/rw", "-v", f"{tmp_path}:/ro:ro", "--tmpfs", "/t:size=1m,noexec")
    done = run(
        "sh", "-c", "cat /ro/file; echo back >/rw/new; touch /ro/x; grep ' /t ' /proc/mounts", flags=flags
    )
    assert "from the host" in done.out
    assert "Read-only file system" in done.err
    assert "noexec" in done.out
    assert (tmp_path / "new").read_text() == "back\n"


def test_limits(run: Callable[..., Result]) -> None:
    """Memory, CPU, pids and ulimits as asked for."""
    flags = (
        "--memory",
        "32m",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--pids-limit",
        "20",
        "--ulimit",
        "nofile=100:200",
    )
    script = (
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null; "
        "cat pids/pids.max pids.max 2>/dev/null; ulimit -Sn; ulimit -Hn"
    )
    lines = run("sh", "-c", script, flags=flags).out.split()
    assert lines == [str(32 << 20), "20", "100", "200"]
    bomb = run("sh", "-c", "for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; wait", flags=("--pids-limit", "5"))
    assert "can't fork" in bomb.err


def test_out_of_memory(docker: Docker, new_name: Name) -> None:
    """A container that takes more than --memory is killed, and docker says why."""
    name = new_name()
    eat = "dd if=/dev/zero of=/dev/null bs=64M count=1; echo dd ended with $?; sleep 1; exit 9"
    done = docker.call(
        *docker.run_words(name, "sh", "-c", eat, flags=("--memory", "16m", "--memory-swap", "16m"))
    )
    assert (done.code, done.out) == (9, "dd ended with 137\n")
    assert inspect(docker, name)["State"]["OOMKilled"] is True
    docker.call("rm", name).ok()


def test_exec(docker: Docker, sleeper: str) -> None:
    """Exec runs in the container, as the user, with the variables and in the directory that are asked for."""
    done = docker.call("exec", sleeper, "sh", "-c", "pidof sleep | wc -w; exit 5")
    assert (done.code, done.out) == (5, "1\n")
    words = ["exec", "-u", "1000", "-e", "A=b", "-w", "/tmp", sleeper, "sh", "-c", "id -u; echo $A; pwd"]
    assert docker.call(*words).ok().out == "1000\nb\n/tmp\n"
    assert docker.call("exec", "-i", sleeper, "cat", stdin="text").ok().out == "text"
    assert "CapEff:\t00000000a80425fb" in docker.call("exec", sleeper, "cat", "/proc/self/status").ok().out
    missing = docker.call("exec", sleeper, "/missing")
    assert missing.code in (126, 127)
    assert "no such file or directory" in missing.out + missing.err
    docker.call("exec", "-d", sleeper, "sh", "-c", "touch /detached").ok()
    wait_for(lambda: docker.call("exec", sleeper, "test", "-e", "/detached").code == 0)


def test_stop_and_kill(docker: Docker, sleeper: str) -> None:
    """Stop sends TERM and tells the exit status; a second container is killed."""
    docker.call("stop", "-t", "20", sleeper).ok()
    assert inspect(docker, sleeper)["State"]["ExitCode"] == 3
    docker.call("start", sleeper).ok()
    docker.call("kill", "-s", "KILL", sleeper).ok()
    wait_for(lambda: not inspect(docker, sleeper)["State"]["Running"])
    assert inspect(docker, sleeper)["State"]["ExitCode"] == 137


def test_pause(docker: Docker, sleeper: str) -> None:
    """Pause freezes, unpause lets go on, exec is refused meanwhile."""
    docker.call("pause", sleeper).ok()
    assert inspect(docker, sleeper)["State"]["Status"] == "paused"
    assert docker.call("exec", sleeper, "true").code != 0
    docker.call("unpause", sleeper).ok()
    docker.call("exec", sleeper, "true").ok()


def test_update(docker: Docker, sleeper: str) -> None:
    """Update changes limits of the running container."""
    docker.call("update", "--memory", "48m", "--memory-swap", "48m", "--pids-limit", "33", sleeper).ok()
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max"
    assert docker.call("exec", sleeper, "sh", "-c", script).ok().out.split() == [str(48 << 20), "33"]


UPDATES: list[tuple[list[str], set[str]]] = [
    (["--cpus", "0.7"], {"quota"}),
    (["--cpu-shares", "300"], {"shares"}),
    (["--memory", "80m"], {"memory"}),
    (["--memory-reservation", "10m"], {"reservation"}),
    (["--pids-limit", "33"], {"pids"}),
    (["--restart", "no"], set()),
    (["--pids-limit", "0"], set()),
    (["--cpuset-cpus", "0"], {"cpus"}),
    (["--pids-limit", "-1"], {"pids"}),
    (["--cpus", "0.3", "--memory", "90m", "--memory-swap", "100m"], {"quota", "memory", "swap"}),
]


def test_update_limit_after_limit(docker: Docker, new_name: Name) -> None:
    """Docker sends 0 for all that is not named, whatever was set before: each update changes what it names."""
    name = new_name()
    flags = ("-d", "-m", "64m", "--cpus", "0.5", "--cpu-shares", "512", "--pids-limit", "50")
    docker.call(*docker.run_words(name, "sleep", "300", flags=flags)).ok()

    def now() -> dict[str, str]:
        return limits(docker.call("exec", name, "sh", "-c", SHOW_LIMITS).ok().out)

    before = now()
    assert (before["memory"], before["pids"]) == (str(64 << 20), "50")
    for words, changed in UPDATES:
        docker.call("update", *words, name).ok()
        after = now()
        if "memory" in after and "period" not in after and "memory" in changed:
            changed = changed | {"swap"}  # on v2 the sum of both stays
        assert {file for file, text in after.items() if before[file] != text} == changed - _same(before), (
            words
        )
        before = after
    docker.call("rm", "-f", name).ok()


def _same(before: dict[str, str]) -> set[str]:
    """A machine with one CPU has nothing else to set."""
    return {"cpus"} if before["cpus"] == "0" else set()


def test_stats_and_top(docker: Docker, sleeper: str) -> None:
    """Stats shows the memory that is used, top the processes."""
    line = json.loads(docker.call("stats", "--no-stream", "--format", "{{json .}}", sleeper).ok().out)
    assert line["PIDs"] == "2"
    assert not line["MemUsage"].startswith("0B")
    assert "sleep 300" in docker.call("top", sleeper).ok().out


def test_restart_policy(docker: Docker, new_name: Name) -> None:
    """A failing container is started again as often as its policy says."""
    name = new_name()
    docker.call(*docker.run_words(name, "false", flags=("-d", "--restart", "on-failure:2"))).ok()
    wait_for(
        lambda: inspect(docker, name)["RestartCount"] == 2 and not inspect(docker, name)["State"]["Running"]
    )
    docker.call("rm", "-f", name).ok()


def test_health(docker: Docker, new_name: Name) -> None:
    """The health check runs in the container and decides the status."""
    name = new_name()
    flags = ("-d", "--health-cmd", "test -e /tmp/ok", "--health-interval", "0.3s", "--health-retries", "1")
    docker.call(*docker.run_words(name, "sleep", "300", flags=flags)).ok()
    wait_for(lambda: inspect(docker, name)["State"]["Health"]["Status"] == "unhealthy")
    docker.call("exec", name, "touch", "/tmp/ok").ok()
    wait_for(lambda: inspect(docker, name)["State"]["Health"]["Status"] == "healthy")
    docker.call("rm", "-f", name).ok()


def test_shared_namespaces(docker: Docker, run: Callable[..., Result], sleeper: str) -> None:
    """A container joins another one's network, pid and ipc namespaces."""
    flags = (f"--network=container:{sleeper}", f"--pid=container:{sleeper}")
    assert "sleep 300" in run("ps", flags=flags).ok().out


def test_hostname_and_namespaces_of_the_host(run: Callable[..., Result]) -> None:
    """--hostname is seen; the host's pid, ipc and uts namespaces can be had."""
    assert run("hostname", flags=("--hostname", "somebody")).ok().out == "somebody\n"
    flags = ("--pid", "host", "--ipc", "host", "--uts", "host")
    inside = (
        run("sh", "-c", "for kind in pid ipc uts; do readlink /proc/self/ns/$kind; done", flags=flags)
        .ok()
        .out
    )
    assert inside.split() == [os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "ipc", "uts")]


def test_errors_have_our_reason(run: Callable[..., Result]) -> None:
    """What the runtime says about a program that can't be run reaches the user, with docker's exit codes."""
    missing = run("/missing")
    assert missing.code == 127
    assert '"/missing"' in missing.err
    assert "no such file or directory" in missing.err
    denied = run("/etc/passwd")
    assert denied.code == 126
    assert "permission denied" in denied.err


def test_image_is_there(docker: Docker) -> None:
    """The image that all tests use was loaded from our archive."""
    assert NAME.partition(":")[0] in docker.call("images").ok().out
