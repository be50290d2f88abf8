# SPDX-License-Identifier: Apache-2.0
"""A program in the foreground without a terminal, whose caller sits at one: it gets pipes, and what goes through them."""

from __future__ import annotations

import os
import select
import shlex
import signal
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import writable_root
from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.terminals import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

_ours = pytest.mark.skipif(runtime_under_test() in PEERS, reason="run with RUNTIME=ociruntime")

departure(
    "streams of run at a terminal",
    "crun",
    "R038",
    "no terminal was asked for; crun gives the caller's terminal",
)
departure(
    "streams of exec at a terminal",
    "crun",
    "R038",
    "no terminal was asked for; crun gives the caller's terminal",
)
departure(
    "a stream beside a terminal",
    "runc",
    "R038",
    "a file is given as it is, as crun does: no copy, no pipe to fill",
)
departure(
    "ends when a process is left behind", "runc", "R038", "the program has ended, and its exit code is known"
)

_SHOW_STREAMS = "for n in 0 1 2; do stat -L -c %F /proc/$$/fd/$n; [ -t $n ] && echo terminal $n; done; exit 3"


def _run(container: Container) -> list[str]:
    container.runtime.prepare(container.bundle)
    return container.runtime.argv("run", "--bundle", str(container.bundle.directory), container.id)


def _exec(container: Container, script: str) -> list[str]:
    return container.runtime.argv("exec", container.id, "sh", "-c", script)


def _both(stage: Stage, container: Container, script: str) -> list[tuple[str, list[str]]]:
    """The script as a container of its own, and as one more process of `container`."""
    return [("run", _run(stage.container("sh", "-c", script))), ("exec", _exec(container, script))]


@contextmanager
def _sitting_at(command: list[str], **how: Any) -> Iterator[Client]:
    client = Client(command, **how)
    try:
        yield client
    finally:
        client.close()


def _played(command: list[str], **how: Any) -> list[Any]:
    """Exit code and output of a command without anything being typed."""
    with _sitting_at(command, **how) as client:
        return [client.wait(), client.text.replace("\r\n", "\n")]


def test_streams_are_pipes(compare: Compare) -> None:
    """Run and exec: none of 0, 1, 2 is a terminal, the exit code is the program's, and nothing need be typed."""

    def scenario(stage: Stage) -> dict[str, Any]:
        of_run = _played(_run(stage.container("sh", "-c", _SHOW_STREAMS)))
        container = stage.running()
        of_exec = _played(_exec(container, _SHOW_STREAMS))
        container.delete("--force").ok()
        return {"streams of run at a terminal": of_run, "streams of exec at a terminal": of_exec}

    answers = compare(scenario)
    assert list(answers.values()) == [[3, "fifo\nfifo\nfifo\n"]] * 2


def test_a_conversation(compare: Compare) -> None:
    """What is typed arrives line by line, Ctrl-D at the beginning of a line is the end, and echoes are the terminal's."""

    def scenario(stage: Stage) -> dict[str, Any]:
        script = "echo ready; while read line; do echo got $line; done; echo end; exit 4"
        container = stage.running()
        answers = {}
        for name, command in _both(stage, container, script):
            with _sitting_at(command) as client:
                shown = client.wait_for("ready\r\n")
                for word in ("one", "two"):
                    client.type(f"{word}\r")
                    shown += client.wait_for(f"got {word}\r\n")
                raw = client.is_raw()
                client.type("\x04")
                shown += client.wait_for("end\r\n")
                answers[name] = [shown, raw, client.wait(), client.is_restored()]
        container.delete("--force").ok()
        return answers

    answers = compare(scenario)
    shown = "ready\r\none\r\ngot one\r\ntwo\r\ngot two\r\nend\r\n"
    assert answers == {verb: [shown, False, 4, True] for verb in ("run", "exec")}


def test_much_output(compare: Compare) -> None:
    """1 MiB arrives whole on each of 1 and 2, even if the program ends at once."""

    def scenario(stage: Stage) -> dict[str, Any]:
        script = "head -c 1048576 /dev/zero | tr '\\0' a; head -c 1048576 /dev/zero | tr '\\0' b >&2"
        container = stage.running()
        code, text = _played(_exec(container, script))
        container.delete("--force").ok()
        return {"code": code, "a": text.count("a"), "b": text.count("b"), "length": len(text)}

    assert compare(scenario) == {"code": 0, "a": 1 << 20, "b": 1 << 20, "length": 1 << 21}


@_ours
def test_order_of_what_is_printed(stage: Stage) -> None:
    """Lines of 1 and 2 come in the order in which they were printed, as at a terminal (not so with runc)."""
    container = stage.running()
    script = "for n in $(seq 200); do echo o$n; echo e$n >&2; done"
    _, text = _played(_exec(container, script))
    container.delete("--force").ok()
    assert text.split() == [f"{letter}{number}" for number in range(1, 201) for letter in "oe"]


