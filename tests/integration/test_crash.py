# SPDX-License-Identifier: Apache-2.0
"""What is left after kill -9, of the runtime or of init, at whatever moment? Nothing, after the next verb.

The moments: strace lets one process die when it enters its N-th call of one system call, which needs no hook
in the product. Between two of these calls nothing outside of the process changes (a file that is opened is
written to next), so these are all the states that a crash can leave, journal entries and sync points included.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING

import pytest

from tests.harness import leaks
from tests.harness.configuration import Config, add_bind, add_hook, set_capabilities, without_namespace
from tests.harness.driver import ENVIRONMENT, PATIENCE, TIMEOUT, runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from tests.harness.driver import Container
    from tests.harness.stage import Stage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        runtime_under_test() in PEERS, reason="the moments are this runtime's: run with RUNTIME=ociruntime"
    ),
]

_MOST = 60


def _strace() -> str:
    found = shutil.which("strace", path=ENVIRONMENT["PATH"])
    assert found, "no strace: apt-get install strace"
    return found


def _killed_at(call: str, number: int, argv: list[str], *, follow: bool = False) -> tuple[int, str]:
    """Run a command and let it (with `follow`: any of its processes) die at its N-th such system call.

    The tracer is a grandchild (-D), so that the command ends as without it. Returns (exit code, stderr).
    """
    inject = ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}"]
    options = ["-D", "-qq", "-o", "/dev/null", *(["-f"] if follow else []), *inject]
    with tempfile.TemporaryFile() as err:  # no pipe: a container would hold it open
        done = subprocess.run(
            [_strace(), *options, *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=err,
            env=ENVIRONMENT,
            timeout=TIMEOUT,
            check=False,
        )
        err.seek(0)
        return done.returncode, err.read().decode()


def _make(stage: Stage) -> Container:
    """A container with a hook at each sync point of create and in start, whose program goes on."""

    def edit(config: Config) -> None:
        for kind in ("createRuntime", "createContainer", "startContainer", "poststart", "poststop"):
            add_hook(config, kind, "/bin/true")

    return stage.container("sleep", "100", edit=edit)


def _clean_up(container: Container, way: int) -> None:
    """One of the verbs that people use after a crash; afterwards the id must be free."""
    runtime = container.runtime
    if way % 3 == 0:
        runtime.call("gc").ok()
        # It ends what was interrupted, and leaves alone what is a container.
        assert all((runtime.root / left / "state.json").exists() for left in runtime.ids())
    elif way % 3 == 1:
        _is_only_shown(container)
    # What had become a container still is one; for one that never was, --force is not an error.
    container.delete("--force").ok()
    assert runtime.ids() == []


def _is_only_shown(container: Container) -> None:
    """`state` and `list` agree on what is there, and change nothing of it."""
    runtime = container.runtime
    directory = runtime.root / container.id
    files = sorted(os.listdir(directory)) if directory.exists() else []
    shown = runtime.call("state", container.id)
    listed = runtime.call("list", "--quiet").ok() if runtime.root.exists() else shown
    assert (shown.code == 0) == bool(files), shown
    assert (sorted(os.listdir(directory)) if directory.exists() else []) == files
    if not files:  # nothing, or a directory that was just being made or removed
        assert "does not exist" in shown.err, shown.err
    elif "state.json" in files:
        assert shown.err == listed.err == "", shown.err
    else:
        assert listed.out == f"{container.id}\n"
        for err in (shown.err, listed.err):
            assert f"{container.id}: its " in err, err
            assert "was interrupted: `gc` or `delete --force` finishes it" in err, err


def _works_again(container: Container) -> None:
    container.bundle.config["process"]["args"] = ["echo", "again"]
    container.bundle.write()
    assert container.run().ok().out == "again\n"
    container.bundle.config["process"]["args"] = ["sleep", "100"]
    container.bundle.write()


def _recovers(stage: Stage, container: Container, before: leaks.Snapshot, way: int, moment: str) -> None:
    try:
        _clean_up(container, way)
        left, now = leaks.left_behind(before, stage.directory)
        if left:
            leaks.clean(before, now)
        assert not left, left
        if way % 4 == 0:  # the other moments show it too: the next one makes a container of the same id
            _works_again(container)
    except AssertionError as failure:
        raise AssertionError(f"{moment}: {failure}") from failure


def _sweep_runtime(stage: Stage, verb: str, call: str) -> int:
    """Kill the runtime at each of its calls of one kind; returns how many there were."""
    container = _make(stage)
    _works_again(container)  # a first run compiles Python modules, which are such calls too
    before = leaks.take(stage.directory)
    argv = {
        "create": ["create", "--bundle", str(container.bundle.directory), container.id],
        "start": ["start", container.id],
        "delete": ["delete", "--force", container.id],
    }[verb]
    for number in range(1, _MOST):
        if verb != "create":
            container.create().ok()
        code, err = _killed_at(call, number, stage.runtime.argv(*argv))
        if code != -signal.SIGKILL:
            assert code == 0, err
            _recovers(stage, container, before, 0, f"{verb} without a kill")
            return number - 1
        _recovers(stage, container, before, number, f"{verb}, killed at {call} {number}")
    raise AssertionError(f"more than {_MOST} calls of {call}")


# System calls by which the runtime changes something outside of itself, or waits for init.
_CREATE = (
    "write", "mkdir", "rename", "flock", "bind", "listen", "clone3", "futex", "sendto", "recvmsg", "prlimit64",
    "open_tree", "mount_setattr", "wait4", "memfd_create",
)  # fmt: skip
_START = ("connect", "recvfrom", "sendto", "clone3", "write", "wait4")
_DELETE = ("flock", "rename", "pidfd_send_signal", "rmdir", "unlink", "clone3", "poll", "wait4")


@pytest.mark.parametrize("call", _CREATE)
def test_runtime_is_killed_in_create(stage: Stage, call: str) -> None:
    """Create is killed at each such call: state, gc or delete --force clean up, and the id works again."""
    _sweep_runtime(stage, "create", call)


@pytest.mark.parametrize("call", _START)
def test_runtime_is_killed_in_start(stage: Stage, call: str) -> None:
    """Start is killed at each such call: nothing is left after delete --force, and the id works again."""
    _sweep_runtime(stage, "start", call)


@pytest.mark.parametrize("call", _DELETE)
def test_runtime_is_killed_in_delete(stage: Stage, call: str) -> None:
    """Delete is killed at each such call: whichever verb comes next finishes it."""
    _sweep_runtime(stage, "delete", call)


def test_the_moments_are_hit(stage: Stage) -> None:
    """The calls that must occur do occur: else a sweep over them would show nothing."""
    assert _sweep_runtime(stage, "create", "rename") >= 2
    assert _sweep_runtime(stage, "create", "clone3") >= 3
    assert _sweep_runtime(stage, "delete", "unlink") >= 5


# Calls of init alone: its messages and answers at the sync points, and one or more of each kind of op.
_INIT_IN_CREATE = {
    "sendmsg": 3, "fsopen": 3, "fsconfig": 2, "fsmount": 1, "move_mount": 3, "mknodat": 2, "symlinkat": 1,
    "pivot_root": 1, "sethostname": 1, "setresuid": 1, "capset": 1, "setgroups": 1, "keyctl": 1, "setsid": 1,
}  # fmt: skip


@pytest.mark.parametrize("call", list(_INIT_IN_CREATE))
def test_init_is_killed_in_create(stage: Stage, call: str) -> None:
    """Init dies at a call of its own: create says so in one line, exits with 1, and leaves nothing."""
    container = _make(stage)
    before = leaks.take(stage.directory)
    hits = 0
    for number in range(1, _INIT_IN_CREATE[call] + 1):
        argv = stage.runtime.argv("create", "--bundle", str(container.bundle.directory), container.id)
        code, err = _killed_at(call, number, argv, follow=True)
        if code == 0:  # it was the last message, after which the container exists
            assert container.status() == "stopped"
        else:
            assert code == 1, err
            assert len(err.splitlines()) == 1, err
            assert "signal 9" in err, err
            assert stage.runtime.ids() == [], err
            hits += 1
        _recovers(stage, container, before, number, f"init killed at {call} {number}")
    assert hits > 0


@pytest.mark.parametrize(("call", "number"), [("accept4", 1), ("close_range", 3), ("close_range", 4)])
def test_init_is_killed_in_start(stage: Stage, call: str, number: int) -> None:
    """Init dies while it waits for start, or between GO and its program: start fails, the container is stopped."""
    container = stage.container("sleep", "100")  # without hooks, whose processes make such calls too
    before = leaks.take(stage.directory)
    argv = stage.runtime.argv("create", "--bundle", str(container.bundle.directory), container.id)
    code, err = _killed_at(call, number, argv, follow=True)
    assert code == 0, err
    started = container.start()
    assert started.code == 1
    assert len(started.err.splitlines()) == 1, started.err
    assert "internal error" not in started.err
    assert container.status() in ("stopped", "")
    _recovers(stage, container, before, number, f"init killed at {call} {number}")


def test_starter_is_lost_before_go(stage: Stage) -> None:
    """A starter that dies after hello changes nothing: the container is created still, and the next start works."""
    container = stage.container("echo", "started")
    container.create().ok()
    code, _ = _killed_at("sendto", 1, stage.runtime.argv("start", container.id))
    assert code == -signal.SIGKILL
    assert container.status() == "created"
    assert container.finish() == "started\n"


_VERBS = ("create", "create", "start", "delete", "run")


def test_random_moments(stage: Stage) -> None:
    """Killed at 100 random moments, in random verbs, nothing is ever left. The seed is in the failure's text."""
    seed = int(os.environ.get("OCIRUNTIME_CRASH_SEED") or int.from_bytes(os.urandom(4), "little"))
    print(f"seed {seed}")
    choice = random.Random(seed)
    container = _make(stage)
    before = leaks.take(stage.directory)
    longest = _seconds_of_create(container)
    for number in range(100):
        verb = choice.choice(_VERBS)
        moment = choice.uniform(0, longest * 1.2)
        if verb in ("start", "delete"):
            container.create().ok()
            words = [verb, container.id] if verb == "start" else [verb, "--force", container.id]
        else:
            words = [verb, "--bundle", str(container.bundle.directory), container.id]
        process = stage.runtime.start_call(*words, out=subprocess.DEVNULL, err=subprocess.DEVNULL)
        time.sleep(moment)
        process.kill()
        process.wait()
        place = f"OCIRUNTIME_CRASH_SEED={seed}, moment {number}: {verb} after {moment * 1000:.2f} ms"
        _recovers(stage, container, before, choice.randrange(12), place)


