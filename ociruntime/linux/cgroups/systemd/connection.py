# SPDX-License-Identifier: Apache-2.0
"""How does a connection to a D-Bus server begin, and how do messages get through it?

By a unix socket (D-Bus specification, "Server Addresses"), with the authentication EXTERNAL ("Authentication Protocol"): the
kernel tells the server who we are. Every wait has a deadline. File descriptors are not negotiated; if some come, the kernel
closes them. Must not import bus.py.
"""

from __future__ import annotations

import _socket
import errno
import os
import select
import struct
import time

from ociruntime.linux.cgroups.systemd import message
from ociruntime.linux.cgroups.systemd.marshalling import Malformed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.linux.cgroups.systemd.message import Message

# Without an identity of ours, as sd-bus does: in a user namespace the server knows us by another uid than we do.
# All at once, because none of it depends on the answers.
_BEGINNING = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
_ANSWERS = 2  # to AUTH and DATA; the systemd of before 2019 says OK to both
_LONGEST_LINE = 16384  # bytes, as for the reference implementation
_PART = 65536  # bytes that are read at once


class Connection:
    """A connected socket; every error is an OSError with the address as its file name."""

    def __init__(self, address: str, deadline: float) -> None:
        """Connect and authenticate.

        address    "unix:path=/run/systemd/private"; several with semicolons between them are tried in turn
        deadline   time.monotonic() at which it is given up
        Raises OSError: TimeoutError if nothing answers.
        """
        self.address = address
        self._received = bytearray()
        self._socket = self._connect(deadline)
        try:
            self._authenticate(deadline)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection. May be called again."""
        self._socket.close()

    def send(self, data: bytes, deadline: float) -> None:
        """Send all of it. Raises OSError."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self._socket.send(rest, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, deadline)
            except OSError as failure:
                raise self._failure(failure.errno or 0) from None

    def receive(self, deadline: float) -> Message:
        """The next message. Raises OSError: TimeoutError if none comes in time, EBADMSG if it is none."""
        try:
            while len(self._received) < message.START:
                self._fill(deadline)
            size = message.size(bytes(self._received[: message.START]))
            while len(self._received) < size:
                self._fill(deadline)
            data = bytes(self._received[:size])
            del self._received[:size]
            return message.parse(data)
        except Malformed as mistake:
            raise self.malformed(mistake) from None

    def malformed(self, mistake: Malformed) -> OSError:
        """The error for a message that can't be understood."""
        return OSError(errno.EBADMSG, f"malformed message: {mistake}", self.address)

    def _failure(self, number: int) -> OSError:
        return OSError(number, os.strerror(number).lower(), self.address)

    def _connect(self, deadline: float) -> _socket.socket:
        failure: OSError = self._failure(errno.EINVAL)
        for one in self.address.split(";"):
            made = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            try:
                place = socket_path(one)
                # connect() waits, but not longer, if the server has not accepted those before us.
                left = max(1, int((deadline - time.monotonic()) * 1_000_000))
                wait = struct.pack("@ll", left // 1_000_000, left % 1_000_000)
                made.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, wait)
                made.connect(place)
                return made
            except BlockingIOError:
                failure = self._late()
            except ValueError as mistake:
                failure = OSError(errno.EINVAL, str(mistake), self.address)
            except OSError as refused:
                failure = self._failure(refused.errno or errno.ENAMETOOLONG)
            made.close()
        raise failure

    def _late(self) -> TimeoutError:
        return TimeoutError(errno.ETIMEDOUT, "no answer in time", self.address)

    def _authenticate(self, deadline: float) -> None:
        self.send(_BEGINNING, deadline)
        for _ in range(_ANSWERS):
            line = self._line(deadline)
            if line[:2] != b"OK" and line != b"DATA":
                words = line[:80].decode("ascii", "backslashreplace")
                raise OSError(errno.EACCES, f"not let in: {words!r}", self.address)
        if line[:2] != b"OK":
            raise OSError(errno.EACCES, "not let in", self.address)

    def _line(self, deadline: float) -> bytes:
        while (end := self._received.find(b"\r\n")) < 0:
            if len(self._received) > _LONGEST_LINE:
                raise OSError(errno.EBADMSG, "this is no D-Bus server", self.address)
            self._fill(deadline)
        line = bytes(self._received[:end])
        del self._received[: end + 2]
        return line

    def _fill(self, deadline: float) -> None:
        """Wait for more, and read it. Raises OSError."""
        self._wait(select.POLLIN, deadline)
        try:
            data = self._socket.recv(_PART, _socket.MSG_DONTWAIT)
        except OSError as failure:
            raise self._failure(failure.errno or 0) from None
        if not data:
            raise self._failure(errno.ECONNRESET)
        self._received += data

    def _wait(self, what: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._socket.fileno(), what)
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):
            raise self._late()


def socket_path(address: str) -> bytes:
    """What connect() takes for one D-Bus address: a path, or NUL and an abstract name. Raises ValueError."""
    transport, _, rest = address.partition(":")
    keys = dict(pair.split("=", 1) for pair in rest.split(",") if "=" in pair)
    if transport != "unix" or not {"path", "abstract"} & keys.keys():
        raise ValueError(f"{address!r} is not the address of a unix socket")
    return _unquoted(keys["path"]) if "path" in keys else b"\0" + _unquoted(keys["abstract"])


def _unquoted(text: str) -> bytes:
    """Without the %-escapes of a D-Bus address. Raises ValueError."""
    first, *rest = os.fsencode(text).split(b"%")
    try:
        return first + b"".join(bytes.fromhex(part[:2].decode("ascii")) + part[2:] for part in rest)
    except ValueError:
        raise ValueError(f"{text!r} has a % without two hexadecimal digits") from None
