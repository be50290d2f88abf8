# SPDX-License-Identifier: Apache-2.0
"""Streams of a program by fifo, file, logger and terminal: nothing is lost at its end, and nobody else waits."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
import tty
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.shim import logger as loggers
from ociruntime.shim.loop import Loop
from ociruntime.shim.reaper import Reaper
from ociruntime.shim.status import FAILED_PRECONDITION, INVALID_ARGUMENT, Refusal
from ociruntime.shim.streams import Names, Streams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class NoReaper(Reaper):
    """The tests' own processes are waited for by the tests."""

    def __init__(self) -> None:
        self.asked: dict[int, Any] = {}

    def on(self, pid: int, call: Any, order: int = 0) -> None:
        """Note it."""
        del order
        self.asked[pid] = call


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop of our own."""
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def fifo(tmp_path: Path) -> Callable[[str], str]:
    """Makes fifos."""

    def call(name: str) -> str:
        os.mkfifo(tmp_path / name)
        return str(tmp_path / name)

    return call


def opened(loop: Loop, names: Names, reaper: Reaper | None = None) -> Streams:
    """The streams, open."""
    made = Streams(loop, names)
    ended: list[Any] = []
    steps = made.open(reaper or NoReaper(), "box", "ours", (0, 0))
    loop.begin(steps, ended.append, ended.append)  # type: ignore[arg-type]
    turn(loop, lambda: bool(ended))
    if isinstance(ended[0], Exception):
        raise ended[0]
    return made


def turn(loop: Loop, until: Callable[[], bool], seconds: float = 10) -> None:
    """Let the loop run until something is so."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        loop.after(0.005, lambda: None)
        loop.turn()


def program(streams: Streams, script: str) -> subprocess.Popen[bytes]:
    """A program with these streams."""
    stdin, stdout, stderr = streams.program
    made = subprocess.Popen(["sh", "-c", script], stdin=stdin, stdout=stdout, stderr=stderr)
    streams.given()
    return made


def read_all(path: str) -> bytes:
    """What a client reads until the end, which must come."""
    reading = f"import sys; sys.stdout.buffer.write(open({path!r}, 'rb').read())"
    return subprocess.run(
        [sys.executable, "-c", reading], stdout=subprocess.PIPE, timeout=20, check=True
    ).stdout


def test_output_waits_for_its_reader(loop: Loop, fifo: Callable[[str], str]) -> None:
    """A program that ended before any client has come: the first one gets all of it, and the end."""
    out, err = fifo("out"), fifo("err")
    streams = opened(loop, Names("", out, err, False))
    program(streams, "echo all; echo wrong >&2").wait()
    streams.ended()
    loop.turn()
    with subprocess.Popen(["cat", out], stdout=subprocess.PIPE) as client:
        turn(loop, lambda: client.poll() is not None)
        assert client.stdout is not None
        assert client.stdout.read() == b"all\n"
    with subprocess.Popen(["cat", err], stdout=subprocess.PIPE) as client:
        turn(loop, lambda: client.poll() is not None)
        assert client.stdout is not None
        assert client.stdout.read() == b"wrong\n"
    streams.close()


def test_a_reader_goes_and_another_comes(loop: Loop, fifo: Callable[[str], str]) -> None:
    """Without a reader the program neither fails nor stops, and what it writes then is kept."""
    out = fifo("out")
    streams = opened(loop, Names("", out, "", False))
    first = os.open(out, os.O_RDONLY | os.O_NONBLOCK)
    running = program(streams, "echo one; sleep 0.3; echo two; sleep 0.3; echo three; exit 4")
    turn(loop, lambda: _has(first, b"one\n"))
    os.close(first)
    assert running.wait() == 4
    streams.ended()
    second = os.open(out, os.O_RDONLY)
    turn(loop, lambda: streams._outputs[0].writable < 0)
    assert os.read(second, 100) == b"two\nthree\n"
    assert os.read(second, 100) == b""
    os.close(second)


def _has(descriptor: int, wanted: bytes) -> bool:
    try:
        return os.read(descriptor, 100) == wanted
    except BlockingIOError:
        return False


