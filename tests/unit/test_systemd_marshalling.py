# SPDX-License-Identifier: Apache-2.0
"""Do values become the bytes that D-Bus asks for, and bytes values? jeepney, which is not ours, says the same."""

from __future__ import annotations

import random
import re
import string
from typing import TYPE_CHECKING, Any

import pytest
from jeepney import low_level as jeepney

from ociruntime.linux import gvariant
from ociruntime.linux.cgroups.systemd.marshalling import (
    DEEPEST,
    LONGEST_SIGNATURE,
    Malformed,
    Reader,
    marshal,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Callable

# In the form that jeepney takes: variants and structs are tuples.
VALUES = [
    ("y", 255), ("b", True), ("b", False), ("n", -32768), ("q", 65535), ("i", -(1 << 31)), ("u", (1 << 32) - 1),
    ("x", -(1 << 63)), ("t", (1 << 64) - 1), ("d", -1.5), ("s", ""), ("s", "grün"), ("o", "/"), ("o", "/a/b_1"), ("g", "a(sv)"),
    ("v", ("s", "a")), ("v", ("v", ("ay", b"\1"))), ("ay", b""), ("ay", b"\0\xff"), ("as", ["a", "bc"]), ("at", []), ("a(sv)", []),
    ("(yt)", (1, 2)), ("(y(yx)s)", (1, (2, -3), "x")), ("aat", [[1], [], [2, 3]]), ("a{sv}", {"a": ("u", 1), "bb": ("as", [])}),
    ("a(sv)", [("PIDs", ("au", [7])), ("Delegate", ("b", True))]), ("a(ss)", [("/dev/null", "rwm")]),
]  # fmt: skip
NUMBERS = {
    "y": (0, 8),
    "n": (-15, 15),
    "q": (0, 16),
    "i": (-31, 31),
    "u": (0, 32),
    "x": (-63, 63),
    "t": (0, 64),
}


def theirs(signature: str, values: tuple[Any, ...], order: str = "<") -> bytes:
    """What jeepney makes of it."""
    endianness = jeepney.Endianness.little if order == "<" else jeepney.Endianness.big
    kinds = jeepney.parse_signature(list(f"({signature})"))
    data: bytes = kinds.serialise(values, 0, endianness)
    return data


def plain(kind: str, value: Any) -> Any:
    """A value in the form in which ours reads it."""
    if kind == "v":
        return plain(*value)
    if kind[:2] == "a{":
        return [[plain(kind[2], key), plain(kind[3:-1], one)] for key, one in value.items()]
    if kind[0] == "a":
        return [plain(kind[1:], one) for one in value]
    if kind[0] == "(":
        return [plain(inner, one) for inner, one in zip(split(kind[1:-1]), value, strict=True)]
    return value


def given(kind: str, value: Any) -> Any:
    """A value in the form in which ours writes it: a dictionary is a list of pairs."""
    if kind[:2] == "a{":
        return [(key, given(kind[3:-1], one)) for key, one in value.items()]
    if kind == "v":
        return (value[0], given(*value))
    return value


@pytest.mark.parametrize(("kind", "value"), VALUES, ids=[f"{kind} {value!r}" for kind, value in VALUES])
@pytest.mark.parametrize("order", ["<", ">"])
def test_each_type(kind: str, value: Any, order: str) -> None:
    """Written as jeepney writes it, and read back; also big-endian, and after a byte that moves the alignment."""
    for before, values in (("", (value,)), ("y", (9, value))):
        expected = theirs(before + kind, values, order)
        if order == "<":
            assert marshal(before + kind, [*values[:-1], given(kind, value)]) == expected
        assert Reader(expected, order).values(before + kind)[-1] == plain(kind, value)


def anything(chance: random.Random, depth: int = 0) -> tuple[str, Any]:
    """A type and a value of it, any that D-Bus has but dictionaries and descriptors."""
    kind = chance.choice("ynqiuxtbdsogva(" if depth < 4 else "ynqiuxtbdsog")
    if kind in NUMBERS:
        low, high = NUMBERS[kind]
        return kind, chance.randint(-(1 << -low) if low else 0, (1 << high) - 1)
    if kind == "v":
        return kind, anything(chance, depth + 1)
    if kind == "(":
        members = [anything(chance, depth + 1) for _ in range(chance.randint(1, 4))]
        return f"({''.join(inner for inner, _ in members)})", tuple(value for _, value in members)
    if kind == "a":
        inner, value = anything(chance, depth + 1)
        values = [value] * chance.randint(0, 3)
        return f"a{inner}", bytes(values) if inner == "y" else values
    simple: dict[str, Callable[[], Any]] = {
        "b": lambda: chance.random() < 0.5,
        "d": chance.random,
        "s": lambda: "".join(chance.choices(string.printable + "äß€😀", k=chance.randint(0, 20))),
        "o": lambda: (
            "/" + "/".join("".join(chance.choices("aZ9_", k=3)) for _ in range(chance.randint(0, 3)))
        ),
        "g": lambda: chance.choice(["", "s", "a(sv)", "a{sa{sv}}"]),
    }
    return kind, simple[kind]()


def test_any_values() -> None:
    """Two thousand random ones, in both directions."""
    chance = random.Random(7)
    for _ in range(2000):
        kinds, values = zip(*(anything(chance) for _ in range(chance.randint(1, 4))), strict=True)
        signature = "".join(kinds)
        if len(signature) > LONGEST_SIGNATURE:
            continue
        expected = theirs(signature, values)
        assert marshal(signature, values) == expected, signature
        read = Reader(expected, "<").values(signature)
        assert read == [plain(kind, value) for kind, value in zip(kinds, values, strict=True)], signature


@pytest.mark.parametrize(
    "text",
    ["byte 0x1f", "int16 -5", "uint16 5", "5", "int32 -5", "uint32 5", "int64 -5", "uint64 18446744073709551615", "true", "1.5", "double 2",
     "'a'", "objectpath '/a'", "signature 'as'", "['a', 'b']", "[uint64 1]", "@as []", "@aat []", "('a', true)", "[('a', 1), ('b', 2)]", "[[1], [2, 3]]"],
)  # fmt: skip
def test_each_type_of_an_annotation(text: str) -> None:
    """What org.systemd.property.* can say in GVariant's text format becomes a variant, and comes back."""
    signature, value = gvariant.parse(text)
    (read,) = Reader(marshal("v", [(signature, value)]), "<").values("v")
    assert read == plain(signature, value)


def test_signatures() -> None:
    """As complete types."""
    assert split("ssa(sv)a(sa(sv))ayba{s(ii)}") == ["s", "s", "a(sv)", "a(sa(sv))", "ay", "b", "a{s(ii)}"]
    assert split("a" * DEEPEST + "y") == ["a" * DEEPEST + "y"]


@pytest.mark.parametrize(
    ("signature", "words"),
    [("a", "'' is no type"), ("z", "'z' is no type"), ("(", "'' is no type"), ("(s", "'' is no type"), (")", "')' is no type"),
     ("()", "'()' is no type"), ("a()", "'()' is no type"), ("{ss}", "'{' is no type"), ("a{s}", "'{s}' is no type"),
     ("a{sss}", "'{sss}' is no type"), ("a{vs}", "'{vs}' is no type"), ("a{(s)s}", "'{(s)s}' is no type"), ("a{s)", "')' is no type"), ("(s}", "'}' is no type"),
     ("a" * (DEEPEST + 1) + "y", f"more than {DEEPEST} arrays"), ("(" * 40 + "y" + ")" * 40, f"more than {DEEPEST}"),
     ("y" * 256, "a signature of 256 characters"), ("ä", "'ä' is no type")],
)  # fmt: skip
def test_what_is_no_signature(signature: str, words: str) -> None:
    """Refused with what is wrong: where it is given, and where it is a value."""
    for call in (
        lambda: split(signature),
        lambda: marshal("g", [signature]),
        lambda: marshal("v", [(signature, 0)]),
    ):
        with pytest.raises(Malformed, match=re.escape(words)):
            call()


@pytest.mark.parametrize(
    ("signature", "value", "words"),
    [("y", 256, "256 is no value of the type 'y'"), ("t", -1, "-1 is no value"), ("t", 1 << 64, "is no value of the type 't'"), ("u", "x", "x is no value"),
     ("i", 1.5, "1.5 is no value"), ("d", 10**400, "is no value of the type 'd'"), ("s", "a\0b", "has a NUL"), ("s", "\udcff", "is not Unicode"),
     ("o", "a", "'a' is no object path"), ("o", "/a/", "no object path"), ("o", "/a//b", "no object path"), ("o", "/a-b", "no object path"), ("o", "", "no object path"),
     ("v", ("ss", "x"), "a variant has one type, and not 'ss'"), ("v", ("", "x"), "one type"), ("(ss)", ["x"], "1 values for '(ss)'")],
)  # fmt: skip
def test_what_can_not_be_written(signature: str, value: object, words: str) -> None:
    """Refused with the value and the type."""
    with pytest.raises(Malformed, match=re.escape(words)):
        marshal(signature, [value])


def test_how_many_values() -> None:
    """As many as types."""
    with pytest.raises(Malformed, match="2 values for 's'"):
        marshal("s", ["a", "b"])


def nested(times: int) -> Any:
    """A variant in a variant, and so on."""
    value: Any = ("y", 1)
    for _ in range(times):
        value = ("v", value)
    return value


def test_how_deep() -> None:
    """Variants are counted like arrays and structs, when they are written and when they are read."""
    assert Reader(marshal("v", [nested(DEEPEST - 1)]), "<").values("v") == [1]
    with pytest.raises(Malformed, match=f"more than {DEEPEST} values"):
        marshal("v", [nested(DEEPEST)])
    with pytest.raises(Malformed, match=f"more than {DEEPEST} values"):
        Reader(b"\1v\0" * 1000 + b"\1y\0\1", "<").values("v")


@pytest.mark.parametrize(
    ("signature", "data", "words"),
    [("u", b"\1\0\0", "1 bytes are missing"), ("y", b"\1\2", "1 bytes more than 'y' says"), ("yu", b"\1\0\1\0\1\0\0\0", "padding is not zero"),
     ("b", b"\2\0\0\0", "2 is no boolean"), ("s", b"\1\0\0\0ab", "does not end where it says"), ("s", b"\1\0\0\0\0\0", "does not end"),
     ("s", b"\1\0\0\0\xff\0", "is not UTF-8"), ("o", b"\1\0\0\0a\0", "no object path"), ("g", b"\1z\0", "'z' is no type"), ("v", b"\2ss\0", "one type"),
     ("s", b"\xff\xff\xff\xffa\0", "bytes are missing"), ("as", b"\7\0\0\0\1\0\0\0a\0", "an array of 7 bytes in a message of 10"),
     ("as", b"\5\0\0\0\1\0\0\0a\0", "bytes are missing")],
)  # fmt: skip
def test_what_can_not_be_read(signature: str, data: bytes, words: str) -> None:
    """Refused with what is wrong."""
    with pytest.raises(Malformed, match=re.escape(words)):
        Reader(data, "<").values(signature)