def test_control_c(compare: Compare) -> None:
    """The terminal sends SIGINT to the runtime, which passes it on."""

    def scenario(stage: Stage) -> dict[str, Any]:
        script = "trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.05; done"
        container = stage.running()
        answers = {}
        for name, command in _both(stage, container, script):
            with _sitting_at(command) as client:
                client.wait_for("ready\r\n")
                client.type("\x03")
                answers[name] = [client.wait(), "interrupted" in client.text]
        container.delete("--force").ok()
        return answers

    assert compare(scenario) == {"run": [9, True], "exec": [9, True]}


def test_death_by_a_signal(compare: Compare) -> None:
    """128 + n, and what was printed before has come."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running()
        answer = _played(_exec(container, "echo words; kill -TERM $$"))
        container.delete("--force").ok()
        return {"exec": answer}

    assert compare(scenario) == {"exec": [128 + signal.SIGTERM, "words\n"]}


@pytest.mark.parametrize("number", [0, 1, 2])
def test_one_stream_is_a_file(compare: Compare, number: int) -> None:
    """A stream that is not a terminal is passed on as it is, with pipes for the others."""
    expected = ("got from the file\r\nproblem\r\n", "problem\r\n", "got typed\r\n")[number]

    def scenario(stage: Stage) -> dict[str, Any]:
        path = stage.directory / "stream"
        path.write_text("from the file\n")
        container = stage.running()
        script = (
            'kinds=$(for n in 0 1 2; do stat -L -c %F /proc/$$/fd/$n | cut -c -4; done); echo "$kinds" > /dev/shm/kinds;'
            "read line; echo got $line; echo problem >&2"
        )
        call = f"{shlex.join(_exec(container, script))} {('<', '>', '2>')[number]} {path}"
        with _sitting_at(["sh", "-c", call]) as client:
            if number != 0:
                client.type("typed\r")
            code = client.wait()
            shown = client.text.replace("typed\r\n", "", 1)
        if stage.runtime.name not in PEERS:
            assert shown == expected  # runc has a pipe for each of 1 and 2, and loses their order
        kinds = container.exec("cat", "/dev/shm/kinds").ok().out.splitlines()
        container.delete("--force").ok()
        return {
            "code": code,
            "shown": sorted(shown.splitlines()),
            "file": path.read_text(),
            "a stream beside a terminal": kinds,
        }

    answers = compare(scenario, ("runc",))  # crun: the terminal itself
    assert answers["code"] == 0
    kinds = ["regu" if one == number else "fifo" for one in (0, 1, 2)]
    assert answers["a stream beside a terminal"] == kinds
    assert answers["shown"] == sorted(expected.splitlines())
    assert answers["file"] == ("from the file\n", "got typed\n", "problem\n")[number]


def test_process_left_behind(compare: Compare) -> None:
    """The command ends with its program, not when the last process has closed the program's streams."""

    def scenario(stage: Stage) -> dict[str, Any]:
        script = "(until [ -e /dev/shm/go ]; do sleep 0.05; done; echo late) & echo words; exit 5"
        container = stage.running()
        with _sitting_at(_exec(container, script)) as client:
            client.wait_for("words\r\n")
            end = time.monotonic() + 2 * PATIENCE
            while client.process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            ended = client.process.poll() is not None
            container.exec("touch", "/dev/shm/go").ok()
            code = client.wait()
        container.delete("--force").ok()
        return {"ends when a process is left behind": ended, "code": code}

    assert compare(scenario) == {"ends when a process is left behind": True, "code": 5}


def _shell(client_script: str) -> list[str]:
    """A shell with job control: each of its jobs is a process group, as at a prompt."""
    return ["bash", "-c", f"set -m; {client_script}"]


@_ours
def test_in_the_background(stage: Stage) -> None:
    """A job in the background neither takes what is typed for the shell nor is stopped, even with `stty tostop`."""
    container = stage.running()
    script = "echo started; until [ -e /dev/shm/go ]; do sleep 0.05; done; echo finished; exit 6"
    job = shlex.join(_exec(container, script))
    with _sitting_at(
        _shell(f'stty tostop; {job} & read line; echo "shell got $line"; wait $!; echo code $?')
    ) as client:
        client.wait_for("started\r\n")
        client.type("words\r")
        client.wait_for("shell got words\r\n")
        container.exec("touch", "/dev/shm/go").ok()
        client.wait_for("finished\r\n")
        client.wait_for("code 6\r\n")
        assert client.wait() == 0
    container.delete("--force").ok()


@_ours
def test_it_comes_to_the_foreground(stage: Stage) -> None:
    """What is typed after `fg` is the program's."""
    container = stage.running()
    job = shlex.join(_exec(container, "echo started; cat; echo end; exit 6"))
    with _sitting_at(_shell(f'{job} & read line; echo "shell got $line"; fg; echo code $?')) as client:
        client.wait_for("started\r\n")
        client.type("one\r")
        client.wait_for("shell got one\r\n")
        client.wait_for("exit 6'\r\n")  # what fg says
        client.type("two\r")
        client.wait_for("two\r\ntwo\r\n")
        client.type("\x04")
        client.wait_for("end\r\n")
        client.wait_for("code 6\r\n")
        assert client.wait() == 0
    container.delete("--force").ok()


