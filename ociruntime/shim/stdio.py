# SPDX-License-Identifier: Apache-2.0
"""What are a program's 0, 1 and 2? What containerd names: fifos, files, loggers, or nothing.

    fifo           the program gets it, and writes to it or reads from it without us. The shim keeps both ends of an output
                   open, so that the program survives a reader that goes and comes; after the program's end it lets go once
                   there is a reader, who then reads the rest and its end. Of an input it keeps a writing end until CloseIO
    file:///PATH   a pipe, of which the shim appends everything to the file
    binary://PATH  a logger gets the pipes (shim/logger.py)
    ""             /dev/null
    terminal       the shim copies between its master and the fifos (shim/terminal.py)

Nothing here waits for anybody: a reader that is slow, or never comes, makes its own program wait, and no one else.
This module must not import anything of the package but the shim's own.
"""

from __future__ import annotations

import errno
import os
import select
import stat

from ociruntime.shim.loop import IN, tell
from ociruntime.shim.status import INVALID_ARGUMENT, Refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.shim.loop import Loop, Timer

_CHUNK = 1 << 16
_MOST_LEFT = (
    1 << 20
)  # bytes that are still taken from a pipe at Delete; a process left behind may write for ever
_FIRST_LOOK, _LONGEST_LOOK = 0.01, 0.5  # seconds until the next look for a reader


def close(descriptor: int) -> int:
    """Close it if it is one; returns -1, what it is from now on."""
    if descriptor >= 0:
        os.close(descriptor)
    return -1


def again(descriptor: int, flags: int) -> int:
    """The same file, opened once more with other flags."""
    return os.open(f"/proc/self/fd/{descriptor}", flags | os.O_CLOEXEC | os.O_NOCTTY)


class Output:
    """Where a program's output goes; this one is /dev/null.

    program   the descriptor that the program gets; -1 once it has been given
    """

    def __init__(self) -> None:
        self.program = -1

    def prepare(self) -> None:
        """Open the program's descriptor."""
        self.program = os.open("/dev/null", os.O_WRONLY | os.O_CLOEXEC)

    def given(self) -> None:
        """The program has it now, or there is none."""
        self.program = close(self.program)

    def write(self, data: bytes) -> int:
        """For a terminal: how much of it has been written. Raises BlockingIOError; OSError if no one takes it any more."""
        return len(data)

    @property
    def writable(self) -> int:
        """The descriptor that is ready when `write` doesn't block; -1 if it never does."""
        return -1

    def has_reader(self) -> bool:
        """False if what has been written would be lost."""
        return True

    def ended(self) -> None:
        """The program has ended: let the reader see the end, and lose nothing."""

    def close(self) -> None:
        """The end, whoever reads."""


