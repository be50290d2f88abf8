# SPDX-License-Identifier: Apache-2.0
"""process.terminal with --console-socket: what the receiver gets, what the program has; --pidfd-socket."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.terminals import Receiver, Screen, set_size, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

own = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="asks for what this runtime has: run with RUNTIME=ociruntime"
)
departure("name of the terminal", "crun", "R038", "what runc sends; engines ask for a name that is not empty")
departure("flags of /dev/console", "crun", "R113", "a bind has the flags of its source, as with runc")
departure(
    "create with a socket and no terminal",
    "crun",
    "R038",
    "runc refuses; an engine that waits would wait forever",
)


def terminal(config: Config, **more: Any) -> None:
    """A terminal, and other properties of process."""
    config["process"].update(terminal=True, **more)


@contextmanager
def receiver(stage: Stage, name: str = "console.sock") -> Iterator[Receiver]:
    """A socket that waits for a terminal."""
    made = Receiver(stage.directory / name)
    try:
        yield made
    finally:
        made.close()


SHOW = """
stty -a | tr '\\n' ' '; echo; tty; cut -d ' ' -f 5,6,7 /proc/$$/stat
for name in /dev/console /dev/pts/0; do stat -c '%n %F %a %u:%g %t:%T' $name; done
[ /dev/console -ef /dev/pts/0 ] && echo the same; grep -c /dev/console /proc/self/mountinfo
for number in 0 1 2; do readlink /proc/$$/fd/$number; done; (: < /dev/tty) && echo controlling
"""


@pytest.mark.parametrize("uid", [0, 1000])
def test_what_the_program_has(compare: Compare, uid: int) -> None:
    """R038, R040, R113: one terminal of its own devpts as 0, 1, 2, /dev/tty, /dev/console; its size, modes, owner."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def edit(config: Config) -> None:
            user = {"uid": uid, "gid": uid}
            terminal(config, consoleSize={"height": 31, "width": 101}, user=user)

        container = stage.container("sh", "-c", SHOW, edit=edit)
        with receiver(stage) as waiting:
            container.create("--console-socket", str(waiting.path)).ok()
            name, numbers, rest = waiting.receive()
            assert (len(numbers), rest) == (1, b"")
            assert size_of(numbers[0]) == (31, 101)
            screen = Screen(numbers[0])
            container.start().ok()
            text = screen.rest().replace("\r\n", "\n")
            container.wait_for("stopped")
            container.delete().ok()
        flags = container.output() + container.errors()
        return {"name of the terminal": name, "shown": text.splitlines(), "printed elsewhere": flags}

    shown = compare(scenario)["shown"]
    assert "rows 31; columns 101;" in shown[0]
    assert " onlcr" in shown[0], "newlines are the receiver's business"
    assert shown[1:3] == ["/dev/pts/0", "1 1 34816"]
    assert shown[3] == f"/dev/console character special file 620 {uid}:5 88:0"
    assert shown[5:] == ["the same", "1", *["/dev/pts/0"] * 3, "controlling"]


def test_flags_of_the_device(compare: Compare) -> None:
    """/dev/console is a bind of the devpts' file, with the flags of that mount."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("grep", "/dev/console", "/proc/self/mountinfo", edit=terminal)
        with receiver(stage) as waiting:
            container.create("--console-socket", str(waiting.path)).ok()
            screen = Screen(waiting.receive()[1][0])
            container.start().ok()
            line = screen.rest().split()
            container.wait_for("stopped")
            container.delete().ok()
        return {"flags of /dev/console": line[5], "what": [line[3], line[4], line[line.index("-") + 1]]}

    answers = compare(scenario)
    assert answers["what"] == ["/0", "/dev/console", "devpts"]


def test_keys_sizes_and_the_end(compare: Compare) -> None:
    """The holder of the master types, interrupts, resizes; when it closes it, the program gets a hangup."""

    def scenario(stage: Stage) -> dict[str, Any]:
        script = """
            trap 'echo resized to $(stty size)' WINCH; trap 'echo interrupted' INT
            trap 'echo hung up > /work/end; exit 9' HUP
            echo ready; read line; echo "line $line"
            # Not in read: a signal just before its system call is noticed only after it.
            while :; do sleep 0.05; done
        """
        container = stage.container("sh", "-c", script, edit=_writable_terminal)
        with receiver(stage) as waiting:
            container.create("--console-socket", str(waiting.path)).ok()
            master = waiting.receive()[1][0]
            screen = Screen(master)
            container.start().ok()
            screen.wait_for("ready")
            screen.type("typed\r")
            screen.wait_for("line typed")
            screen.type("\x03")
            screen.wait_for("interrupted")
            set_size(master, 50, 132)
            screen.wait_for("resized to 50 132")
        container.wait_for("stopped")
        end = (container.bundle.rootfs / "work/end").read_text()
        container.delete().ok()
        return {"end": end}

    assert compare(scenario)["end"] == "hung up\n"


def _writable_terminal(config: Config) -> None:
    terminal(config)
    config["root"]["readonly"] = False


def test_run_detached(compare: Compare) -> None:
    """`run --detach` sends the terminal as create does."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", "read x; echo got $x", edit=terminal)
        with receiver(stage) as waiting:
            code = container.run("--detach", "--console-socket", str(waiting.path)).code
            screen = Screen(waiting.receive()[1][0])
            screen.type("it\r")
            screen.wait_for("got it")
            container.wait_for("stopped")
        container.delete().ok()
        return {"code": code}

    assert compare(scenario) == {"code": 0}


