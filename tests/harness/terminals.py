# SPDX-License-Identifier: Apache-2.0
"""How does a test sit at a terminal, and how does it receive one? Clients of ptys, and of --console-socket.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import struct
import subprocess
import termios
import time
from typing import TYPE_CHECKING, Any

from tests.harness.driver import ENVIRONMENT, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TIMEOUT = 15.0 * PATIENCE
ROWS, COLUMNS = 24, 80


def set_size(terminal: int, rows: int, columns: int) -> None:
    """TIOCSWINSZ; the foreground processes of the terminal get SIGWINCH."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def size_of(terminal: int) -> tuple[int, int]:
    """(rows, columns)."""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


class Screen:
    """What has come out of a pty so far, and a keyboard."""

    def __init__(self, master: int) -> None:
        self.master = master
        self.text = ""

    def type(self, keys: str) -> None:
        r"""Send keys; "\x03" is Ctrl-C."""
        os.write(self.master, keys.encode())

    def read_some(self, seconds: float) -> bool:
        """Take what comes within so many seconds; False once the other end is closed everywhere."""
        ready, _, _ = select.select([self.master], [], [], seconds)
        try:
            data = os.read(self.master, 65536) if ready else None
        except OSError:  # EIO
            return False
        self.text += (data or b"").decode("utf-8", "replace")
        return True

    def wait_for(self, text: str) -> str:
        """Read until `text` has come; returns everything up to its end, and forgets it."""
        end = time.monotonic() + TIMEOUT
        while text not in self.text:
            assert time.monotonic() < end, f"no {text!r} in {self.text!r}"
            assert self.read_some(0.2) or text in self.text, f"ended without {text!r}: {self.text!r}"
        before, _, self.text = self.text.partition(text)
        return before + text

    def rest(self) -> str:
        """Everything until the other end is closed."""
        end = time.monotonic() + TIMEOUT
        while self.read_some(0.2):
            assert time.monotonic() < end, f"not ended: {self.text!r}"
        return self.text


class Client(Screen):
    """A command with a terminal of its own: its controlling one, and 0, 1 and 2 unless they are given."""

    def __init__(self, command: Sequence[str], rows: int = ROWS, columns: int = COLUMNS, **how: Any) -> None:
        master, self.terminal = os.openpty()
        super().__init__(master)
        set_size(master, rows, columns)
        self.modes = termios.tcgetattr(self.terminal)
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), self.terminal)
        # setsid -c makes what it has as 0 the controlling terminal; the shell then takes the given streams
        self.process = subprocess.Popen(
            ["setsid", "-c", *command], **{"env": ENVIRONMENT, **streams, **how}
        )  # fmt: skip

    def resize(self, rows: int, columns: int) -> None:
        set_size(self.master, rows, columns)

    def is_raw(self) -> bool:
        """True while keys go to the command as they are: no echo, no lines, no signals."""
        modes: int = termios.tcgetattr(self.terminal)[3]
        return not modes & (termios.ECHO | termios.ICANON | termios.ISIG)

    def wait(self) -> int:
        """The command's exit code; its output is read meanwhile."""
        end = time.monotonic() + TIMEOUT
        while self.process.poll() is None:
            assert time.monotonic() < end, f"not ended: {self.text!r}"
            self.read_some(0.02)
        while select.select([self.master], [], [], 0)[0]:
            self.read_some(0)
        return self.process.returncode

    def is_restored(self) -> bool:
        """True if the terminal has the modes that it had at first."""
        return termios.tcgetattr(self.terminal) == self.modes

    def close(self) -> None:
        """End the command, if it has not ended, and close both ends."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.terminal)
        os.close(self.master)


class Receiver:
    """A socket that waits for one descriptor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listening.settimeout(TIMEOUT)
        place = os.open(path.parent, os.O_PATH)  # the path may be longer than an address
        self.listening.bind(f"/proc/self/fd/{place}/{path.name}")
        os.close(place)
        self.listening.listen(1)
        self.descriptors: list[int] = []

    def receive(self) -> tuple[str, list[int], bytes]:
        """(payload of the message, descriptors beside it, what follows until the end of the connection)."""
        connection, _ = self.listening.accept()
        with connection:
            connection.settimeout(TIMEOUT)
            data, ancillary, _, _ = connection.recvmsg(
                4096, socket.CMSG_SPACE(16 * 4), socket.MSG_CMSG_CLOEXEC
            )
            numbers = array.array("i")
            for _, _, rights in ancillary:
                numbers.frombytes(rights)
            self.descriptors += numbers
            return data.decode(), list(numbers), connection.recv(4096)

    def close(self) -> None:
        """Close the socket and every descriptor that came."""
        self.listening.close()
        while self.descriptors:
            os.close(self.descriptors.pop())
        self.path.unlink(missing_ok=True)