def _seconds_of_create(container: Container) -> float:
    seconds = []
    for _ in range(3):
        seconds.append(container.create().ok().seconds)
        container.delete("--force").ok()
    return min(seconds)


def test_init_is_killed_during_a_hook_of_start(stage: Stage) -> None:
    """Init dies while a startContainer hook runs that survives it: start fails with words, not by a signal."""
    pid_file = stage.directory / "pid"
    note = stage.directory / "note"

    def edit(config: Config) -> None:
        without_namespace(config, "pid")
        add_bind(config, str(stage.directory), "/work", "rw")
        script = "cat > /dev/null; kill -9 $(cat /work/pid); sleep 0.1; echo done > /work/note"
        add_hook(config, "startContainer", "/bin/sh", "-c", script)
        set_capabilities(config, "CAP_KILL", "CAP_DAC_OVERRIDE")

    container = stage.container("true", edit=edit)
    container.create("--pid-file", str(pid_file)).ok()
    started = container.start()
    assert note.read_text() == "done\n"
    assert started.code == 1, started
    assert len(started.err.splitlines()) == 1, started.err
    assert "init ended" in started.err, started.err
    assert container.status() in ("stopped", "")


def test_hook_outlives_no_container(stage: Stage) -> None:
    """When the runtime is killed while a hook runs in the container, delete ends the hook too."""
    note = stage.directory / "note"

    def edit(config: Config) -> None:
        script = f"echo $$ > {note}; exec sleep 100"
        add_hook(config, "createContainer", "/bin/sh", "-c", script)

    container = stage.container("true", edit=edit)
    words = ["create", "--bundle", str(container.bundle.directory), container.id]
    process = stage.runtime.start_call(*words, out=subprocess.DEVNULL, err=subprocess.DEVNULL)
    end = time.monotonic() + 10 * PATIENCE
    while not note.exists() or not note.read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    process.kill()
    process.wait()
    container.delete("--force").ok()
    assert stage.runtime.ids() == []
