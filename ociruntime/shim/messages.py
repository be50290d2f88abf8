# SPDX-License-Identifier: Apache-2.0
"""How is a message read and written in protobuf's wire format? The messages themselves are in shim/tables.py.

A message is declared as a table of fields, and its value is a dict by the fields' names. `decode` gives every field a value:
0, "", b"", False, [] or {} for what is missing, and None for a missing message. `encode` leaves those values out, as proto3
does. Fields that the table does not have are skipped. google's protobuf would cost 41 ms and 6 MB here; tests hold this
module to it. Pure. This module must not import anything of the package.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Value = dict[str, Any]

STRING, BYTES, BOOL, ENUM = "string", "bytes", "bool", "enum"
INT32, UINT32, INT64, UINT64 = "int32", "uint32", "int64", "uint64"
MAP = "map"  # from string to string

DEEPEST = 32  # levels of messages in messages, and of groups that are skipped
# Of all repeated fields of a message together: two bytes on the wire become a hundred in memory.
MOST_ITEMS = 65536

_VARINT, _FIXED64, _BYTES, _GROUP, _END_GROUP, _FIXED32 = range(6)
_MASK32, _MASK64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_DEFAULTS: dict[str, object] = {STRING: "", BYTES: b"", BOOL: False}
_ON_THE_WIRE = {STRING: _BYTES, BYTES: _BYTES, MAP: _BYTES}


class Malformed(ValueError):
    """Bytes that are not such a message; the text says which field."""


class Field:
    """One field: its number, its name, its kind (one of the words above, or a Message), and whether it is repeated."""

    __slots__ = ("kind", "name", "number", "repeated", "wire")

    def __init__(self, number: int, name: str, kind: str | Message = STRING, repeated: bool = False) -> None:
        self.number = number
        self.name = name
        self.kind = kind
        self.repeated = repeated
        self.wire = _BYTES if isinstance(kind, Message) else _ON_THE_WIRE.get(kind, _VARINT)

    def default(self) -> object:
        """What the field is if it is missing."""
        if self.repeated:
            return []
        if isinstance(self.kind, Message):
            return None
        return {} if self.kind == MAP else _DEFAULTS.get(self.kind, 0)


class Message:
    """A kind of message: its full name, and its fields."""

    __slots__ = ("fields", "name", "numbers")

    def __init__(self, name: str, *fields: Field) -> None:
        self.name = name
        self.fields = fields
        self.numbers = {field.number: field for field in fields}

    def decode(self, data: bytes) -> Value:
        """The value of these bytes. Raises Malformed."""
        return _Decoder(self, data).message(self, len(data), None, 0)

    def decode_words(self, data: bytes) -> Value:
        """As `decode`; but a text with a zero byte is Malformed as well: the kernel would take a part of it for the whole."""
        value = self.decode(data)
        require_words(value, self.name)
        return value

    def encode(self, value: Value) -> bytes:
        """The bytes of a value; names that the message does not have are a KeyError."""
        out = bytearray()
        _encode(self, value, out)
        return bytes(out)


def require_words(value: object, where: str) -> None:
    """Raise Malformed if a text in a value has a zero byte.

    where   what to call the value
    """
    if isinstance(value, str):
        if "\0" in value:
            raise Malformed(f"{where}: a text with a zero byte")
    elif isinstance(value, dict):
        for name, item in value.items():
            require_words(item, f"{where}: {name}")
    elif isinstance(value, list):
        for item in value:
            require_words(item, where)


class _Decoder:
    """One call of decode: how far it has come."""

    def __init__(self, kind: Message, data: bytes) -> None:
        self.kind = kind  # of the message that is being read
        self.data = data
        self.place = 0
        self.items = 0

    def message(self, kind: Message, end: int, before: Value | None, depth: int) -> Value:
        """What follows, to `end`, as a message; `before` is the same field's earlier value, with which it is merged."""
        above, self.kind = self.kind, kind
        if depth > DEEPEST:
            raise self.malformed(f"more than {DEEPEST} messages in each other")
        value = before if before is not None else {field.name: field.default() for field in kind.fields}
        while self.place < end:
            tag = self.tag(end)
            field = kind.numbers.get(tag >> 3)
            if field is not None and tag & 7 == field.wire:
                self.field(field, value, end, depth)
            elif field is not None and field.repeated and tag & 7 == _BYTES and field.wire == _VARINT:
                last = self.span(end)
                while self.place < last:
                    self.append(field, value, _number(field.kind, self.varint(last)))
            else:
                self.skip(tag, end, depth)
        self.kind = above
        return value

    def field(self, field: Field, value: Value, end: int, depth: int) -> None:
        """Read one occurrence of a field."""
        if field.wire == _VARINT:
            item: object = _number(field.kind, self.varint(end))
        else:
            last = self.span(end)
            if isinstance(field.kind, Message):
                before = None if field.repeated else value[field.name]
                item = self.message(field.kind, last, before, depth + 1)
            elif field.kind == MAP:
                entry = self.message(_ENTRY, last, None, depth + 1)
                self.count(field)
                value[field.name][entry["key"]] = entry["value"]
                return
            else:
                item = self.data[self.place : last]
                self.place = last
                if field.kind == STRING:
                    item = self.text(item, field)
        if field.repeated:
            self.append(field, value, item)
        else:
            value[field.name] = item

    def append(self, field: Field, value: Value, item: object) -> None:
        """Add an item to a repeated field."""
        self.count(field)
        value[field.name].append(item)

    def count(self, field: Field) -> None:
        """One more item."""
        self.items += 1
        if self.items > MOST_ITEMS:
            raise self.malformed(f"more than {MOST_ITEMS} items, the last in {field.name}")

    def text(self, item: bytes, field: Field) -> str:
        """A string's characters."""
        try:
            return item.decode()
        except UnicodeDecodeError:
            raise self.malformed(f"{field.name} is not UTF-8") from None

    def varint(self, end: int) -> int:
        """A number of up to ten bytes."""
        number = shift = 0
        while self.place < end:
            byte = self.data[self.place]
            self.place += 1
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                return number & _MASK64
            shift += 7
            if shift >= 70:
                raise self.malformed("a number of more than ten bytes")
        raise self.malformed("ends within a number")

    def tag(self, end: int) -> int:
        """Number and wire type of the next field."""
        begin = self.place
        tag = self.varint(end)
        if tag >> 3 == 0 or tag > _MASK32 or self.place - begin > 5:
            raise self.malformed(f"field number {tag >> 3}")
        return tag

    def span(self, end: int) -> int:
        """Where the content of a field ends."""
        size = self.varint(end)
        if size > end - self.place:
            raise self.malformed(f"a field of {size} bytes, but only {end - self.place} follow")
        return self.place + size

    def skip(self, tag: int, end: int, depth: int) -> None:
        """Pass a field that nobody asked for."""
        wire = tag & 7
        if wire == _VARINT:
            self.varint(end)
        elif wire == _BYTES:
            self.place = self.span(end)
        elif wire in {_FIXED32, _FIXED64}:
            self.place += 4 if wire == _FIXED32 else 8
            if self.place > end:
                raise self.malformed("ends within a field")
        elif wire == _GROUP and depth < DEEPEST:
            while (inner := self.tag(end)) & 7 != _END_GROUP:
                self.skip(inner, end, depth + 1)
            if inner >> 3 != tag >> 3:
                raise self.malformed(f"wire type {wire} of field {tag >> 3}")
        else:
            raise self.malformed(f"wire type {wire} of field {tag >> 3}")

    def malformed(self, what: str) -> Malformed:
        """The error, with the message's name."""
        return Malformed(f"{self.kind.name}: {what}")