class Fifo(Output):
    """A fifo, or another file that is not a regular one."""

    def __init__(self, loop: Loop, path: str) -> None:
        super().__init__()
        self._loop = loop
        self._timer: Timer | None = None
        self._reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        self._writing = -1
        self._is_fifo = stat.S_ISFIFO(os.fstat(self._reading).st_mode)
        try:
            self._writing = again(self._reading, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            self.close()
            raise

    def prepare(self) -> None:
        """The program's own description of the file: O_NONBLOCK, if it sets that, is not ours."""
        self.program = again(self._writing, os.O_WRONLY)

    def write(self, data: bytes) -> int:
        """See Output."""
        return os.write(self._writing, data)

    @property
    def writable(self) -> int:
        """See Output."""
        return self._writing

    def has_reader(self) -> bool:
        """Whether anyone but us has it open for reading. For a moment no one may have."""
        if self._writing < 0 or not self._is_fifo:
            return True
        self._reading = close(self._reading)
        poll = select.poll()
        poll.register(self._writing, 0)  # POLLERR is always reported: no reader
        alone = bool(poll.poll(0))
        self._reading = again(self._writing, os.O_RDONLY | os.O_NONBLOCK)
        return not alone

    def ended(self) -> None:
        """Let go as soon as there is a reader: one that opens a fifo without writers would wait for ever."""
        self._look(_FIRST_LOOK)

    def _look(self, delay: float) -> None:
        if self._writing < 0:
            return
        if self.has_reader():
            self.close()
        else:
            self._timer = self._loop.after(delay, lambda: self._look(min(delay * 2, _LONGEST_LOOK)))

    def close(self) -> None:
        """See Output."""
        if self._timer is not None:
            self._timer.cancel()
        self.given()
        if self._writing >= 0:
            self._loop.forget(self._writing)
        self._writing, self._reading = close(self._writing), close(self._reading)


class File(Output):
    """A regular file, to which everything is appended; it is made, with its directory, if it is not there."""

    def __init__(self, loop: Loop, path: str) -> None:
        super().__init__()
        self._loop = loop
        self._path = path
        self._lost = False
        self._pipe = -1
        os.makedirs(os.path.dirname(path) or "/", exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK
        self._file = os.open(path, flags, 0o644)

    def prepare(self) -> None:
        """A pipe: with the file itself the program could cut off what others have written."""
        self._pipe, self.program = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._pipe, False)
        self._loop.watch(self._pipe, IN, lambda _: self._copy())

    def _copy(self) -> int:
        """Copy once; how much it was, and 0 at the end."""
        try:
            data = os.read(self._pipe, _CHUNK)
        except BlockingIOError:
            return -1
        if data:
            self.write(data)
        else:
            self._loop.forget(self._pipe)
            self._pipe = close(self._pipe)
        return len(data)

    def write(self, data: bytes) -> int:
        """Append it. What the disk has no room for is dropped, and said once; the program goes on."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as failure:
            if not self._lost:
                self._lost = True
                tell(f"shim: {self._path}: {os.strerror(failure.errno or 0).lower()}: output is lost")
        return len(data)

    def close(self) -> None:
        """What is in the pipe is taken first."""
        self.given()
        left = _MOST_LEFT
        while self._pipe >= 0 and left > 0 and (size := self._copy()) > 0:
            left -= size
        if self._pipe >= 0:
            self._loop.forget(self._pipe)
        self._pipe, self._file = close(self._pipe), close(self._file)


class Input:
    """Where a program's input comes from; "" is /dev/null."""

    def __init__(self, loop: Loop, path: str, terminal: bool) -> None:
        self.program = -1
        self.reading = -1  # for a terminal
        self._loop = loop
        self._keeping = -1  # as long as it is open the program does not see the end
        if not path:
            if not terminal:
                self.program = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
            return
        first = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            if stat.S_ISFIFO(os.fstat(first).st_mode):
                self._keeping = again(first, os.O_WRONLY | os.O_NONBLOCK)
            if not terminal:
                self.program = again(first, os.O_RDONLY)
        except OSError:
            self.close()
            raise
        finally:
            if terminal:
                self.reading = first
            else:
                os.close(first)

    def given(self) -> None:
        """The program has it now, or there is none."""
        self.program = close(self.program)

    def close_stdin(self) -> None:
        """The program sees the end when it has read what is there, and no client has the fifo open for writing."""
        self._keeping = close(self._keeping)

    def close(self) -> None:
        """The end."""
        self.given()
        self.close_stdin()
        if self.reading >= 0:
            self._loop.forget(self.reading)
        self.reading = close(self.reading)


def open_output(loop: Loop, path: str) -> Output:
    """The output of this name, which is not a logger's. Raises OSError; Refusal for a scheme that nobody knows."""
    if not path:
        return Output()
    if path.startswith("file://"):
        return File(loop, path.removeprefix("file://"))
    if "://" in path:
        scheme = path.partition("://")[0]
        raise Refusal(
            INVALID_ARGUMENT, f"{path}: unknown scheme {scheme}: file, binary and binary-v2 are known"
        )
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
    return File(loop, path) if regular else Fifo(loop, path)
