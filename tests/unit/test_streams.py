# SPDX-License-Identifier: Apache-2.0
"""The pipes in place of the caller's terminal: what is copied, when it ends, and that nothing is left open."""

from __future__ import annotations

import errno
import os
import resource
import select
import sys
import termios
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from ociruntime.errors import RuntimeFailure
from ociruntime.foreground import streams

if TYPE_CHECKING:
    from collections.abc import Iterator


def _open_descriptors() -> set[str]:
    """Numbers and what they are; the one of the listing itself is gone by then."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except FileNotFoundError:
            continue
    return found


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    """Every descriptor that a test has opened is closed again."""
    before = _open_descriptors()
    yield
    assert not _open_descriptors() - before


@contextmanager
def _pipe(*, blocking: bool = False) -> Iterator[tuple[int, int]]:
    """Both ends; a test may close them, by itself or through a flow."""
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, blocking)
    mine = [os.fstat(end).st_ino for end in ends]
    try:
        yield ends
    finally:
        for end, inode in zip(ends, mine, strict=True):
            try:
                if os.fstat(end).st_ino == inode:
                    os.close(end)
            except OSError:
                continue


@contextmanager
def _pty() -> Iterator[tuple[int, int]]:
    master, terminal = os.openpty()
    modes = termios.tcgetattr(terminal)
    modes[1] &= ~termios.OPOST
    modes[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, modes)
    try:
        yield master, terminal
    finally:
        os.close(master)
        os.close(terminal)


@contextmanager
def _standard_streams(*numbers: int) -> Iterator[None]:
    """These descriptors are 0, 1 and 2 meanwhile."""
    kept = [os.dup(number) for number in (0, 1, 2)]
    try:
        for target, number in enumerate(numbers):
            os.dup2(number, target)
        yield
    finally:
        for target, number in enumerate(kept):
            os.dup2(number, target)
            os.close(number)


def test_what_is_not_taken_waits() -> None:
    """A target that is full (EAGAIN) gets the rest later, in order, and no more is read meanwhile."""
    with _pipe() as (source, feed), _pipe() as (sink, target):
        flow = streams._Flow(source, target, typed=False)
        full = 0
        try:
            while True:
                full += os.write(target, b"." * 4096)
        except BlockingIOError:
            os.write(feed, b"words")
        flow.go_on({source})
        assert flow.waiting == b"words"
        flow.go_on({target})
        assert (flow.waiting, flow.is_open) == (b"words", True)
        poll = select.poll()
        assert flow.register(poll)
        assert poll.poll(0) == [], "it waits for the target only"
        while full:
            full -= len(os.read(sink, full))
        flow.go_on({target})
        assert (flow.waiting, os.read(sink, 100)) == (b"", b"words")
        flow.close()


def test_nobody_takes_it() -> None:
    """EPIPE: both sides are closed, so that a writer to the source is told."""
    with _pipe() as (source, feed), _pipe() as (sink, target):
        flow = streams._Flow(source, target, typed=False)
        os.close(sink)
        os.write(feed, b"words")
        flow.go_on({source})
        flow.go_on({target})
        assert not flow.is_open
        with pytest.raises(BrokenPipeError):
            os.write(feed, b"more")
        flow.finish()
        flow.close()


def test_input_that_nobody_reads_any_more_is_not_taken() -> None:
    """A program that has closed its 0 leaves what is typed to the next one."""
    with _pty() as (master, terminal), _pipe() as (sink, target):
        own = streams._own_description(terminal, os.O_RDONLY)
        flow = streams._Flow(own, target, typed=True)
        os.close(sink)
        os.write(master, b"words\n")
        poll = select.poll()
        assert flow.register(poll)
        flow.go_on({number for number, _ in poll.poll(1000)})
        assert not flow.is_open
        assert os.read(terminal, 100) == b"words\n"


@pytest.mark.parametrize("keys", [b"\x04", b"words\n\x04"])
def test_end_of_what_is_typed(keys: bytes) -> None:
    """Ctrl-D at the beginning of a line: the program reads everything, then the end."""
    with _pty() as (master, terminal), _pipe() as (sink, target):
        own = streams._own_description(terminal, os.O_RDONLY)
        flow = streams._Flow(own, target, typed=True)
        os.write(master, keys)
        got = b""
        while flow.is_open:
            poll = select.poll()
            flow.register(poll)
            flow.go_on({number for number, _ in poll.poll(1000)})
            if select.select([sink], [], [], 0)[0]:
                got += os.read(sink, 100)
        assert (got, os.read(sink, 100)) == (keys[:-1], b"")


def test_somebody_else_has_read_it() -> None:
    """Of two that read one terminal the slower one goes on waiting; it does not block, and has not ended."""
    with _pty() as (_master, terminal), _pipe() as (_sink, target):
        flow = streams._Flow(streams._own_description(terminal, os.O_RDONLY), target, typed=True)
        flow.go_on({flow.source})
        assert flow.is_open
        flow.close()


def test_terminal_that_is_hung_up() -> None:
    """The program's input ends, and what it prints is refused."""
    master, terminal = os.openpty()
    with _pipe() as (sink, target), _pipe() as (source, feed):
        typed = streams._Flow(streams._own_description(terminal, os.O_RDONLY), target, typed=True)
        printed = streams._Flow(source, streams._own_description(terminal, os.O_WRONLY), typed=False)
        os.close(master)
        typed.go_on({typed.source})
        assert (typed.is_open, os.read(sink, 1)) == (False, b"")
        os.write(feed, b"words")
        printed.go_on({source})
        printed.go_on({printed.target})
        assert not printed.is_open
        os.close(terminal)


