# SPDX-License-Identifier: Apache-2.0
"""Does `run` pass on exit codes and signals, and does an interrupted create undo everything?"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_hook, without_namespace
from tests.harness.driver import PATIENCE
from tests.harness.leaks import own_children
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare


def _first_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def _ended(process: subprocess.Popen[bytes], seconds: float = 15.0) -> tuple[int, bytes, bytes]:
    """Exit code and output of a started call that must end."""
    try:
        out, err = process.communicate(timeout=seconds * PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        # A container that outlives its `run` holds the other ends.
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()
        raise AssertionError(f"not ended, or its output still held, after {seconds} s") from None
    return process.returncode, out, err


@pytest.mark.parametrize("code", [0, 1, 3, 126, 127, 255])
def test_exit_code(compare: Compare, code: int) -> None:
    """`run` exits as the program does, silently, and removes the container."""

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.run("sh", "-c", f"exit {code}")
        return {"code": result.code, "said": result.out + result.err, "left": stage.runtime.ids()}

    assert compare(scenario) == {"code": code, "said": "", "left": []}


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV", "USR1"])
def test_death_by_a_signal(compare: Compare, name: str) -> None:
    """`run` exits 128+n when signal n has ended the program."""

    def edit(config: Config) -> None:
        # Without a pid namespace of its own the program may kill itself by any signal.
        without_namespace(config, "pid")

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.run("sh", "-c", f"kill -{name} $$", edit=edit)
        return {"code": result.code, "said": result.out + result.err, "left": stage.runtime.ids()}

    number = signal.Signals[f"SIG{name}"].value
    assert compare(scenario) == {"code": 128 + number, "said": "", "left": []}


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"])
def test_signals_are_forwarded(compare: Compare, name: str) -> None:
    """A signal to a foreground `run` reaches the program; `run` ends with the program, not by it."""
    script = f"trap 'echo got; exit 7' {name}; echo ready; while :; do sleep 0.05; done"

    def scenario(stage: Stage) -> dict[str, Any]:
        process = stage.container("sh", "-c", script).begin_run()
        ready = _first_line(process)
        process.send_signal(signal.Signals[f"SIG{name}"])
        code, out, err = _ended(process)
        return {
            "shown": [ready.decode(), out.decode(), err.decode()],
            "code": code,
            "left": stage.runtime.ids(),
        }

    assert compare(scenario) == {"shown": ["ready\n", "got\n", ""], "code": 7, "left": []}


def test_two_signals_in_a_row(compare: Compare) -> None:
    """More than one signal is forwarded."""
    script = "trap 'echo one' USR1; trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done"

    def scenario(stage: Stage) -> dict[str, Any]:
        process = stage.container("sh", "-c", script).begin_run()
        lines = [_first_line(process)]
        process.send_signal(signal.SIGUSR1)
        lines.append(_first_line(process))
        process.send_signal(signal.SIGTERM)
        code, _, _ = _ended(process)
        return {"lines": [line.decode() for line in lines], "code": code}

    assert compare(scenario) == {"lines": ["ready\n", "one\n"], "code": 9}


@pytest.mark.parametrize("how", ["kill", "delete --force"])
def test_ended_from_outside(compare: Compare, how: str) -> None:
    """A foreground `run` whose container another call kills or deletes exits 137 and leaves nothing."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", "echo ready; sleep 100")
        process = container.begin_run()
        _first_line(process)
        if how == "kill":
            container.kill("KILL").ok()
        else:
            # `run` may be quicker in removing it; crun then complains.
            container.delete("--force")
        code, _, err = _ended(process)
        return {"code": code, "said": err.decode(), "left": stage.runtime.ids()}

    assert compare(scenario) == {"code": 137, "said": "", "left": []}


def test_standard_streams(compare: Compare) -> None:
    """In the foreground the program reads run's stdin and writes to run's stdout and stderr."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", "tr a-z A-Z; echo to-err >&2")
        text = stage.directory / "input"
        text.write_text("hello\n" * 20000)
        with open(text, "rb") as file:
            result = container.run(stdin=file).ok()
        return {"out": result.out == "HELLO\n" * 20000, "err": result.err}

    assert compare(scenario) == {"out": True, "err": "to-err\n"}


def test_keep(compare: Compare) -> None:
    """--keep leaves the stopped container for state and delete; the exit code is the program's."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", "exit 5")
        code = container.run("--keep").code
        container.created = True
        return {"code": code, "status": container.status(), "delete": container.delete().code}

    # crun 1.8 does not know it.
    assert compare(scenario, ("runc",)) == {"code": 5, "status": "stopped", "delete": 0}