def _number(kind: object, number: int) -> int | bool:
    """A varint as a value of this kind."""
    if kind == BOOL:
        return number != 0
    if kind == UINT64:
        return number
    if kind == UINT32:
        return number & _MASK32
    if kind == INT64:
        return number - (1 << 64) if number >> 63 else number
    number &= _MASK32
    return number - (1 << 32) if number >> 31 else number


def _encode(kind: Message, value: Value, out: bytearray) -> None:
    if not value.keys() <= {field.name for field in kind.fields}:
        raise KeyError(f"{kind.name}: {sorted(value.keys() - {field.name for field in kind.fields})}")
    for field in kind.fields:
        item = value.get(field.name)
        if not item and not (item == {} and isinstance(field.kind, Message)):
            continue
        if field.kind == MAP:
            for key, text in item.items():
                _put(field, _ENTRY.encode({"key": key, "value": text}), out)
        elif not field.repeated:
            _put_item(field, item, out)
        elif field.wire == _VARINT:
            packed = bytearray()
            for number in item:
                _put_varint(number, packed)
            _put(field, bytes(packed), out)
        else:
            for one in item:
                _put_item(field, one, out)


def _put_item(field: Field, item: Any, out: bytearray) -> None:
    if isinstance(field.kind, Message):
        _put(field, field.kind.encode(item), out)
    elif field.wire == _BYTES:
        _put(field, item.encode() if field.kind == STRING else item, out)
    else:
        _put_varint(field.number << 3, out)
        _put_varint(item, out)


def _put(field: Field, data: bytes, out: bytearray) -> None:
    _put_varint(field.number << 3 | _BYTES, out)
    _put_varint(len(data), out)
    out += data


def _put_varint(number: int, out: bytearray) -> None:
    number = int(number) & _MASK64
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


_ENTRY = Message("entry of a map", Field(1, "key"), Field(2, "value"))
