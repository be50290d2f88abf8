# SPDX-License-Identifier: Apache-2.0
"""What connects a program's terminal with containerd's fifos? Two copies, one each way, with one piece under way in each.

What is printed is read from the master only when the last piece has been written, and what is typed only when the program's
terminal has taken the last piece: who is slow makes only this program wait. This module must not import anything of the
package but the shim's own.
"""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from ociruntime.shim.loop import IN, OUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.shim.loop import Loop
    from ociruntime.shim.stdio import Input, Output

_CHUNK = 16384
_UNUSED = 0.1  # seconds until the next look whether a process has opened a terminal that none had open
# Bytes that may be left in the terminal when its program ends: those on the way (64 KiB at most for any kind of terminal), and
# those that can be read already (4 KiB). What comes after them is of a process that was left behind.
_MOST_LEFT = 128 * 1024


class Terminal:
    """The master of a program's terminal, between its fifos."""

    def __init__(self, loop: Loop, master: int, keys: Input, output: Output) -> None:
        self._loop = loop
        self._master = master
        self._keys = keys
        self._output = output
        self._typed = b""
        self._printed = b""
        self._unused = False
        self._left = -1  # how much is still read after the program's end; -1 before it
        self._finished: Callable[[], object] = lambda: None
        os.set_blocking(master, False)
        self._update()

    def resize(self, width: int, height: int) -> None:
        """Set its size, in characters."""
        if self._master >= 0:
            size = struct.pack("HHHH", min(height, 0xFFFF), min(width, 0xFFFF), 0, 0)
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    @property
    def busy(self) -> bool:
        """True if something printed has not been written yet."""
        return bool(self._printed)

    def ended(self, finished: Callable[[], object]) -> None:
        """The program has ended: pass on what it has printed, then call `finished`."""
        self._left, self._finished = _MOST_LEFT, finished
        self._drain()

    def _update(self) -> None:
        """Watch what can go on."""
        events = (0 if self._printed else IN) | (OUT if self._typed else 0)
        self._watch(self._master, 0 if self._unused else events, self._on_master)
        self._watch(self._output.writable, OUT if self._printed else 0, self._on_output)
        self._watch(self._keys.reading, 0 if self._typed or self._master < 0 else IN, self._on_keys)

    def _watch(self, descriptor: int, events: int, call: Callable[[int], object]) -> None:
        if descriptor < 0:
            return
        if events:
            self._loop.watch(descriptor, events, call)
        else:
            self._loop.forget(descriptor)  # a hang-up would be reported again and again

    def _on_master(self, events: int) -> None:
        if events & OUT and self._typed:
            self._type()
        if events & ~OUT and not self._printed:
            self._read()
            self._print()
        self._update()

    def _on_output(self, _events: int) -> None:
        self._print()
        self._update()
        if self._left >= 0:
            self._drain()

    def _on_keys(self, _events: int) -> None:
        try:
            self._typed = os.read(self._keys.reading, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._typed = b""
        if self._typed:
            self._type()
        else:  # CloseIO, and no client writes to it any more
            self._keys.close()
        self._update()

    def _type(self) -> None:
        try:
            self._typed = self._typed[os.write(self._master, self._typed) :]
        except BlockingIOError:
            return
        except OSError:
            self._typed = b""  # no process has the terminal open to read it

    def _read(self) -> bool:
        """Read once; false if there is nothing now."""
        try:
            self._printed = os.read(self._master, _CHUNK)
        except BlockingIOError:
            return False
        except OSError:  # EIO: no process has it open
            if not self._unused and self._left < 0:
                self._loop.after(_UNUSED, self._try_again)
            self._unused = True
            return False
        return bool(self._printed)

    def _try_again(self) -> None:
        self._unused = False
        if self._master >= 0 and self._left < 0:
            self._update()

    def _print(self) -> None:
        try:
            while self._printed:
                self._printed = self._printed[self._output.write(self._printed) :]
        except BlockingIOError:
            return
        except OSError:
            self._printed = b""  # a logger that has ended

    def _drain(self) -> None:
        """After the program's end."""
        while self._master >= 0 and not self._printed:
            if self._left <= 0 or not self._read():
                self.close()
                self._finished()
                return
            self._left -= len(self._printed)
            self._print()
        self._update()

    def close(self) -> None:
        """Hang up."""
        if self._master < 0:
            return
        for descriptor in (self._master, self._output.writable, self._keys.reading):
            if descriptor >= 0:
                self._loop.forget(descriptor)
        os.close(self._master)
        self._master = -1
