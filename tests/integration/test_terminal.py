# SPDX-License-Identifier: Apache-2.0
"""`run` in the foreground: the program's terminal and the caller's, played in a pty and in tmux."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import ENVIRONMENT, runtime_under_test
from tests.harness.peers import PEERS
from tests.harness.stage import new_id
from tests.harness.terminals import TIMEOUT, Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.configuration import Config
    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

own = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="asks for what this runtime has: run with RUNTIME=ociruntime"
)


def terminal(config: Config) -> None:
    """A terminal, and a file system that can be written to."""
    config["process"]["terminal"] = True
    config["root"]["readonly"] = False


def command_of(container: Container, *flags: str) -> list[str]:
    """The command line of `run`."""
    container.runtime.prepare(container.bundle)
    return container.runtime.argv("run", "--bundle", str(container.bundle.directory), *flags, container.id)


@contextmanager
def sitting_at(container: Container, *flags: str, **how: Any) -> Iterator[Client]:
    """`run` of this container in a window of a test."""
    client = Client(command_of(container, *flags), **how)
    try:
        yield client
    finally:
        client.close()


def test_a_session(compare: Compare) -> None:
    """The caller's terminal is raw while the program runs and as before afterwards; sizes, keys, exit code."""

    def scenario(stage: Stage) -> dict[str, Any]:
        script = """
            size_is() { until [ "$(stty size 2>/dev/null)" = "$*" ]; do sleep 0.05; done }
            size_is 24 80; stty -a | tr '\\n' ' '; echo; tty; echo ready
            read line; echo "got $line"; size_is 30 100; echo resized; exit 7
        """
        container = stage.container("sh", "-c", script, edit=terminal)
        with sitting_at(container) as client:
            shown = client.wait_for("ready\r\n")
            raw = client.is_raw()
            client.type("words\r")
            client.wait_for("got words\r\n")
            client.resize(30, 100)
            client.wait_for("resized\r\n")
            return {"shown": shown, "raw": raw, "code": client.wait(), "restored": client.is_restored()}

    answers = compare(scenario, only=("runc",))  # a later size does not reach crun's containers
    assert answers["raw"] is answers["restored"] is True
    assert answers["code"] == 7
    assert "rows 24; columns 80;" in answers["shown"]
    assert " -onlcr" in answers["shown"], "the caller's terminal makes newlines"


def test_it_ends_by_a_signal(compare: Compare) -> None:
    """128 + n, and the terminal is as before."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", "echo ready; sleep 100", edit=terminal)
        with sitting_at(container) as client:
            client.wait_for("ready")
            container.kill("KILL").ok()
            return {"code": client.wait(), "restored": client.is_restored()}

    assert compare(scenario) == {"code": 137, "restored": True}


@own
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGQUIT]
)
def test_a_signal_to_the_runtime(stage: Stage, number: signal.Signals) -> None:
    """It is the program's, and however that ends, the terminal is as before."""
    script = f"trap 'echo caught; exit 5' {number.name[3:]}; echo ready; while :; do sleep 0.05; done"
    with sitting_at(stage.container("sh", "-c", script, edit=terminal)) as client:
        client.wait_for("ready")
        client.process.send_signal(number)
        assert client.wait() == 5
        assert "caught" in client.text
        assert client.is_restored()


@own
def test_a_signal_before_the_program(stage: Stage) -> None:
    """While a startContainer hook runs, SIGTERM undoes everything, and the terminal is as before."""
    container = stage.container("true", edit=terminal)
    container.bundle.config["hooks"] = {
        "startContainer": [
            {"path": "/bin/sh", "args": ["sh", "-c", "cat >/dev/null; echo x > /work/hook; sleep 100"]}
        ]
    }
    container.bundle.write()
    with sitting_at(container) as client:
        end = time.monotonic() + TIMEOUT
        while not (container.bundle.rootfs / "work/hook").exists():
            assert time.monotonic() < end
            time.sleep(0.02)
        assert client.is_raw()
        client.process.terminate()
        assert client.wait() == 128 + signal.SIGTERM
        assert client.is_restored()
    assert stage.runtime.ids() == []