def test_nobody_reads(loop: Loop, fifo: Callable[[str], str]) -> None:
    """Only the program waits; close ends it all."""
    out = fifo("out")
    streams = opened(loop, Names("", out, "", False))
    running = program(streams, "head -c 1000000 /dev/zero; echo done >&2")
    began = time.monotonic()
    for _ in range(20):
        loop.after(0, lambda: None)
        loop.turn()
    assert time.monotonic() - began < 1
    assert running.poll() is None
    streams.close()
    assert running.wait(10) == 0  # its shell, whose head has ended by SIGPIPE
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(streams._outputs[0].writable)


def test_input_ends_with_close_io(loop: Loop, fifo: Callable[[str], str], tmp_path: Path) -> None:
    """A client that goes is not the end; CloseIO is, after what has been written."""
    path, out = fifo("in"), tmp_path / "out"
    streams = opened(loop, Names(path, f"file://{out}", "", False))
    running = program(streams, "cat; echo over")
    for text in (b"one\n", b"two\n"):
        client = os.open(path, os.O_WRONLY)
        os.write(client, text)
        os.close(client)
    turn(loop, lambda: out.read_bytes() == b"one\ntwo\n")
    assert running.poll() is None
    streams.close_stdin()
    assert running.wait(10) == 0
    streams.ended()
    streams.close()
    assert out.read_bytes() == b"one\ntwo\nover\n"


def test_file_is_appended_to(loop: Loop, tmp_path: Path) -> None:
    """Both streams in one file, which with its directory is made, and is not the program's to cut."""
    path = tmp_path / "new" / "log"
    for text in ("first", "second"):
        streams = opened(loop, Names("", f"file://{path}", f"file://{path}", False))
        running = program(streams, f"echo {text}; echo err >&2; : > /proc/self/fd/1")
        turn(loop, lambda running=running: running.poll() is not None)  # type: ignore[misc]
        streams.ended()
        streams.close()
    assert path.read_text() == "first\nerr\nsecond\nerr\n"