def test_finish_takes_what_is_there() -> None:
    """More than one chunk, and what has been read already; the writer keeps its end open."""
    with _pipe() as (source, feed), _pipe(blocking=True) as (sink, target):
        flow = streams._Flow(source, target, typed=False)
        text = bytes(number % 251 for number in range(40000))
        os.write(feed, text)
        flow.go_on({source})
        flow.finish()
        assert os.read(sink, 100_000) == text
        flow.close()


def test_finish_waits_for_nobody() -> None:
    """A process left behind that prints without end does not keep it, and gets EPIPE afterwards."""
    refused = threading.Event()

    def print_without_end(feed: int) -> None:
        try:
            while True:
                os.write(feed, b"y" * 1000)
        except BrokenPipeError:
            refused.set()

    source, feed = os.pipe()
    os.set_blocking(source, False)
    taken = os.open("/dev/null", os.O_WRONLY)
    flow = streams._Flow(source, taken, typed=False)
    thread = threading.Thread(target=print_without_end, args=(feed,), daemon=True)
    thread.start()
    select.select([source], [], [])
    flow.finish()
    assert flow.is_open
    flow.close()
    thread.join(10)
    assert refused.is_set()
    os.close(feed)


def test_finish_when_a_process_left_behind_empties_the_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is less than there was a moment ago: it ends nevertheless."""
    with _pipe() as (source, _feed), _pipe() as (_sink, target):
        flow = streams._Flow(source, target, typed=False)
        monkeypatch.setattr(streams.fcntl, "ioctl", lambda *_: (100).to_bytes(4, sys.byteorder))
        flow.finish()
        assert flow.is_open
        flow.close()


def test_description_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads and writes of the runtime do not block, those of others do; a master, or another user's, is as it is."""
    with _pty() as (master, terminal):
        own = streams._own_description(terminal, os.O_RDONLY)
        assert own not in (master, terminal)
        assert (os.get_blocking(own), os.get_blocking(terminal)) == (False, True)
        assert not os.get_inheritable(own)
        os.close(own)
        assert streams._own_description(master, os.O_RDONLY) == master

        def refuse(*_: object, **__: object) -> int:
            raise PermissionError(errno.EACCES, "refused")

        monkeypatch.setattr(streams.os, "open", refuse)
        assert streams._own_description(terminal, os.O_WRONLY) == terminal
        monkeypatch.undo()


def test_only_terminals_are_replaced() -> None:
    """A file stays what it is; 1 and 2 of one terminal share a pipe, of two terminals they don't."""
    with _pty() as (_, one), _pty() as (_, other), open("/dev/null", "r+b") as file:
        null = file.fileno()
        for given, shape in (
            ((null, null, null), "---"),
            ((one, null, null), "0--"),
            ((null, one, null), "-1-"),
            ((null, null, one), "--2"),
            ((one, one, one), "011"),
            ((one, one, other), "012"),
        ):
            with _standard_streams(*given):
                made = streams.Streams()
                pipes = made.given
                seen = "".join("-" if number < 0 else str(pipes.index(number)) for number in pipes)
                tty = [number for number in pipes if number >= 0 and os.isatty(number)]
                made.close()
                made.close()
            assert (seen, tty) == (shape, []), given


def test_no_descriptor_is_left() -> None:
    """EMFILE at whichever of them: an error that says what was tried, and nothing stays open."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with _pty() as (_, terminal), _standard_streams(terminal, terminal, terminal):
        highest = max(int(name.split()[0]) for name in _open_descriptors())
        fillers = [os.dup(0)]
        while fillers[-1] < highest:
            fillers.append(os.dup(0))
        failed = 0
        for more in range(1, 8):
            resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + more, before[1]))
            names = None
            try:
                streams.Streams().close()
            except RuntimeFailure as failure:
                names = str(failure)
                failed += failure.errno == errno.EMFILE
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert names is None or "make a pipe for a terminal's stream" in names
        for filler in fillers:
            os.close(filler)
        assert 1 < failed < 7


def test_a_program(capfd: pytest.CaptureFixture[str]) -> None:
    """The whole: a process reads what is typed, its end, and everything it printed has come when copy returns."""
    del capfd  # its descriptors are in the way of nothing, but are this test's 1 and 2
    with _pty() as (master, terminal), _standard_streams(terminal, terminal, terminal):
        made = streams.Streams()
        script = b"cat; echo end; echo problem >&2"
        arguments = [b"/bin/sh", b"-c", script]
        actions = [(os.POSIX_SPAWN_DUP2, number, target) for target, number in enumerate(made.given)]
        pid = os.posix_spawn("/bin/sh", arguments, {}, file_actions=actions)
        os.write(master, b"typed\n\x04")
        made.copy(pid)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        made.close()
        text = b""
        # The kernel passes it on from one side of a terminal to the other in its own time.
        while b"problem" not in text:
            text += os.read(master, 1000)
    assert (code, text) == (0, b"typed\nend\nproblem\n")
