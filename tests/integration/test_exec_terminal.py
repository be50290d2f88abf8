# SPDX-License-Identifier: Apache-2.0
"""exec with a terminal: of the caller in the foreground, or sent to a socket; and what else is sent."""

from __future__ import annotations

import select
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS
from tests.harness.terminals import Client, Receiver, Screen, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

_ours = pytest.mark.skipif(runtime_under_test() in PEERS, reason="run with RUNTIME=ociruntime")


@contextmanager
def _sitting_at(container: Container, *words: str, **how: Any) -> Iterator[Client]:
    client = Client(container.runtime.argv("exec", "--tty", container.id, *words), **how)
    try:
        yield client
    finally:
        client.close()


@contextmanager
def _receiver(stage: Stage, name: str) -> Iterator[Receiver]:
    made = Receiver(stage.directory / name)
    try:
        yield made
    finally:
        made.close()


def test_a_session(compare: Compare) -> None:
    """The caller's terminal is raw meanwhile and as before afterwards; sizes, keys, Ctrl-C, exit code."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running()
        script = """
            size_is() { until [ "$(stty size 2>/dev/null)" = "$*" ]; do sleep 0.05; done }
            trap 'echo interrupted; come=1' INT
            size_is 24 80; tty; readlink /proc/$$/fd/0; (: < /dev/tty) && echo controlling; echo ready
            read line; echo "got $line"; size_is 30 100; echo resized
            # Not in read: a signal just before its system call is noticed only after it.
            until [ "$come" ]; do sleep 0.05; done; read line; read line; exit 7
        """
        with _sitting_at(container, "sh", "-c", script) as client:
            shown = client.wait_for("ready\r\n")
            raw = client.is_raw()
            client.type("words\r")
            client.wait_for("got words\r\n")
            client.resize(30, 100)
            client.wait_for("resized\r\n")
            client.type("\x03")
            client.wait_for("interrupted")
            client.type("\r\r")
            answers = {"shown": shown, "raw": raw, "code": client.wait(), "restored": client.is_restored()}
        container.delete("--force").ok()
        return answers

    answers = compare(scenario, ("runc",))  # a later size does not reach crun's containers
    assert answers["raw"] is answers["restored"] is True
    assert answers["code"] == 7
    assert answers["shown"].replace("\r\n", "\n") == "/dev/pts/0\n/dev/pts/0\ncontrolling\nready\n"


def test_console_socket(compare: Compare) -> None:
    """--detach --tty --console-socket: the master goes there; by a document too, with its size and its user."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running()
        script = "stty size; tty; stat -c %u $(tty); read line; echo got $line"
        answers = {}
        document = stage.process_file(
            args=["sh", "-c", script],
            terminal=True,
            user={"uid": 7, "gid": 7},
            consoleSize={"height": 31, "width": 101},
        )
        for number, (name, flags, words) in enumerate(
            (("flags", ("--tty",), ("sh", "-c", script)), ("document", ("--process", document), ()))
        ):
            with _receiver(stage, f"console-{number}.sock") as waiting:
                done = container.exec(
                    *words,
                    flags=("--detach", "--console-socket", str(waiting.path), *flags),
                    out=subprocess.DEVNULL,
                    err=subprocess.DEVNULL,
                )
                payload, numbers, rest = waiting.receive()
                size = size_of(numbers[0])
                screen = Screen(numbers[0])
                screen.type("typed\r")
                text = screen.rest().replace("\r\n", "\n")
                # What the terminal echoes comes before or after what the program has said by then.
                lines = sorted(text.splitlines())
                answers[name] = [done.code, payload, len(numbers), len(rest), list(size), lines]
        container.delete("--force").ok()
        return answers

    answers = compare(scenario, ("runc",))  # crun takes no size from a document
    assert answers["document"][4] == [31, 101]
    lines = answers["document"][5]
    assert "got typed" in lines
    assert "7" in lines


