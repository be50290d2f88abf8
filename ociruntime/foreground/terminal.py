# SPDX-License-Identifier: Apache-2.0
"""How is the terminal of a program in the foreground connected to the caller's?

    caller's terminal (raw)             program's terminal
        0  ----- what is typed ------->  master | peer: 0, 1, 2 and /dev/console
        1  <---- what is printed ------
           ----- its size ------------>

One loop copies, without threads; whatever ends it, `close` restores the modes of the caller's terminal.
`exec` uses it as `run` does. This module must not import a verb.
"""

from __future__ import annotations

import _signal
import errno
import fcntl
import os
import select
import stat
import termios

from ociruntime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_CHUNK = 16384
_UNUSED = 100  # milliseconds until the next check whether a process has opened a terminal that none had open
# Bytes that may be left in the program's terminal when it ends: those that the kernel keeps on the way (64 KiB at most
# for any kind of terminal), and those that can be read already (4 KiB).
_MOST_LEFT = 128 * 1024
_ANY_SIZE = bytes(8)  # struct winsize


class Terminal:
    """The caller's terminal, and the program's once `begin` has been called.

    Signals that interrupt the loop are handled by the handlers that the caller has installed; `resize` is for SIGWINCH.
    """

    def __init__(self) -> None:
        """Find the caller's: its standard streams, then /dev/tty, as runc. Raises RuntimeFailure."""
        self._master = -1
        self._modes: list[Any] | None = None
        self._opened: list[int] = []
        self._host = next((number for number in (2, 1, 0) if os.isatty(number)), -1)
        if self._host < 0:
            self._host = self._open("/dev/tty", os.O_RDWR)

    def _open(self, path: str, flags: int) -> int:
        try:
            self._opened.append(os.open(path, flags | os.O_NOCTTY | os.O_CLOEXEC))
        except OSError as failure:
            raise RuntimeFailure(
                f"open {path}",
                pointer="/process/terminal",
                errno=failure.errno or 0,
                hint="a program with a terminal in the foreground needs the caller's; use --detach with --console-socket",
            ) from None
        return self._opened[-1]

    def begin(self, master: int) -> None:
        """Connect both: newlines as the caller's terminal expects them, its size, and its keys unchanged.

        master   of the program's terminal; closed at the end
        """
        self._master = master
        self._opened.append(master)
        os.set_blocking(master, False)
        modes = termios.tcgetattr(master)
        modes[1] &= ~termios.ONLCR  # the caller's terminal does that
        termios.tcsetattr(master, termios.TCSANOW, modes)
        self.resize()
        self._modes = termios.tcgetattr(self._host)
        termios.tcsetattr(self._host, termios.TCSANOW, _raw(self._modes))

    def resize(self) -> None:
        """Give the program's terminal the size of the caller's, if that still has one."""
        if self._master < 0:
            return
        try:
            size = fcntl.ioctl(self._host, termios.TIOCGWINSZ, _ANY_SIZE)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)
        except OSError:
            return  # one of them is gone, and `copy` is about to notice

    def copy(self, pid: int) -> None:
        """Copy both ways until this process (not reaped yet) has ended and everything printed is written."""
        pidfd = os.pidfd_open(pid)
        self._opened.append(pidfd)
        _Copy(self._master, pidfd, self._output(), self._hang_up).run()

    def _hang_up(self) -> None:
        self._opened.remove(self._master)
        os.close(self._master)
        self._master = -1

    def _output(self) -> int:
        """A descriptor for what is printed: if 1 is a terminal one of our own, as the flag O_NONBLOCK is shared."""
        if stat.S_ISCHR(os.fstat(1).st_mode):
            try:
                return self._open("/proc/self/fd/1", os.O_WRONLY | os.O_NONBLOCK)
            except RuntimeFailure:
                return 1  # another user's, or this process sees none of its own names: writes may block
        return 1

    def close(self) -> None:
        """Restore the modes of the caller's terminal, and close what was opened here. May be called again."""
        if self._modes is not None:
            # in the background tcsetattr(3) would stop or interrupt this process, unless the signal is blocked
            before = _signal.pthread_sigmask(_signal.SIG_BLOCK, (_signal.SIGTTOU,))
            try:
                termios.tcsetattr(self._host, termios.TCSANOW, self._modes)
            except termios.error:
                self._modes = None  # the terminal is gone, with its modes
            finally:
                _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
            self._modes = None
        while self._opened:
            os.close(self._opened.pop())
        self._master = -1


