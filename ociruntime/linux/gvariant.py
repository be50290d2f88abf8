# SPDX-License-Identifier: Apache-2.0
"""What does a value in GVariant's text format mean? (docs.gtk.org/glib/gvariant-text.html)

Annotations `org.systemd.property.*` use it for values of D-Bus types: "uint64 5", "'inactive'", "['a', 'b']".
Parsed by hand, because the dialect of systemd's properties is small: no dictionaries, maybes or variants in variants.
Must not import anything.
"""

from __future__ import annotations

_NUMBERS = {
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
}
_RANGES = {
    "y": (0, 8),
    "n": (-15, 15),
    "q": (0, 16),
    "i": (-31, 31),
    "u": (0, 32),
    "x": (-63, 63),
    "t": (0, 64),
}
_TEXTS = {"objectpath": "o", "signature": "g"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_DEEPEST = 8


def parse(text: str) -> tuple[str, object]:
    """(D-Bus signature, value) of a text. Raises ValueError that says what is wrong, and where."""
    reader = _Reader(text)
    found = reader.value(0)
    reader.skip()
    if reader.at != len(text):
        raise ValueError(f"more text at character {reader.at + 1}")
    return found


class _Reader:
    """A text and how far it has been read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in " \t\n":
            self.at += 1

    def peek(self) -> str:
        self.skip()
        return self.text[self.at : self.at + 1]

    def word(self) -> str:
        """Letters, digits, signs and dots from here on."""
        self.skip()
        start = self.at
        while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] in "+-.@"):
            self.at += 1
        return self.text[start : self.at]

    def value(self, depth: int) -> tuple[str, object]:
        first = self.peek()
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        if first in ("'", '"'):
            return "s", self.string(first)
        if first == "[":
            return self.array(depth, "")
        if first == "(":
            return self.tuple(depth)
        word = self.word()
        if word in ("true", "false"):
            return "b", word == "true"
        if word in _TEXTS and self.peek() in ("'", '"'):
            return _TEXTS[word], self.string(self.peek())
        if word in _NUMBERS:
            return _NUMBERS[word], _integer(self.word(), _NUMBERS[word])
        if word == "double":
            return "d", _double(self.word())
        if word.startswith("@a") and self.peek() == "[":
            return self.array(depth, word[2:])
        if word and (word[0].isdigit() or word[0] in "+-."):
            return ("d", _double(word)) if "." in word else ("i", _integer(word, "i"))
        raise ValueError(f"no value at character {self.at + 1}" if not word else f"{word!r} is not a value")

    def string(self, quote: str) -> str:
        self.at += 1
        found: list[str] = []
        while self.at < len(self.text):
            letter = self.text[self.at]
            self.at += 1
            if letter == quote:
                return "".join(found)
            if letter == "\\":
                found.append(_ESCAPES.get(self.text[self.at : self.at + 1], self.text[self.at : self.at + 1]))
                self.at += 1
            else:
                found.append(letter)
        raise ValueError("a quote is missing")

    def items(self, depth: int, end: str) -> list[tuple[str, object]]:
        """Values with commas between them, up to a closing bracket."""
        self.at += 1
        found: list[tuple[str, object]] = []
        while self.peek() != end:
            if found:
                if self.peek() != ",":
                    raise ValueError(f"a comma is missing at character {self.at + 1}")
                self.at += 1
                if self.peek() == end:
                    break
            found.append(self.value(depth + 1))
        self.at += 1
        return found

    def array(self, depth: int, signature: str) -> tuple[str, object]:
        found = self.items(depth, "]")
        kinds = {kind for kind, _ in found} | ({signature} if signature else set())
        if len(kinds) != 1:
            raise ValueError(
                "the elements of an array must have the same type"
                if found
                else "an empty array needs its type, as in @as []"
            )
        return f"a{kinds.pop()}", [value for _, value in found]

    def tuple(self, depth: int) -> tuple[str, object]:
        found = self.items(depth, ")")
        return f"({''.join(kind for kind, _ in found)})", tuple(value for _, value in found)


def _integer(word: str, kind: str) -> int:
    low, high = _RANGES[kind]
    number = int(word, 0)
    if not (-(1 << -low) if low else 0) <= number < 1 << high:
        raise ValueError(f"{word} is out of range")
    return number


def _double(word: str) -> float:
    return float(word)