@own
@pytest.mark.parametrize("phase", ["create", "start"])
def test_a_failure(stage: Stage, phase: str) -> None:
    """An error is reported on a terminal that is as it was before, in one line, with exit code 1."""
    container = stage.container("/bin/lost" if phase == "start" else "/no/such/program", edit=terminal)
    container.bundle.script("bin/lost", "#!/no/such/interpreter\n")
    with sitting_at(container) as client:
        assert client.wait() == 1
        assert client.text.startswith("ociruntime: run: /process/args")
        assert client.text.count("\n") == 1
        assert client.is_restored()
    assert stage.runtime.ids() == []


def test_much_output(compare: Compare) -> None:
    """Every line of a long output arrives, including what was printed just before the end."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("seq", "1", "60000", edit=terminal)
        with sitting_at(container) as client:
            code = client.wait()
            lines = client.text.split()
            return {"code": code, "complete": lines == [str(number) for number in range(1, 60001)]}

    assert compare(scenario) == {"code": 0, "complete": True}


@own
def test_output_of_the_last_moment(stage: Stage) -> None:
    """What was printed before the end arrives, even if the runtime was not there when the program ended."""
    script = "echo ready; until [ -e /work/go ]; do sleep 0.02; done; seq 1 500; exit 3"
    container = stage.container("sh", "-c", script, edit=terminal)
    with sitting_at(container) as client:
        client.wait_for("ready")
        client.process.send_signal(signal.SIGSTOP)
        (container.bundle.rootfs / "work/go").touch()
        container.wait_for("stopped")
        client.process.send_signal(signal.SIGCONT)
        assert client.wait() == 3
        assert client.text.split() == [str(number) for number in range(1, 501)]


@own
def test_much_input(stage: Stage) -> None:
    """What is typed faster than it is read waits, and nothing of it is lost."""
    script = "stty raw -echo; echo ready; sleep 0.5; head -c 300000 | md5sum"
    with sitting_at(stage.container("sh", "-c", script, edit=terminal)) as client:
        client.wait_for("ready")
        data = "".join(f"{number:07}" for number in range(300000 // 7 + 1))[:300000]
        os.set_blocking(client.master, True)
        client.type(data)
        client.wait_for(hashlib.md5(data.encode(), usedforsecurity=False).hexdigest())
        assert client.wait() == 0


@own
def test_output_in_a_pipe(stage: Stage) -> None:
    """With 1 redirected the output goes there; keys come from 0; the terminal that 2 is gets raw, and back."""
    container = stage.container("sh", "-c", "read x; echo got $x; stty size", edit=terminal)
    reader, writer = os.pipe()
    with sitting_at(container, stdout=writer) as client, os.fdopen(reader) as output:
        os.close(writer)
        client.resize(31, 33)
        client.type("it\r")
        assert client.wait() == 0
        assert output.read().split("\n")[-3:] == ["got it", "31 33", ""]
        assert client.is_restored()


@own
def test_nobody_takes_the_output(stage: Stage) -> None:
    """When the reader of the output goes away, the program's terminal is hung up."""
    script = "trap 'exit 9' HUP; while :; do echo line; sleep 0.02; done"
    reader, writer = os.pipe()
    with sitting_at(stage.container("sh", "-c", script, edit=terminal), stdout=writer) as client:
        os.close(writer)
        assert os.read(reader, 4) == b"line"
        os.close(reader)
        assert client.wait() == 9
        assert client.is_restored()


@own
def test_no_input(stage: Stage) -> None:
    """End of file on 0 does not end the session, as with runc; the terminal is found at another stream."""
    container = stage.container("sh", "-c", "sleep 0.2; echo done", edit=terminal)
    client = Client(["sh", "-c", 'exec "$@" </dev/null', "sh", *command_of(container)])
    try:
        assert client.wait() == 0
        assert "done" in client.text
        assert client.is_restored()
    finally:
        client.close()


