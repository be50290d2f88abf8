# SPDX-License-Identifier: Apache-2.0
"""How do values of D-Bus types become bytes, and bytes values? (D-Bus specification, "Type System" and "Marshaling")

All types; a file descriptor is only its number among those of a message. What is written is little-endian; what is read may be
either. Pure; must not import anything of this package.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

# Size, which is also the alignment, and the letter of the module struct.
_NUMBERS = {
    "y": (1, "B"),
    "b": (4, "I"),
    "n": (2, "h"),
    "q": (2, "H"),
    "i": (4, "i"),
    "u": (4, "I"),
    "h": (4, "I"),
    "x": (8, "q"),
    "t": (8, "Q"),
    "d": (8, "d"),
}
_ALIGNMENTS = {**{kind: size for kind, (size, _) in _NUMBERS.items()}, "s": 4, "o": 4, "a": 4, "(": 8, "{": 8}
_SINGLE = frozenset((*_NUMBERS, "s", "o", "g", "v"))
_KEYS = _SINGLE - {"v"}
_PATH = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_/")

LONGEST_SIGNATURE = (
    255  # bytes, the specification's limit; that of arrays is larger than a message may be here
)
DEEPEST = 32  # arrays, structs and variants in one another; the specification allows up to 64


class Malformed(ValueError):
    """A value that has no form as bytes, or bytes that are no value; str() says which and why."""


def split(signature: str) -> list[str]:
    """A signature as complete types: "sa(sv)u" is s, a(sv), u. Raises Malformed."""
    if len(signature) > LONGEST_SIGNATURE:
        raise Malformed(f"a signature of {len(signature)} characters")
    found, start = [], 0
    while start < len(signature):
        end = _end_of_type(signature, start, 0)
        found.append(signature[start:end])
        start = end
    return found


def _end_of_type(signature: str, start: int, depth: int) -> int:
    letter = signature[start : start + 1]
    if letter in _SINGLE:
        return start + 1
    if depth == DEEPEST:
        raise Malformed(f"more than {DEEPEST} arrays and structs in one another")
    if letter == "a":
        return _end_of_type(signature, start + 1, depth + 1)
    is_entry = letter == "{" and signature[start - 1 : start] == "a"
    if letter != "(" and not is_entry:
        raise Malformed(f"{signature!r} is no signature: {letter!r} is no type")
    members, end = 0, start + 1
    while signature[end : end + 1] != (")" if letter == "(" else "}"):
        end = _end_of_type(signature, end, depth + 1)
        members += 1
    if not members or (is_entry and (members != 2 or signature[start + 1] not in _KEYS)):
        raise Malformed(f"{signature!r} is no signature: {signature[start : end + 1]!r} is no type")
    return end + 1


def marshal(signature: str, values: Sequence[object]) -> bytes:
    """The bytes of values, one for each complete type, from an offset that is a multiple of 8.

    values   a variant is a pair (signature, value), an array, a struct or an entry of a dictionary any sequence
    Raises Malformed.
    """
    kinds = split(signature)
    if len(kinds) != len(values):
        raise Malformed(f"{len(values)} values for {signature!r}")
    out = bytearray()
    for kind, value in zip(kinds, values, strict=True):
        _write(out, kind, value, 0)
    return bytes(out)


def _write(out: bytearray, kind: str, value: Any, depth: int) -> None:
    """Add a value of one complete type."""
    if depth > DEEPEST:
        raise Malformed(f"more than {DEEPEST} values in one another")
    out += bytes(-len(out) % _ALIGNMENTS.get(kind[0], 1))
    if kind in _NUMBERS:
        out += _number(kind, value)
    elif kind in ("s", "o"):
        text = _text(kind, value)
        out += struct.pack("<I", len(text) - 1)
        out += text
    elif kind == "g":
        text = _text(kind, value)
        out.append(len(text) - 1)
        out += text
    elif kind == "v":
        inner, one = value
        if len(split(inner)) != 1:
            raise Malformed(f"a variant has one type, and not {inner!r}")
        _write(out, "g", inner, depth)
        _write(out, inner, one, depth + 1)
    elif kind[0] == "a":
        _write_array(out, kind[1:], value, depth)
    else:
        kinds = split(kind[1:-1])
        if len(kinds) != len(value):
            raise Malformed(f"{len(value)} values for {kind!r}")
        for inner, one in zip(kinds, value, strict=True):
            _write(out, inner, one, depth + 1)


def _number(kind: str, value: Any) -> bytes:
    try:
        return struct.pack(f"<{_NUMBERS[kind][1]}", bool(value) if kind == "b" else value)
    except (struct.error, OverflowError):
        raise Malformed(f"{str(value)[:80]} is no value of the type {kind!r}") from None


def _text(kind: str, value: Any) -> bytes:
    """With the NUL at its end."""
    text = str(value)
    if "\0" in text:
        raise Malformed(f"{text!r} has a NUL")
    _check_text(kind, text)
    try:
        return text.encode() + b"\0"
    except UnicodeEncodeError:
        raise Malformed(f"{text!r} is not Unicode") from None


def _check_text(kind: str, text: str) -> None:
    """A signature must be one, and so must an object path."""
    if kind == "g":
        split(text)
    elif kind == "o" and not _is_path(text):
        raise Malformed(f"{text[:80]!r} is no object path")


def _is_path(text: str) -> bool:
    """Whether it is "/", or has a name of letters, digits and underscores after each of its slashes."""
    return text == "/" or (
        text.startswith("/") and not text.endswith("/") and "//" not in text and _PATH.issuperset(text)
    )


def _write_array(out: bytearray, inner: str, values: Any, depth: int) -> None:
    place = len(out)
    out += bytes(4)
    out += bytes(-len(out) % _ALIGNMENTS.get(inner[0], 1))
    start = len(out)
    for one in values:
        _write(out, inner, one, depth + 1)
    struct.pack_into("<I", out, place, len(out) - start)


class Reader:
    """Bytes, and how far they have been read. Alignment counts from their beginning.

    order   "<" if they are little-endian, ">" if big-endian
    end     where reading stops, the length by default
    """

    __slots__ = ("at", "data", "end", "order")

    def __init__(self, data: bytes, order: str, at: int = 0, end: int = -1) -> None:
        self.data = data
        self.order = order
        self.at = at
        self.end = len(data) if end < 0 else end

    def values(self, signature: str) -> list[Any]:
        """All values, one for each complete type, up to the end. Raises Malformed.

        Texts are str, booleans bool, other numbers int or float; a variant is the value in it; the others are lists.
        """
        found = [self.value(kind) for kind in split(signature)]
        if self.at != self.end:
            raise Malformed(f"{self.end - self.at} bytes more than {signature!r} says")
        return found

    def value(self, kind: str, depth: int = 0) -> Any:
        """The next value, of one complete type. Raises Malformed."""
        if depth > DEEPEST:
            raise Malformed(f"more than {DEEPEST} values in one another")
        self.align(_ALIGNMENTS.get(kind[0], 1))
        if kind in _NUMBERS:
            return self._number(kind)
        if kind in ("s", "o"):
            return self._text(kind, self._number("u"))
        if kind == "g":
            return self._text(kind, self._number("y"))
        if kind == "v":
            return self.value(self.one_type(), depth + 1)
        if kind[0] == "a":
            return self._array(kind[1:], depth)
        return [self.value(inner, depth + 1) for inner in split(kind[1:-1])]

    def one_type(self) -> str:
        """The signature with which a variant begins."""
        kind: str = self.value("g")
        if len(split(kind)) != 1:
            raise Malformed(f"a variant has one type, and not {kind!r}")
        return kind

    def align(self, size: int) -> None:
        """Skip the zeros up to the next multiple of a size."""
        if any(self._take(-self.at % size)):
            raise Malformed("padding is not zero")

    def _take(self, size: int) -> bytes:
        start, self.at = self.at, self.at + size
        if self.at > self.end:
            raise Malformed(f"{self.at - self.end} bytes are missing")
        return self.data[start : self.at]

    def _number(self, kind: str) -> Any:
        size, letter = _NUMBERS[kind]
        (number,) = struct.unpack(self.order + letter, self._take(size))
        if kind != "b":
            return number
        if number > 1:
            raise Malformed(f"{number} is no boolean")
        return bool(number)

    def _text(self, kind: str, size: int) -> str:
        data = self._take(size + 1)
        if data.find(b"\0") != size:
            raise Malformed("a text does not end where it says")
        try:
            text = data[:-1].decode()
        except UnicodeDecodeError:
            raise Malformed(f"{data[:80]!r} is not UTF-8") from None
        _check_text(kind, text)
        return text

    def _array(self, inner: str, depth: int) -> list[Any]:
        size = self._number("u")
        self.align(_ALIGNMENTS.get(inner[0], 1))
        outer, self.end = self.end, self.at + size
        if self.end > outer:
            raise Malformed(f"an array of {size} bytes in a message of {len(self.data)}")
        found: list[Any] = []
        while self.at < self.end:
            found.append(self.value(inner, depth + 1))
        self.end = outer
        return found