def test_refusals(compare: Compare) -> None:
    """The rules of runc on terminal, --console-socket and --detach; a refused container leaves nothing."""

    def scenario(stage: Stage) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        with receiver(stage) as waiting:
            socket = str(waiting.path)
            for name, wanted, verb, flags in (
                ("create without a socket", True, "create", ()),
                ("run --detach without a socket", True, "run", ("--detach",)),
                ("create with a socket and no terminal", False, "create", ("--console-socket", socket)),
                ("socket of nobody", True, "create", ("--console-socket", socket + ".none")),
            ):
                container = stage.container("true", edit=terminal if wanted else None)
                result = getattr(container, verb)(*flags)
                answers[name] = result.code
                if result.code == 0:
                    container.delete("--force").ok()
        return {**answers, "left": stage.runtime.ids()}

    answers = compare(scenario)
    assert answers.pop("left") == []
    assert set(answers.values()) == {1}


@own
@pytest.mark.parametrize(
    ("wanted", "verb", "flags", "words"),
    [
        (True, "create", (), "cannot allocate tty"),
        (True, "run", ("--detach",), "cannot allocate tty"),
        (False, "create", ("--console-socket", "/s"), "cannot use console socket"),
        (False, "run", ("--console-socket", "/s"), "cannot use console socket"),
        (False, "run", ("--detach", "--console-socket", "/s"), "cannot use console socket"),
        (True, "run", ("--console-socket", "/s"), "cannot use console socket"),
        (True, "run", (), "open /dev/tty: ENXIO"),
    ],
)
def test_words_of_refusals(stage: Stage, wanted: bool, verb: str, flags: tuple[str, ...], words: str) -> None:
    """One line that has runc's words, before anything is made."""
    container = stage.container("true", edit=terminal if wanted else None)
    result = getattr(container, verb)(*flags)
    assert result.code == 1
    result.refused(words)
    assert stage.runtime.ids() == []


@own
def test_a_long_path(stage: Stage) -> None:
    """An engine's socket in a directory whose path is longer than an address."""
    directory = stage.directory / ("d" * 120)
    directory.mkdir()
    container = stage.container("tty", edit=terminal)
    with receiver(stage, f"{directory.name}/console.sock") as waiting:
        assert len(str(waiting.path)) > 130
        container.create("--console-socket", str(waiting.path)).ok()
        assert waiting.receive()[0] == "/dev/ptmx"
        container.delete("--force").ok()


def _accept_and_close(waiting: Receiver) -> None:
    waiting.listening.accept()[0].close()


@own
@pytest.mark.parametrize("flag", ["console", "pidfd"])
def test_nobody_takes_it(stage: Stage, flag: str) -> None:
    """The listener is gone when there is something to send: create fails, and everything is undone."""
    container = stage.container("sleep", "100", edit=terminal if flag == "console" else None)
    with receiver(stage) as waiting:
        thread = threading.Thread(target=_accept_and_close, args=(waiting,))
        thread.start()
        result = container.create(f"--{flag}-socket", str(waiting.path))
        thread.join()
    what = "/process/terminal: send terminal" if flag == "console" else "send pidfd"
    assert result.code == 1
    result.refused(what, "EPIPE")
    assert stage.runtime.ids() == []


@own
@pytest.mark.parametrize("verb", ["create", "run"])
def test_pidfd_of_init(stage: Stage, verb: str) -> None:
    """--pidfd-socket: a descriptor that refers to the container's init, by which it can be ended and waited for."""
    container = stage.container("sleep", "100")
    with receiver(stage, "pidfd.sock") as waiting:
        if verb == "create":
            container.create("--pidfd-socket", str(waiting.path)).ok()
        else:
            flags = ("--detach", "--pidfd-socket", str(waiting.path))
            container.run(*flags, out=subprocess.DEVNULL, err=subprocess.DEVNULL).ok()
        name, numbers, rest = waiting.receive()
        assert (name, len(numbers), rest) == ("standard", 1, b"")
        with open(f"/proc/self/fdinfo/{numbers[0]}", encoding="ascii") as file:
            assert f"Pid:\t{container.state()['pid']}\n" in file.read()
        signal.pidfd_send_signal(numbers[0], signal.SIGKILL)
        assert select.select([numbers[0]], [], [], 10)[0]
    container.wait_for("stopped")
    container.delete().ok()


@own
def test_nobody_keeps_the_terminal(stage: Stage) -> None:
    """The waiting init has the terminal as 0, 1, 2 and no master; the caller's own streams are not held."""
    container = stage.container("sleep", "100", edit=terminal)
    with receiver(stage) as waiting:
        container.create("--console-socket", str(waiting.path)).ok()
        waiting.receive()
        pid = container.state()["pid"]
        links = {name: os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
        assert {links.pop(name) for name in "012"} == {"/dev/pts/0"}
        assert len(links) == 1, links
        assert next(iter(links.values())).startswith("socket:")
        container.delete("--force").ok()