@own
def test_a_terminal_that_nobody_has_open(stage: Stage) -> None:
    """A program that closes its terminal and opens it again goes on being heard, and nothing spins meanwhile."""
    script = (
        "exec 3>/work/log </dev/null >/dev/null 2>&1; sleep 1; echo back > /dev/console; sleep 0.5; exit 3"
    )
    with sitting_at(stage.container("sh", "-c", script, edit=terminal)) as client:
        began = os.times()
        assert client.wait() == 3
        assert "back" in client.text
        spent = os.times()
        assert spent.children_user + spent.children_system - began.children_user - began.children_system < 3


class Window:
    """A tmux session with one window, on a server of its own."""

    def __init__(self, command: str) -> None:
        self.name = new_id()
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "-s", "it", command)

    def tmux(self, *words: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self.name, *words],
            env={**ENVIRONMENT, "TERM": "xterm", "LC_ALL": "C.UTF-8"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def keys(self, *keys: str) -> None:
        """Names of keys ("Enter", "C-c"), or text."""
        self.tmux("send-keys", "-t", "it", *keys)

    def line(self, text: str) -> None:
        """A line at a prompt."""
        self.tmux("send-keys", "-t", "it", "-l", text)
        self.keys("Enter")

    def screen(self) -> list[str]:
        return self.tmux("capture-pane", "-p", "-t", "it").split("\n")[:-1]

    def wait_for(self, what: str, line: int | None = None) -> list[str]:
        """Until a line (the one of that number; -1: the last that is not empty) of the screen begins with `what`."""
        end = time.monotonic() + TIMEOUT
        while True:
            screen = self.screen()
            if line == -1:
                chosen = [one for one in screen if one][-1:]
            else:
                chosen = screen if line is None else screen[line : line + 1]
            if any(one.startswith(what) for one in chosen):
                return screen
            assert time.monotonic() < end, f"no {what!r} in " + "\n".join(screen)
            time.sleep(0.05)

    def close(self) -> None:
        self.tmux("kill-server")
        end = time.monotonic() + TIMEOUT
        socket = f"/tmp/tmux-{os.getuid()}/{self.name}"
        while (
            subprocess.run(["tmux", "-L", self.name, "ls"], capture_output=True, check=False).returncode == 0
        ):
            assert time.monotonic() < end
            time.sleep(0.05)
        if os.path.exists(socket):
            os.unlink(socket)


@pytest.fixture
def window(stage: Stage, nothing_left_behind: None) -> Iterator[Window]:
    """A shell of a container in a window, whose shell says how the container ended."""
    if shutil.which("tmux") is None:
        pytest.fail("no tmux: apt-get install tmux")
    container = stage.container("sh", edit=terminal)
    command = " ".join(command_of(container))
    made = Window(f"{command}; echo ended with $?; stty -a | tr -d '\\n' | grep -o ' icanon'; read x")
    yield made
    made.close()


def test_a_full_screen_session(window: Window) -> None:
    """vi, a resize, Ctrl-C, a job stopped by Ctrl-Z and continued, and the exit code, as a person sees them."""
    window.wait_for("/ #", line=-1)
    window.line("vi /work/file")
    screen = window.wait_for("~", line=22)
    assert sum(line == "~" for line in screen) == 22, screen
    window.keys("i")
    window.line("written in a container")
    window.keys("Escape")
    window.wait_for("- /work/file", line=23)

    window.tmux("resize-window", "-t", "it", "-x", "100", "-y", "30")
    window.wait_for("- /work/file", line=29)
    window.line(":wq")
    window.wait_for("/ #", line=-1)
    window.line("clear; stty size; cat /work/file")
    screen = window.wait_for("written in a container", line=1)
    assert screen[0] == "30 100"

    window.line("clear; sh -c 'echo asleep; sleep 1000'")
    window.wait_for("asleep", line=0)
    window.keys("C-c")
    window.wait_for("^C")
    window.line("echo code $?")
    window.wait_for("code 130")

    window.line("clear; sh -c 'echo asleep; sleep 1001'")
    window.wait_for("asleep", line=0)
    window.keys("C-z")
    window.wait_for("^Z[1]+  Stopped")
    window.line("jobs; bg; jobs; kill %1; wait; clear; echo no job left: $(jobs)")
    window.wait_for("no job left:", line=0)

    window.line("exit 42")
    window.wait_for("ended with 42")
    window.wait_for(" icanon")
