# SPDX-License-Identifier: Apache-2.0
"""podman (through conmon) and buildah drive the runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.engine import SHOW_LIMITS, SLICE, SYSTEMD, limits, runtime_path, wait_for
from tests.engines.image import NAME
from tests.harness.driver import MARK, Result

if TYPE_CHECKING:
    from tests.engines.podman import Buildah, Podman

Name = Callable[[], str]
PROGRAM = Path(runtime_path()).name


def inspect(podman: Podman, name: str) -> dict[str, Any]:
    """What podman knows of a container."""
    found = json.loads(podman.call("inspect", name).ok().out)[0]
    assert isinstance(found, dict)
    return found


@pytest.fixture
def run(podman: Podman, new_name: Name) -> Callable[..., Result]:
    """`podman run --rm` of a new container."""

    def call(*command: str, flags: tuple[str, ...] = ()) -> Result:
        return podman.call(*podman.run_words(new_name(), *command, flags=("--rm", *flags)))

    return call


@pytest.fixture
def sleeper(podman: Podman, new_name: Name) -> Iterator[str]:
    """A running container that sleeps, and ends with 3 on TERM."""
    name = new_name()
    script = "trap 'exit 3' TERM; echo ready; sleep 300 & wait"
    podman.call(*podman.run_words(name, "sh", "-c", script, flags=("-d",))).ok()
    wait_for(lambda: "ready" in podman.call("logs", name).out)
    yield name
    podman.call("rm", "-f", "-t", "0", name).ok()


def test_run(run: Callable[..., Result]) -> None:
    """Output, error output and exit status reach the caller."""
    done = run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.code, done.out, done.err) == (7, "out\n", "err\n")


def test_confinement(run: Callable[..., Result]) -> None:
    """Podman's default profile is in force; --cap-drop, --read-only and --user do what they say."""
    assert "Seccomp:\t2\n" in run("cat", "/proc/self/status").ok().out
    flags = ("--cap-drop", "all", "--read-only", "--user", "1000:1000")
    done = run("sh", "-c", "id -u; grep CapBnd /proc/self/status; touch /x", flags=flags)
    assert done.out == "1000\nCapBnd:\t0000000000000000\n"
    assert "Read-only file system" in done.err


def test_another_user_opens_the_streams(run: Callable[..., Result]) -> None:
    """Images that log to /dev/stdout as another user than root do it by its name, and the engine's pipes are root's."""
    done = run("sh", "-c", "echo out >/dev/stdout; echo err >/dev/stderr", flags=("--user", "1000")).ok()
    assert (done.out, done.err) == ("out\n", "err\n")


def test_exec(podman: Podman, sleeper: str) -> None:
    """Exec's output, exit status, user, directory and variables."""
    words = [
        "exec",
        "-u",
        "1000",
        "-e",
        "A=b",
        "-w",
        "/tmp",
        sleeper,
        "sh",
        "-c",
        "id -u; echo $A; pwd; exit 5",
    ]
    done = podman.call(*words)
    assert (done.code, done.out) == (5, "1000\nb\n/tmp\n")
    assert podman.call("exec", sleeper, "/missing").code == 127


def test_stop(podman: Podman, sleeper: str) -> None:
    """Stop sends TERM and tells the exit status; start runs it again."""
    podman.call("stop", "-t", "20", sleeper).ok()
    assert inspect(podman, sleeper)["State"]["ExitCode"] == 3
    podman.call("start", sleeper).ok()
    assert inspect(podman, sleeper)["State"]["Running"] is True


def test_pause_and_stats(podman: Podman, sleeper: str) -> None:
    """pause, unpause, and statistics from the container's cgroup."""
    podman.call("pause", sleeper).ok()
    assert inspect(podman, sleeper)["State"]["Status"] == "paused"
    podman.call("unpause", sleeper).ok()
    stats = json.loads(podman.call("stats", "--no-stream", "--format", "json", sleeper).ok().out)[0]
    assert stats["pids"] == "2"


def test_update(podman: Podman, new_name: Name) -> None:
    """Podman sends what is named: limit after limit, each changes its own."""
    name = new_name()
    flags = ("-d", "-m", "64m", "--cpus", "0.5", "--cpu-shares", "512")
    podman.call(*podman.run_words(name, "sleep", "300", flags=flags)).ok()

    def now() -> dict[str, str]:
        return limits(podman.call("exec", name, "sh", "-c", SHOW_LIMITS).ok().out)

    before = now()
    for words, changed in (
        (["--cpus", "0.7"], {"quota"}),
        (["--cpu-shares", "300"], {"shares"}),
        (["--memory", "80m", "--memory-swap", "90m"], {"memory", "swap"}),
        (["--memory-reservation", "10m"], {"reservation"}),
    ):
        podman.call("update", *words, name).ok()
        after = now()
        assert {file for file, text in after.items() if before[file] != text} == changed, words
        before = after
    podman.call("rm", "-f", "-t", "0", name).ok()


@pytest.mark.parametrize("limit", ["-1", "0"])
def test_no_limit_of_processes(run: Callable[..., Result], limit: str) -> None:
    """Podman writes a limit of 0 for none."""
    done = run("sh", "-c", f"true & true & wait; {SHOW_LIMITS}", flags=("--pids-limit", limit)).ok()
    assert limits(done.out)["pids"] == "max"


