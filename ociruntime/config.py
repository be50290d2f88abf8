# SPDX-License-Identifier: Apache-2.0
"""Spine 2: JSON bytes -> Node, a read-only view on a value that knows its JSON pointer.

Nothing is translated: a Node is the parsed value and its place, so that a step or an error
can always name the property behind it, and unknown properties stay where they are (R091).

The `json` package costs 5 ms to import (it compiles regular expressions); its C scanner alone costs
0.25 ms, so that is what is used here. This module must not import `json`, nor any subject.
"""

from __future__ import annotations

import sys
from _json import make_scanner

from ociruntime.errors import BundleError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Levels of nesting in a document from outside. The specification needs at most ten, and code that walks through a value
# later (a validator, a writer of JSON) may need several stack frames for each. Our own files contain such documents, and
# may be somewhat deeper.
DEEPEST = 100
_DEEPEST_OF_OURS = DEEPEST + 20

_WHITESPACE = " \t\n\r"


class Node:
    """A value of the config and its JSON pointer.

    A property that is missing (or null) gives a Node whose `value` is None and which is false,
    so that `config.at("linux", "resources", "memory")` never fails.
    The typed accessors assume that the schema has been checked: the wrong type is a bug there.

    above   the Node from which `path` leads to this one; or the value's own pointer, and no path
    """

    __slots__ = ("_above", "_path", "value")

    def __init__(self, value: object, above: Node | str = "", path: tuple[str, ...] = ()) -> None:
        # Hundreds are made for a plan, and few of them are asked for their pointer: it is put together only then.
        self.value = value
        self._above = above
        self._path = path

    @property
    def pointer(self) -> str:
        """Where the value is in the document (RFC 6901); "" is the document itself."""
        above = self._above if isinstance(self._above, str) else self._above.pointer
        if not self._path:
            return above
        tokens = "/".join(self._path)
        if "~" in tokens or tokens.count("/") >= len(self._path):
            tokens = "/".join([escape(name) for name in self._path])
        return f"{above}/{tokens}"

    def __bool__(self) -> bool:
        """True if the property is there and not null (an empty list, "" and 0 are there)."""
        return self.value is not None

    def __repr__(self) -> str:
        return f"Node({self.value!r}, {self.pointer!r})"

    def at(self, *path: str) -> Node:
        """The Node of a property some levels down; false if any level is missing."""
        value = self.value
        for name in path:
            if not isinstance(value, dict):
                value = None
                break
            value = value.get(name)
        return Node(value, self, path)

    def has(self, name: str) -> bool:
        """True if the object has this property, even when it is null."""
        return isinstance(self.value, dict) and name in self.value

    def members(self) -> Iterator[tuple[str, Node]]:
        """(name, Node) of each property of an object, in the document's order."""
        if isinstance(self.value, dict):
            for name, value in self.value.items():
                yield name, Node(value, self, (name,))

    def __iter__(self) -> Iterator[Node]:
        """The elements of an array, in order; nothing if the property is missing."""
        if isinstance(self.value, list):
            for index, value in enumerate(self.value):
                yield Node(value, self, (str(index),))

    def entry(self, index: int) -> Node:
        """One element of an array; false if there is none of this number."""
        known = isinstance(self.value, list) and 0 <= index < len(self.value)
        return Node(self.value[index] if known else None, self, (str(index),))  # type: ignore[index]

    def __len__(self) -> int:
        return len(self.value) if isinstance(self.value, (list, dict, str)) else 0

    def text(self, default: str = "") -> str:
        """The string, or `default` if missing."""
        return self.value if isinstance(self.value, str) else default

    def number(self, default: int = 0) -> int:
        """The integer, or `default` if missing; 1.0 is an integer in JSON Schema and becomes 1."""
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            return default
        if isinstance(self.value, float) and not self.value.is_integer():  # 1.5, and 1e999, which is infinite
            return default
        return int(self.value)

    def flag(self, default: bool = False) -> bool:
        """The boolean, or `default` if missing."""
        return self.value if isinstance(self.value, bool) else default

    def texts(self) -> list[str]:
        """An array of strings; empty if missing."""
        return [item for item in self.value if isinstance(item, str)] if isinstance(self.value, list) else []


def escape(name: str) -> str:
    """A property name as one token of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1") if ("~" in name or "/" in name) else name


class _ScannerSettings:
    """What json.JSONDecoder passes to the C scanner: plain JSON (RFC 8259), no NaN or Infinity."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}

    @staticmethod
    def parse_constant(name: str) -> object:
        raise ValueError(f"{name} is not JSON")


_scan = make_scanner(_ScannerSettings())  # type: ignore[arg-type]  # typeshed's idea of its argument


def parse(data: bytes, origin: str, deepest: int = _DEEPEST_OF_OURS) -> Node:
    """Parse a JSON document.

    data     the file's bytes; UTF-8, as the specification demands (R002)
    origin   the path to name in an error
    deepest  how deep objects and arrays may be nested
    Raises BundleError with line and column of the mistake.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as mistake:
        raise BundleError(f"{origin}: not UTF-8 at byte {mistake.start}") from None
    start = _skip(text, 0)
    try:
        value, end = _scan(text, start)
    except StopIteration as stop:
        raise BundleError(f"{origin}: not JSON: a value is missing at {_place(text, stop.value)}") from None
    except SystemError:
        # The C scanner raises json.decoder's own error, but only if that module is loaded: load it, and parse again.
        if "json.decoder" in sys.modules:
            raise
        __import__("json.decoder")
        return parse(data, origin, deepest)
    except RecursionError:
        raise BundleError(f"{origin}: nested more than {deepest} levels deep") from None
    except ValueError as mistake:  # json.JSONDecodeError, unless a number is too long
        place = getattr(mistake, "pos", None)
        if place is None:
            raise BundleError(f"{origin}: a number has more digits than Python converts") from None
        words = str(getattr(mistake, "msg", mistake)).lower()
        raise BundleError(f"{origin}: not JSON: {words} at {_place(text, place)}") from None
    end = _skip(text, end)
    if end != len(text):
        raise BundleError(f"{origin}: not JSON: more text after the value at {_place(text, end)}")
    if not _within(value, deepest):
        members = value.items() if isinstance(value, dict) else ()
        names = [name for name, member in members if not _within(member, deepest - 1)]
        pointer = f"/{escape(names[0])}" if names else ""
        raise BundleError(f"{origin}: nested more than {deepest} levels deep", pointer=pointer)
    return Node(value)


def _within(value: object, deepest: int) -> bool:
    """True if objects and arrays are nested no deeper than this; level by level, so that depth needs no stack."""
    level = [value]
    for _ in range(deepest):
        level = [
            item
            for one in level
            if isinstance(one, (dict, list))
            for item in (one.values() if isinstance(one, dict) else one)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return True
    return False


def _skip(text: str, index: int) -> int:
    if index < len(text) and text[index] in _WHITESPACE:
        return len(text) - len(text[index:].lstrip(_WHITESPACE))
    return index


def _place(text: str, index: int) -> str:
    line = text.count("\n", 0, index) + 1
    column = index - (text.rfind("\n", 0, index) + 1) + 1
    return f"line {line} column {column}"