@_ours
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ("--tty", "--detach"),
            "cannot allocate tty if ociruntime will detach without setting console socket",
        ),
        (("--detach", "--console-socket", "/none"), "cannot use console socket"),
        (("--tty", "--console-socket", "/none"), "cannot use console socket"),
        (("--tty", "--detach", "--console-socket", "/none"), "connect console socket: /none"),
        (("--pidfd-socket", "/none"), "connect pidfd socket: /none"),
        (("--tty",), "open /dev/tty"),
    ],
)
def test_refusals(stage: Stage, flags: tuple[str, ...], told: str) -> None:
    """Runc's rules and words; nothing is run."""
    container = stage.running()
    stage.runtime.command = ["setsid", "-w", *stage.runtime.command]
    result = container.exec("touch", "/dev/shm/ran", flags=flags)
    assert result.code == 255
    result.refused("ociruntime: exec: ", told)
    assert container.exec("ls", "/dev/shm").ok().out == ""
    container.delete("--force").ok()


@_ours
def test_terminal_that_nobody_takes(stage: Stage) -> None:
    """A receiver that hangs up ends the process before it is the program."""
    container = stage.running()
    with _receiver(stage, "console.sock") as waiting:
        call = stage.runtime.start_call(
            "exec", "--tty", "--detach", "--console-socket", str(waiting.path), container.id, "sleep", "500"
        )
        waiting.listening.accept()[0].close()
        _, err = call.communicate(timeout=60)
    if call.returncode == 0:  # it was sent before the end was seen: then the program was hung up
        return container.delete("--force").ok() and None
    assert (call.returncode, b"send terminal" in err) == (255, True), err
    container.delete("--force").ok()
    return None


@_ours
def test_pidfd_socket(stage: Stage) -> None:
    """--pidfd-socket: a descriptor that refers to the process, by which it can be ended."""
    container = stage.running()
    with _receiver(stage, "pidfd.sock") as waiting:
        call = stage.runtime.start_call(
            "exec", "--pidfd-socket", str(waiting.path), container.id, "sleep", "500"
        )
        _, numbers, rest = waiting.receive()
        assert (len(numbers), rest) == (1, b"")
        signal.pidfd_send_signal(numbers[0], signal.SIGKILL)
        assert select.select([numbers[0]], [], [], 10)[0]
        call.communicate(timeout=60)
    assert call.returncode == 128 + signal.SIGKILL
    container.delete("--force").ok()


@_ours
def test_what_confines_the_container_confines_exec(stage: Stage) -> None:
    """Scheduler, I/O priority and personality are the container's, or the document's."""

    def edit(config: Any) -> None:
        config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 3}
        config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 6}
        config["linux"]["personality"] = {"domain": "LINUX32"}

    container = stage.running(edit)
    script = "cut -d ' ' -f 19,41 /proc/$$/stat; ionice -p $$; uname -m"
    own = container.exec("sh", "-c", script).ok().out.split()
    assert own[:2] == ["3", "3"]  # nice, SCHED_BATCH
    assert own[-1] in ("i686", "armv8l")
    document = stage.process_file(args=["sh", "-c", script], scheduler={"policy": "SCHED_OTHER", "nice": 5})
    assert container.exec(flags=("-p", document)).ok().out.split()[:2] == ["5", "0"]
    container.delete("--force").ok()


@_ours
def test_labels_without_a_module(stage: Stage) -> None:
    """On a host without AppArmor or SELinux a label that exec asks for is a warning, as with create."""
    container = stage.running()
    log = stage.directory / "log"
    for flags, module in (
        (("--apparmor", "some-profile"), "AppArmor"),
        (("--process-label", "a:b:c:d"), "SELinux"),
    ):
        result = container.exec("echo", "ran", flags=flags, options=["--log", str(log)])
        if result.code == 0:  # else the module is there, and the label is unknown
            assert result.out == "ran\n"
            assert module in log.read_text()
        else:
            result.refused("/process/")
    container.delete("--force").ok()
