# SPDX-License-Identifier: Apache-2.0
"""A D-Bus peer that behaves as no systemd does: it does not answer, never ends a job, breaks off, sends rubbish.

It speaks the direct protocol (no bus daemon), as /run/systemd/private does: the client's authentication, then messages.
Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METHOD, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _SENDER, _SIGNATURE = 1, 2, 3, 4, 5, 7, 8
_TYPES = {
    _PATH: "o",
    _INTERFACE: "s",
    _MEMBER: "s",
    _ERROR_NAME: "s",
    _REPLY_SERIAL: "u",
    _SENDER: "s",
    _SIGNATURE: "g",
}
MANAGER = "org.freedesktop.systemd1.Manager"
PLACE = "/org/freedesktop/systemd1"


def _text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode() + b"\0"


def _pad(data: bytes, size: int) -> bytes:
    return data + bytes(-len(data) % size)


def message(kind: int, serial: int, fields: dict[int, Any], body: bytes = b"") -> bytes:
    """One message, little-endian."""
    header = b""
    for code, value in fields.items():
        kind_of = _TYPES[code]
        header = _pad(header, 8) + bytes([code, 1]) + kind_of.encode() + b"\0"
        if kind_of == "g":
            header += bytes([len(value)]) + value.encode() + b"\0"
        else:
            header = _pad(header, 4) + (struct.pack("<I", value) if kind_of == "u" else _text(value))
    start = b"l" + bytes([kind, 0, 1]) + struct.pack("<III", len(body), serial, len(header))
    return _pad(start + header, 8) + body


def body(*texts: str) -> bytes:
    """Texts (or object paths), one after the other."""
    data = b""
    for text in texts:
        data = _pad(data, 4) + _text(text)
    return data


def job_removed(job: str, unit: str, result: str, sender: str = "", interface: str = MANAGER) -> bytes:
    """The signal that a job has ended."""
    data = struct.pack("<I", 7) + _text(job)
    for text in (unit, result):
        data = _pad(data, 4) + _text(text)
    fields = {
        _PATH: PLACE,
        _INTERFACE: interface,
        _MEMBER: "JobRemoved",
        _SIGNATURE: "uoss",
        **_sender(sender),
    }
    return message(SIGNAL, 77, fields, data)


def _sender(name: str) -> dict[int, str]:
    """What a bus adds."""
    return {_SENDER: name} if name else {}


def answer(serial: int, *texts: str, signature: str, sender: str = "") -> bytes:
    """What a method returns."""
    fields = {_REPLY_SERIAL: serial, **({_SIGNATURE: signature} if signature else {}), **_sender(sender)}
    return message(RETURN, 78, fields, body(*texts))


def refusal(serial: int, name: str, words: str) -> bytes:
    """An error instead."""
    return message(ERROR, 79, {_REPLY_SERIAL: serial, _ERROR_NAME: name, _SIGNATURE: "s"}, body(words))


class Peer:
    """Listens at a path; `replies` says what is sent for a call, by (member, serial). None: nothing, b"": the end."""

    def __init__(self, path: Path, replies: Callable[[str, int], bytes | None], greet: bool = True) -> None:
        self.address = f"unix:path={path}"
        self.calls: list[str] = []
        self.close_after = (
            ""  # a method's name: not answered, but the end; "after": the end follows the first answer
        )
        self._replies = replies
        self._greet = greet
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen(4)
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        for one in (self._client, self._listening):
            if one is not None:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
        self._thread.join(10)
        self._listening.close()

    def _serve(self) -> None:
        try:
            self._client, _ = self._listening.accept()
        except OSError:
            return
        with self._client as client:
            data = b""
            while b"BEGIN\r\n" not in data:
                if not (more := client.recv(4096)):
                    return
                data += more
                if not self._greet:
                    data = b""
            lines, _, data = data.partition(b"BEGIN\r\n")
            agreed = b"AGREE_UNIX_FD\r\n" if b"NEGOTIATE_UNIX_FD" in lines else b""
            client.sendall(
                b"DATA\r\n" * lines.count(b"DATA\r\n") + b"OK 0123456789abcdef0123456789abcdef\r\n" + agreed
            )
            with contextlib.suppress(ConnectionError):  # the client may go before it has heard all answers
                self._answer(client, data)

    def _answer(self, client: socket.socket, data: bytes) -> None:
        while True:
            while (size := _size(data)) and len(data) >= size:
                one, data = data[:size], data[size:]
                serial = struct.unpack_from("<I", one, 8)[0]
                member = _member(one)
                self.calls.append(member)
                reply = self._replies(member, serial)
                if reply == b"" or self.close_after == member:
                    return
                if reply:
                    client.sendall(reply)
                if self.close_after == "after":
                    return
            try:
                more = client.recv(65536)
            except OSError:
                return
            if not more:
                return
            data += more


def _size(data: bytes) -> int:
    if len(data) < 16:
        return 0
    length, _, fields = struct.unpack_from("<III", data, 4)
    return int(16 + fields + (-fields % 8) + length)


def _member(data: bytes) -> str:
    """The value of the field MEMBER: its code, the signature "s", then the text."""
    at = data.index(b"\x03\x01s\0", 12) + 4
    length = struct.unpack_from("<I", data, at)[0]
    return data[at + 4 : at + 4 + length].decode()