class _Copy:
    """The loop. What is typed waits in `keys`, what is printed in `text`, until the other side takes it."""

    def __init__(self, master: int, pidfd: int, output: int, hang_up: Callable[[], None]) -> None:
        self.master = master
        self.pidfd = pidfd
        self.output = output
        self.hang_up = hang_up
        self.keys = b""
        self.text = b""
        self.typing = True  # 0 has not ended
        self.unused = False  # no process has the program's terminal open

    def run(self) -> None:
        ended = False
        while not ended:
            ready = self.wait()
            ended = self.pidfd in ready
            self.unused = self.unused and bool(ready)
            if self.output in ready:
                self.write_text()
            if self.master in ready:
                self.write_keys()
                self.read_text()
            if 0 in ready:
                self.read_keys()
        self.drain()

    def drain(self) -> None:
        """Pass on what the program has printed. A process that it left behind may print for ever, and is cut off."""
        left = _MOST_LEFT
        while self.text or (left > 0 and self.read_text()):
            left -= len(self.text)
            while self.text:
                _wait_for(self.output)
                self.write_text()

    def wait(self) -> set[int]:
        """The descriptors that are ready; no more is read before the other side has taken what there is."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        if self.typing and not self.keys:
            poll.register(0, select.POLLIN)
        events = (0 if self.text else select.POLLIN) | (select.POLLOUT if self.keys else 0)
        if events and not self.unused and self.master >= 0:
            poll.register(self.master, events)
        if self.text:
            poll.register(self.output, select.POLLOUT)
        return {number for number, _ in poll.poll(_UNUSED if self.unused else None)}

    def read_keys(self) -> None:
        try:
            self.keys = os.read(0, _CHUNK)
        except BlockingIOError:
            return
        except OSError as failure:
            if failure.errno != errno.EIO:  # EIO: the caller's terminal was hung up
                raise
        self.typing = bool(self.keys)

    def write_keys(self) -> None:
        try:
            self.keys = self.keys[os.write(self.master, self.keys) :] if self.keys else b""
        except BlockingIOError:
            return
        except OSError:
            self.keys = b""  # no process has the terminal open to read them

    def read_text(self) -> bool:
        """False if there is nothing now."""
        if self.text or self.master < 0:
            return bool(self.text)
        try:
            self.text = os.read(self.master, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: no process has the program's terminal open
            self.unused = True
        return bool(self.text)

    def write_text(self) -> None:
        """If no one takes what is printed any more (EPIPE, EIO), the program's terminal is hung up, as with runc."""
        try:
            self.text = self.text[os.write(self.output, self.text[:4096]) :]
        except BlockingIOError:
            return
        except OSError:
            self.text = b""
            self.master = -1
            self.hang_up()


def _wait_for(output: int) -> None:
    poll = select.poll()
    poll.register(output, select.POLLOUT)
    poll.poll()


def _raw(modes: list[Any]) -> list[Any]:
    """cfmakeraw(3), but for OPOST: newlines of messages of the runtime itself stay newlines, as with runc."""
    iflag, oflag, cflag, lflag, ispeed, ospeed, characters = modes
    iflag &= ~(termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP)
    iflag &= ~(termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON)
    lflag &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    cflag = cflag & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    characters = list(characters)
    characters[termios.VMIN], characters[termios.VTIME] = 1, 0
    return [iflag, oflag | termios.OPOST, cflag, lflag, ispeed, ospeed, characters]