def test_file_that_is_full(loop: Loop, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The program goes on, and it is said once that output is lost."""
    path = tmp_path / "log"
    streams = opened(loop, Names("", f"file://{path}", "", False))
    running = program(streams, "head -c 300000 /dev/zero; exit 6")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100000, before[1]))
    try:
        turn(loop, lambda: running.poll() is not None)
        streams.ended()
        streams.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert running.returncode == 6
    assert path.stat().st_size == 100000
    assert capfd.readouterr().err == f"shim: {path}: file too large: output is lost\n"


LOGGER = """#!/usr/bin/python3
import os, sys, threading
def save(number):
    with open(number, "rb") as stream, open(sys.argv[2] + str(number), "wb") as out:
        out.write(stream.read())
with open(sys.argv[2] + "names", "w") as names:
    names.write(" ".join([*sys.argv[1:], os.environ["CONTAINER_ID"], os.environ["CONTAINER_NAMESPACE"]]))
{ready}
os.close(5)
for thread in [threading.Thread(target=save, args=(number,)) for number in (3, 4)]:
    thread.start()
"""


def logger(tmp_path: Path, ready: str) -> Path:
    """A logger that says it is ready in this way."""
    path = tmp_path / "logger"
    path.write_text(LOGGER.format(ready=ready))
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(("scheme", "ready"), [("binary", ""), ("binary-v2", "os.write(5, b'x')")])
def test_logger(loop: Loop, tmp_path: Path, scheme: str, ready: str) -> None:
    """It gets both streams, names in its environment, and the URI's parameters."""
    uri = f"{scheme}://{logger(tmp_path, ready)}?file={tmp_path}/a%20b-"
    reaper = NoReaper()
    streams = opened(loop, Names("", uri, uri, False), reaper)
    program(streams, "echo out; echo err >&2").wait()
    streams.ended()
    streams.close()
    (pid,) = reaper.asked
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (tmp_path / "a b-3").read_bytes() == b"out\n"
    assert (tmp_path / "a b-4").read_bytes() == b"err\n"
    assert (tmp_path / "a b-names").read_text() == f"file {tmp_path}/a b- box ours"


def test_logger_that_does_not_begin(loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, relative, silent (binary-v2), or too slow: each is refused in words, and nothing is left open."""
    before = set(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(loggers, "_READY_WITHIN", 0.3)
    silent, slow = logger(tmp_path, ""), tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 5\n")
    slow.chmod(0o755)
    for uri, code, words in (
        ("binary:///missing", FAILED_PRECONDITION, "logger /missing: No such file"),
        ("binary://here", INVALID_ARGUMENT, "must be absolute"),
        (f"binary-v2://{silent}?file={tmp_path}/s", FAILED_PRECONDITION, "without a word"),
        (f"binary://{slow}", FAILED_PRECONDITION, "not ready after"),
        ("tcp://there", INVALID_ARGUMENT, "unknown scheme tcp"),
    ):
        reaper = NoReaper()
        with pytest.raises(Refusal, match=words) as caught:
            opened(loop, Names("", uri, uri, False), reaper)
        assert caught.value.code == code
        for pid in reaper.asked:
            os.kill(pid, 9)
            os.waitpid(pid, 0)
    assert set(os.listdir("/proc/self/fd")) == before


def terminal(streams: Streams, script: str) -> subprocess.Popen[bytes]:
    """A program with a terminal that these streams are connected to."""
    master, peer = os.openpty()
    tty.setraw(peer)
    made = subprocess.Popen(
        ["sh", "-c", script], stdin=peer, stdout=peer, stderr=peer, start_new_session=True
    )
    os.close(peer)
    streams.take_terminal(master)
    return made


def test_terminal_loses_nothing(loop: Loop, fifo: Callable[[str], str]) -> None:
    """A slow reader gets all that was printed, after the program's end as well."""
    out = fifo("out")
    streams = opened(loop, Names("", out, "", True))
    reader = os.open(out, os.O_RDONLY | os.O_NONBLOCK)
    running = terminal(streams, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); echo 123456789; done")
    seen = bytearray()
    over: list[bool] = []

    def read() -> bool:
        if running.poll() is not None and not over:
            over.append(True)
            streams.ended()
        try:
            piece = os.read(reader, 4096)
        except BlockingIOError:
            return False
        seen.extend(piece)
        return not piece

    turn(loop, read, 30)
    assert seen == b"123456789\n" * 20000
    os.close(reader)


def test_terminal_takes_what_is_typed(loop: Loop, fifo: Callable[[str], str]) -> None:
    """More than fits into it: the rest waits, and nothing is lost."""
    path, out = fifo("in"), fifo("out")
    streams = opened(loop, Names(path, out, "", True))
    reader = os.open(out, os.O_RDONLY | os.O_NONBLOCK)
    running = terminal(streams, "sleep 0.5; head -c 200000 | wc -c")
    client = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    left = memoryview(b"x" * 200000)
    seen = bytearray()

    def go_on() -> bool:
        nonlocal left
        try:
            left = left[os.write(client, left) :]
            seen.extend(os.read(reader, 4096))
        except BlockingIOError:
            return running.poll() is not None
        return running.poll() is not None

    turn(loop, go_on, 30)
    streams.ended()
    turn(loop, lambda: not seen.extend(_rest(reader)) and b"200000" in seen)
    os.close(client)
    os.close(reader)
    streams.close()


def _rest(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except BlockingIOError:
        return b""


def test_a_terminal_nobody_reads(loop: Loop, fifo: Callable[[str], str]) -> None:
    """Its program waits; the loop is idle, and close ends it."""
    out = fifo("out")
    streams = opened(loop, Names("", out, "", True))
    running = terminal(streams, "yes")
    turn(loop, lambda: streams._terminal is not None and streams._terminal.busy)
    turns = 0
    end = time.monotonic() + 0.3
    loop.after(0.3, lambda: None)
    while time.monotonic() < end:
        loop.turn()
        turns += 1
    assert turns < 10
    assert not streams.busy  # nobody would take it
    streams.close()
    assert running.wait(10) != 0