@_ours
def test_two_read_one_terminal(stage: Stage) -> None:
    """A program that ends while another process of the foreground takes what is typed: nothing waits for a key."""
    container = stage.running()
    job = shlex.join(_exec(container, "echo started; until [ -e /dev/shm/go ]; do sleep 0.05; done; exit 6"))
    # without job control both are in the foreground
    with _sitting_at(["bash", "-c", f"{job} <&0 & cat <&0 & wait -n; echo code $?; kill %2"]) as client:
        client.wait_for("started\r\n")
        for _ in range(20):
            client.type("words\r")
            client.wait_for("words\r\n")
        container.exec("touch", "/dev/shm/go").ok()
        client.wait_for("code 6\r\n")
        client.wait()
    container.delete("--force").ok()


@_ours
def test_input_that_the_program_does_not_want(stage: Stage) -> None:
    """What is typed after the program has closed its 0 is there for the next command."""
    container = stage.running()
    script = "exec <&-; echo ready; until [ -e /dev/shm/go ]; do sleep 0.05; done"
    with _sitting_at(_exec(container, script)) as client:
        client.wait_for("ready\r\n")
        client.type("words\r")
        client.wait_for("words\r\n")
        container.exec("touch", "/dev/shm/go").ok()
        assert client.wait() == 0
        assert select.select([client.terminal], [], [], 5)[0]
        assert os.read(client.terminal, 100) == b"words\n"
    container.delete("--force").ok()


@_ours
def test_the_terminal_is_hung_up(stage: Stage) -> None:
    """The program reads the end of its input and can't print any more; the command ends with it."""
    container = stage.running()
    script = """
        trap '' HUP PIPE; echo ready; cat; while echo words; do sleep 0.05; done 2>/dev/null
        echo ended > /dev/shm/said
    """
    with _sitting_at(_exec(container, script)) as client:
        client.wait_for("ready\r\n")
        os.close(client.master)
        client.master = os.open("/dev/null", os.O_RDWR)
        assert client.process.wait(30 * PATIENCE) == 0
    assert container.exec("cat", "/dev/shm/said").ok().out == "ended\n"
    container.delete("--force").ok()


@_ours
def test_stopped_terminal(stage: Stage) -> None:
    """Ctrl-S holds the output, and the command, until Ctrl-Q: nothing is lost."""
    container = stage.running()
    script = "echo ready; read line; head -c 300000 /dev/zero | tr '\\0' a; echo end; exit 6"
    with _sitting_at(_exec(container, script)) as client:
        client.wait_for("ready\r\n")
        termios.tcflow(client.terminal, termios.TCOOFF)
        client.type("\r")
        time.sleep(0.5)
        assert client.process.poll() is None
        termios.tcflow(client.terminal, termios.TCOON)
        assert client.wait() == 6
        assert (client.text.count("a"), client.text.endswith("end\r\n")) == (300000, True)
    container.delete("--force").ok()


@_ours
def test_a_program_that_can_t_be_run(stage: Stage) -> None:
    """The error is shown at the terminal, and nothing is left (the fixture looks)."""
    container = stage.running()
    code, text = _played(container.runtime.argv("exec", container.id, "/none"))
    assert (code, "executable file not found" in text or "no such file" in text) == (255, True), text
    container.delete("--force").ok()
    code, text = _played(_run(stage.container("/none")))
    assert (code, "/none" in text, stage.runtime.ids()) == (1, True, []), text


@_ours
def test_a_signal_before_the_program(stage: Stage) -> None:
    """SIGTERM while a startContainer hook runs undoes everything, pipes or not."""
    container = stage.container("true", edit=writable_root)
    container.bundle.config["hooks"] = {
        "startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null; sleep 100"]}]
    }
    container.bundle.write()
    with _sitting_at(_run(container)) as client:
        end = time.monotonic() + 20 * PATIENCE
        while container.runtime.call("state", container.id).code != 0:
            assert time.monotonic() < end
        time.sleep(0.2)
        client.process.send_signal(signal.SIGTERM)
        assert client.wait() == 128 + signal.SIGTERM
    assert stage.runtime.ids() == []


@_ours
def test_detached_keeps_what_it_is_given(stage: Stage) -> None:
    """With --detach there is no process to copy: the caller's streams are passed on, as with runc."""
    container = stage.running()
    command = container.runtime.argv(
        "exec", "--detach", container.id, "sh", "-c", "[ -t 0 ] && echo terminal; echo end"
    )
    with _sitting_at(command) as client:
        client.wait_for("terminal\r\nend\r\n")
        assert client.wait() == 0
    container.delete("--force").ok()