def test_health(podman: Podman, new_name: Name) -> None:
    """A health check runs in the container."""
    name = new_name()
    flags = ("-d", "--health-cmd", "test -e /tmp/ok", "--health-interval", "disable")
    podman.call(*podman.run_words(name, "sleep", "300", flags=flags)).ok()
    assert podman.call("healthcheck", "run", name).code == 1
    podman.call("exec", name, "touch", "/tmp/ok").ok()
    podman.call("healthcheck", "run", name).ok()
    podman.call("rm", "-f", "-t", "0", name).ok()


def test_user_namespace(run: Callable[..., Result]) -> None:
    """A user namespace by explicit mappings: the container's root is an unprivileged id of the host."""
    flags = ("--uidmap", "0:200000:1000", "--gidmap", "0:300000:1000")
    done = run("sh", "-c", "cat /proc/self/uid_map /proc/self/gid_map; id -u", flags=flags).ok()
    assert [line.split() for line in done.out.splitlines()] == [
        ["0", "200000", "1000"],
        ["0", "300000", "1000"],
        ["0"],
    ]


def test_cgroup_namespace(run: Callable[..., Result]) -> None:
    """--cgroupns private hides the path, host shows it."""
    hidden = run("cat", "/proc/self/cgroup", flags=("--cgroupns", "private")).ok().out
    assert MARK not in hidden
    assert SLICE not in hidden
    parent = SLICE if SYSTEMD else MARK
    assert parent in run("cat", "/proc/self/cgroup", flags=("--cgroupns", "host")).ok().out


def test_pod(podman: Podman, new_name: Name) -> None:
    """Two containers of a pod share what pods share."""
    pod, first, second = new_name(), new_name(), new_name()
    podman.call("pod", "create", "--infra=false", "--name", pod, "--share", "").ok()
    podman.call(*podman.run_words(first, "sleep", "300", flags=("-d", "--pod", pod, "--network=none"))).ok()
    shared = ("--rm", "--pod", pod, f"--network=container:{first}", f"--ipc=container:{first}")
    done = podman.call(*podman.run_words(second, "readlink", "/proc/self/ns/net", flags=shared)).ok()
    pid = inspect(podman, first)["State"]["Pid"]
    assert done.out.strip() == Path(f"/proc/{pid}/ns/net").readlink().name
    podman.call("pod", "rm", "-f", "-t", "0", pod).ok()


def test_errors_have_our_reason(run: Callable[..., Result]) -> None:
    """Podman's exit codes 126 and 127, and the runtime's reason."""
    missing = run("/missing")
    assert missing.code == 127
    assert "no such file or directory" in missing.err
    denied = run("/etc/passwd")
    assert denied.code == 126
    assert "permission denied" in denied.err
    if PROGRAM == "ociruntime":  # podman shows its path, and nothing more than what is wrong
        assert missing.err.startswith(
            f'Error: {runtime_path()}: create: /process/args/0: find program "/missing"'
        )


def test_errors_name_the_volume(run: Callable[..., Result], tmp_path: Path) -> None:
    """A user who types -v doesn't know the mount's number in config.json."""
    done = run("true", flags=("-v", f"{tmp_path}:/proc/foo"))
    assert done.code == (127 if PROGRAM == "crun" else 126)
    assert "/proc/foo" in done.err


def test_a_program_that_can_not_be_executed(run: Callable[..., Result], tmp_path: Path) -> None:
    """Ours says at start what is wrong, and podman fails; under runc and crun the container has run."""
    script = tmp_path / "lost"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    done = run("/lost", flags=("-v", f"{script}:/lost"))
    assert "/lost" in done.err.lower()
    assert done.code == (126 if PROGRAM == "ociruntime" else 1)
    if PROGRAM == "ociruntime":
        assert done.err.startswith('ociruntime: start: /process/args: exec "/lost": ENOENT')


def test_without_a_cgroup(podman: Podman, new_name: Name) -> None:
    """--cgroups=disabled, which podman allows for the runtimes that its configuration names."""
    words = ["run", "--rm", "--name", new_name(), "--network", "none", "--cgroups=disabled", NAME]
    done = podman.call(*words, "cat", "/proc/self/cgroup")
    if PROGRAM == "runc":
        assert "not compatible with NoCgroups" in done.err
    else:
        assert MARK not in done.ok().out


def test_buildah_run(buildah: Buildah) -> None:
    """`buildah run` in a working container: output, exit status, files that stay."""
    working = buildah.call("from", NAME).ok().out.strip()
    done = buildah.call(*buildah.run_words(working, "sh", "-c", "echo built >/file; exit 4"))
    assert done.code != 0
    assert "4" in done.err
    assert buildah.call(*buildah.run_words(working, "cat", "/file")).ok().out == "built\n"
    buildah.call("rm", working).ok()


def test_buildah_bud(buildah: Buildah, tmp_path: Path) -> None:
    """`buildah bud` of a Containerfile whose RUN lines are containers."""
    (tmp_path / "Containerfile").write_text(
        f"FROM {NAME}\nRUN echo one >/one\nUSER 1000\nRUN id -u >/tmp/two\n"
    )
    how = buildah.run_words("x", "x")[1:7]
    words = ["bud", *how, "--pull-never", "-t", "localhost/built:test", str(tmp_path)]
    buildah.call(*words, timeout=200).ok()
    working = buildah.call("from", "localhost/built:test").ok().out.strip()
    assert buildah.call(*buildah.run_words(working, "cat", "/one", "/tmp/two")).ok().out == "one\n1000\n"
    buildah.call("rm", working).ok()