def test_detach(compare: Compare) -> None:
    """--detach returns while the program runs, with run's own files as its output, and writes the pid file."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", "echo ready; sleep 100")
        pid_file = stage.directory / "pid"
        with open(container.out_file, "wb") as out:
            container.run("--detach", "--pid-file", str(pid_file), out=out, err=out).ok()
        container.wait_for_output("ready\n")
        pid = int(pid_file.read_text())
        target = os.readlink(f"/proc/{pid}/fd/1")
        answers = {
            "status": container.status(),
            "pid": pid == container.state()["pid"],
            "own file": target == str(container.out_file),
        }
        container.kill("KILL").ok()
        container.wait_for("stopped")
        return {**answers, "delete": container.delete().code}

    assert compare(scenario) == {"status": "running", "pid": True, "own file": True, "delete": 0}


def test_run_of_an_id_in_use(compare: Compare) -> None:
    """`run` refuses an id that exists, and the container that has it is untouched."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.in_state("running")
        before = container.state()
        code = container.run().code
        return {"code": code, "untouched": container.state() == before}

    assert compare(scenario) == {"code": 1, "untouched": True}


def _wait_for_file(path: Path) -> None:
    end = time.monotonic() + 10 * PATIENCE
    while not path.exists():
        assert time.monotonic() < end, f"{path} has not appeared"
        time.sleep(0.01)


# A minute, and what tells this hook from all other processes, in whatever pid namespace it is.
_HOOK_SECONDS = f"60.{os.getpid():09}"


def _slow_hook_lives(running: Path) -> bool:
    """Whether the hook's shell, or the sleep that it becomes, is there."""
    marks = (str(running).encode(), _HOOK_SECONDS.encode())
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            words = place.read_bytes()
            if place.parent.name != str(os.getpid()) and any(mark in words for mark in marks):
                return True
    return False


def _slow_hook(stage: Stage, kind: str) -> tuple[Container, Path, Path]:
    """A container with a hook that says that it runs and then takes a minute, and a poststop hook."""
    running, stopped = stage.directory / "hook-runs", stage.directory / "poststop-ran"

    def edit(config: Config) -> None:
        add_hook(
            config,
            kind,
            "/bin/sh",
            "-c",
            f"echo $$ > {running}.new; mv {running}.new {running}; exec sleep {_HOOK_SECONDS}",
        )
        add_hook(config, "poststop", "/bin/touch", str(stopped))

    return stage.container("true", edit=edit), running, stopped


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_interrupted_when_a_hook_has_just_begun(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The signal comes when the hook is already running, and nothing waits for it yet: it is ended nevertheless."""
    if stage.runtime.name in PEERS:
        pytest.skip("this is about the runtime's own functions: run with RUNTIME=ociruntime")
    import ociruntime
    from ociruntime import Interrupted, Options, bundle
    from ociruntime.launch.launch import Launch

    finished: list[Launch] = []

    def finish(launch: Launch, *words: bool, own: Any = Launch.finish) -> None:
        own(launch, *words)
        finished.append(launch)
        if len(finished) == 1:  # the hook's; the create's comes when it is undone
            raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(Launch, "finish", finish)
    made, running, _ = _slow_hook(stage, kind)
    loaded = bundle.load(str(made.bundle.directory))
    children = own_children()
    with open(os.devnull, "r+b") as null, pytest.raises(Interrupted):
        ociruntime.create(str(stage.runtime.root), loaded, Options(made.id), stdio=(null.fileno(),) * 3)
    assert stage.runtime.ids() == []
    assert own_children() <= children
    assert not _slow_hook_lives(running)


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
@pytest.mark.parametrize("verb", ["create", "run"])
@pytest.mark.parametrize("kind", ["createRuntime", "createContainer"])
def test_interrupted_during_create(stage: Stage, verb: str, name: str, kind: str) -> None:
    """A signal during create undoes everything, the hook included, at once, and exits 128+n."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc and crun ignore signals while they create")
    container, running, stopped = _slow_hook(stage, kind)
    call = ("--bundle", str(container.bundle.directory), container.id)
    process = stage.runtime.start_call(verb, *call)
    _wait_for_file(running)
    began = time.monotonic()
    process.send_signal(signal.Signals[f"SIG{name}"])
    code, _, err = _ended(process)
    assert code == 128 + signal.Signals[f"SIG{name}"].value
    assert b"Traceback" not in err
    assert b"interrupted" in err
    assert time.monotonic() - began < 5
    assert stage.runtime.ids() == []
    stage.runtime.call("state", container.id).refused("does not exist")
    assert stopped.exists(), "the container was destroyed, so its poststop hooks are due (R208)"


def test_killed_caller_leaves_nothing(stage: Stage) -> None:
    """When `create` is killed by signal 9, init ends too, and delete --force cleans up the rest."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc and crun leave init behind when they are killed")
    container, running, _ = _slow_hook(stage, "createRuntime")
    process = stage.runtime.start_call("create", "--bundle", str(container.bundle.directory), container.id)
    _wait_for_file(running)
    process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        pipe.close()
    hook = int(running.read_text())
    try:
        stage.runtime.call("delete", "--force", container.id).ok()
        assert stage.runtime.ids() == []
    finally:
        # The hook was the killed runtime's child, and no part of the container.
        os.kill(hook, signal.SIGKILL)
