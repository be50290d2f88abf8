# SPDX-License-Identifier: Apache-2.0
"""What does a D-Bus message consist of? (D-Bus specification, "Message Protocol")

A header with fields, such as which call an answer belongs to, and a body. Pure.
"""

from __future__ import annotations

import struct

from ociruntime.linux.cgroups.systemd.marshalling import Malformed, Reader, marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

METHOD_CALL, METHOD_RETURN, ERROR, SIGNAL = 1, 2, 3, 4
PATH, INTERFACE, MEMBER, ERROR_NAME, REPLY_SERIAL, DESTINATION, SENDER, SIGNATURE, UNIX_FDS = range(1, 10)
_TYPES = {PATH: "o", INTERFACE: "s", MEMBER: "s", ERROR_NAME: "s", REPLY_SERIAL: "u", DESTINATION: "s", SENDER: "s", SIGNATURE: "g", UNIX_FDS: "u"}  # fmt: skip
# Which fields a message of a type must have; other types are ignored, as the specification asks.
_NEEDED = {METHOD_CALL: (PATH, MEMBER), METHOD_RETURN: (REPLY_SERIAL,), ERROR: (ERROR_NAME, REPLY_SERIAL), SIGNAL: (PATH, INTERFACE, MEMBER)}  # fmt: skip
_VERSION = 1

START = 16  # bytes, which say how long the message is
# Bytes. The specification allows 128 MiB; what systemd and the bus say to us has some hundred.
LARGEST = 1 << 24


class Message:
    """A message that has come.

    kind     METHOD_RETURN, ERROR, SIGNAL, ...
    fields   by their codes: text, or the number REPLY_SERIAL
    """

    __slots__ = ("_body", "fields", "kind")

    def __init__(self, kind: int, fields: dict[int, Any], body: Reader) -> None:
        self.kind = kind
        self.fields = fields
        self._body = body

    def values(self) -> list[Any]:
        """What is in it (see Reader.values), once. Raises Malformed."""
        return self._body.values(self.fields.get(SIGNATURE, ""))


def method_call(
    serial: int, place: tuple[str, str, str], member: str, signature: str, values: Sequence[object]
) -> bytes:
    """A call of a method.

    serial      the call's number, 1 and more
    place       destination, object, interface; a peer without a bus ignores the destination
    values      see marshalling.marshal
    Raises Malformed.
    """
    body = marshal(signature, values)
    destination, path, interface = place
    fields = [(DESTINATION, destination), (PATH, path), (INTERFACE, interface), (MEMBER, member)]
    if signature:
        fields.append((SIGNATURE, signature))
    header = marshal(
        "yyyyuua(yv)",
        [
            ord("l"), METHOD_CALL, 0, _VERSION, len(body), serial,
            [(code, (_TYPES[code], value)) for code, value in fields],
        ],
    )  # fmt: skip
    message = header + bytes(-len(header) % 8) + body
    if len(message) > LARGEST:
        raise Malformed(f"a message of {len(message)} bytes")
    return message


def size(start: bytes) -> int:
    """How many bytes a message has of which these are the first 16. Raises Malformed."""
    order = _order(start)
    if start[3] != _VERSION:
        raise Malformed(f"version {start[3]} of the protocol")
    body, _, fields = struct.unpack_from(f"{order}III", start, 4)
    found = int(START + fields + -fields % 8 + body)
    if found > LARGEST:
        raise Malformed(f"a message of {found} bytes")
    return found


def _order(start: bytes) -> str:
    if start[0] not in b"lB":
        raise Malformed(f"byte order {start[0]}")
    return "<" if start[0] == ord("l") else ">"


def parse(data: bytes) -> Message:
    """A whole message. Raises Malformed."""
    if len(data) < START or size(data) != len(data):
        raise Malformed(f"a message that does not have {len(data)} bytes")
    order = _order(data)
    kind, serial = data[1], struct.unpack_from(f"{order}I", data, 8)[0]
    if not kind or not serial:
        raise Malformed("a message without a type" if serial else "a message without a number")
    (end,) = struct.unpack_from(f"{order}I", data, 12)
    reader = Reader(data, order, START, START + end)
    fields: dict[int, Any] = {}
    while reader.at < reader.end:
        _read_field(reader, fields)
    missing = [code for code in _NEEDED.get(kind, ()) if code not in fields]
    if missing:
        raise Malformed(f"a message of type {kind} without field {missing[0]}")
    reader.end = len(data)
    reader.align(8)
    # The body begins at a multiple of 8, so alignment in it is that of the message.
    return Message(kind, fields, reader)


def _read_field(reader: Reader, fields: dict[int, Any]) -> None:
    reader.align(8)
    code = reader.value("y")
    kind = reader.one_type()
    if code in fields or kind != _TYPES.get(code, kind) or not code:
        raise Malformed(f"field {code} of type {kind!r}" + (" again" if code in fields else ""))
    fields[code] = reader.value(kind, 1)
