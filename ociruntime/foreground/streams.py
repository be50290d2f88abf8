# SPDX-License-Identifier: Apache-2.0
"""What does a program in the foreground without a terminal get in place of the caller's terminal? A pipe.

    caller's terminal                            program
        0  ----- what is typed ------->  pipe     0
        1  <---- what is printed ------  pipe     1
        2  <----------------------------  "       2    (its own pipe, unless 1 and 2 are one terminal)

A process with a descriptor of a terminal can read what is typed at it and change its modes, for as long as the process
lives: one that a container's program leaves behind would read what root types in the shell afterwards. Only terminals
are replaced: files, sockets and pipes, as engines pass them, are passed on unchanged, and cost nothing. The code that
runs a program imports this module only if there is a terminal. A program with a terminal of its own:
foreground/terminal.py. This module must not import a verb.
"""

from __future__ import annotations

import _signal
import errno
import fcntl
import os
import select
import sys
import termios

from ociruntime.errors import RuntimeFailure

_CHUNK = 16384
_PIECE = 4096  # bytes that are written at once: what a terminal takes whole, where writes may block
_LOOK_AGAIN = 500  # milliseconds until the next check whether the runtime is in the foreground
_PTMX = os.makedev(5, 2)


class Streams:
    """Pipes for those of 0, 1 and 2 that are terminals.

    given   what becomes the program's 0, 1, 2; -1: the caller's own
    """

    def __init__(self) -> None:
        """Make them. Raises RuntimeFailure."""
        self._given: list[int] = []
        self._flows: list[_Flow] = []
        try:
            streams = [self._pipe(number) if os.isatty(number) else -1 for number in (0, 1)]
            if streams[1] >= 0 and _is_same_terminal(1, 2):
                streams.append(streams[1])  # in one pipe what is printed keeps its order
            else:
                streams.append(self._pipe(2) if os.isatty(2) else -1)
        except OSError as failure:
            self.close()
            raise RuntimeFailure("make a pipe for a terminal's stream", errno=failure.errno or 0) from None
        self.given = (streams[0], streams[1], streams[2])

    def _pipe(self, number: int) -> int:
        """Make one between the caller's descriptor and the program's; the program's end."""
        reader, writer = os.pipe()
        given, kept = (reader, writer) if number == 0 else (writer, reader)
        self._given.append(given)
        os.set_blocking(kept, False)  # of this end only: a pipe's ends are files of their own
        terminal = _own_description(number, os.O_RDONLY if number == 0 else os.O_WRONLY)
        self._flows.append(
            _Flow(terminal, kept, typed=True) if number == 0 else _Flow(kept, terminal, typed=False)
        )
        return given

    def copy(self, pid: int) -> None:
        """Copy until this process (not reaped yet) has ended, and what has been printed until then is written.

        A process that it leaves behind is not waited for: it can't print any more, and reads the end of its input.
        """
        self._close_given()  # one side of a pipe sees its end only if no one holds the other
        # In the background the terminal would stop this process; with both blocked reads fail (EIO), writes don't.
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTTIN, _signal.SIGTTOU))
        try:
            pidfd = os.pidfd_open(pid)
            try:
                self._copy_until(pidfd)
            finally:
                os.close(pidfd)
            for flow in self._flows:
                if not flow.typed:
                    flow.finish()
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)

    def _copy_until(self, pidfd: int) -> None:
        ready: set[int] = set()
        while pidfd not in ready:
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            waits = [flow.register(poll) for flow in self._flows if flow.is_open]
            ready = {number for number, _ in poll.poll(None if all(waits) else _LOOK_AGAIN)}
            for flow in self._flows:
                flow.go_on(ready)

    def _close_given(self) -> None:
        while self._given:
            os.close(self._given.pop())

    def close(self) -> None:
        """Close every pipe: the program's input ends, and what it prints from now on fails. May be called again."""
        self._close_given()
        for flow in self._flows:
            flow.close()


class _Flow:
    """One direction of one stream. What was read waits until the other side takes it, and no more is read before.

    typed   from the terminal to the program
    """

    def __init__(self, source: int, target: int, *, typed: bool) -> None:
        self.source = source
        self.target = target
        self.typed = typed
        self.is_open = True
        self.waiting = b""

    def register(self, poll: select.poll) -> bool:
        """Ask for what it waits for; False if that can't be asked for, and must be checked again."""
        if self.waiting:
            poll.register(self.target, select.POLLOUT)
            return True
        if self.typed:
            poll.register(self.target, 0)  # POLLERR: no one can read it any more
            if _is_in_background(self.source):
                return False  # what is typed is for another process
        poll.register(self.source, select.POLLIN)
        return True

    def go_on(self, ready: set[int]) -> None:
        """Read or write what can be."""
        if not self.is_open:
            return
        if self.target in ready:
            if self.waiting:
                self._write()
            else:
                self.close()
        elif self.source in ready:
            self._read(_CHUNK)

    def finish(self) -> None:
        """Pass on what has been written to the pipe by now, but nothing that comes later."""
        left = _bytes_in(self.source) if self.is_open else 0
        while self.is_open and (self.waiting or left > 0):
            if self.waiting:
                poll = select.poll()
                poll.register(self.target, select.POLLOUT)
                poll.poll()
                self._write()
                continue
            self._read(min(left, _CHUNK))
            left -= len(self.waiting)
            if not self.waiting:
                return  # a process left behind can open its end for reading, and take what is in it

    def _read(self, size: int) -> None:
        try:
            self.waiting = os.read(self.source, size)
        except BlockingIOError:
            return  # another reader of this terminal was faster
        except OSError as failure:
            # EIO: the terminal was hung up, or another process group has just come to the foreground
            if failure.errno == errno.EIO and _is_in_background(self.source):
                return
            self.waiting = b""
        if not self.waiting:
            self.close()

    def _write(self) -> None:
        """If no one takes it any more (EPIPE, or EIO of a terminal that was hung up), the flow has ended."""
        try:
            self.waiting = self.waiting[os.write(self.target, self.waiting[:_PIECE]) :]
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def close(self) -> None:
        """The program reads the end of its input, or gets EPIPE (or SIGPIPE) for what it prints."""
        if self.is_open:
            self.is_open = False
            self.waiting = b""
            for descriptor in (self.source, self.target):
                if descriptor > 2:
                    os.close(descriptor)


def _bytes_in(pipe: int) -> int:
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def _is_same_terminal(one: int, other: int) -> bool:
    return os.isatty(other) and os.fstat(one).st_rdev == os.fstat(other).st_rdev


def _own_description(number: int, access: int) -> int:
    """A descriptor of this terminal that does not block, as the flag O_NONBLOCK of the caller's is shared with others.

    The caller's own where there is none: the other side of a pty is another pty when it is opened, a terminal may be
    another user's, and this process may see none of its own names. Then it blocks while the terminal is stopped, or
    when two read one terminal.
    """
    if os.fstat(number).st_rdev == _PTMX:
        return number
    try:
        return os.open(f"/proc/self/fd/{number}", access | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return number


def _is_in_background(terminal: int) -> bool:
    """True if this is the controlling terminal, and another process group is in its foreground."""
    try:
        return os.tcgetpgrp(terminal) != os.getpgrp()
    except OSError:  # ENOTTY: it is not the controlling one, and any process that has it may read it
        return False
