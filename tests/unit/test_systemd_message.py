# SPDX-License-Identifier: Apache-2.0
"""Is a D-Bus message read as it was meant, and refused in words if it is none? Against jeepney, and against rubbish."""

from __future__ import annotations

import base64
import json
import random
import re
import struct
import time
from pathlib import Path

import pytest
from jeepney import low_level as jeepney

from ociruntime.linux.cgroups.systemd import message
from ociruntime.linux.cgroups.systemd.marshalling import Malformed

# What systemd 252 and dbus-daemon 1.14 have said, and what they were told: recorded in a machine of tests/systemd.
RECORDED = {
    entry["what"]: base64.b64decode(entry["message"])
    for entry in json.loads((Path(__file__).parent / "systemd_messages.json").read_text(encoding="ascii"))
}
PLACE = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
CALL = message.method_call(5, PLACE, "StopUnit", "ss", ["a.scope", "replace"])
PADDED = message.method_call(6, PLACE, "Subscribe", "", [])  # ends with zeros up to where a body would begin


def test_a_call_as_jeepney_reads_it() -> None:
    """Type, number, fields and body."""
    (read,) = jeepney.Parser().feed(CALL)
    fields = jeepney.HeaderFields
    assert read.header.message_type is jeepney.MessageType.method_call
    assert (read.header.serial, read.header.flags) == (5, 0)
    assert read.header.fields == {
        fields.destination: PLACE[0], fields.path: PLACE[1], fields.interface: PLACE[2], fields.member: "StopUnit", fields.signature: "ss"
    }  # fmt: skip
    assert read.body == ("a.scope", "replace")
    (read,) = jeepney.Parser().feed(PADDED)
    assert (read.body, fields.signature in read.header.fields) == ((), False)


@pytest.mark.parametrize("what", RECORDED)
def test_what_was_recorded(what: str) -> None:
    """Type, fields and texts are what jeepney finds in it; the same in big-endian."""
    data = RECORDED[what]
    (theirs,) = jeepney.Parser().feed(data)
    swapped = jeepney.Message(theirs.header, theirs.body)
    swapped.header.endianness = jeepney.Endianness.big
    assert message.size(data[:16]) == len(data)
    for one in (data, swapped.serialise(theirs.header.serial)):
        read = message.parse(one)
        assert read.kind == theirs.header.message_type.value
        assert read.fields == {key.value: value for key, value in theirs.header.fields.items()}
        values = read.values()
        assert len(values) == len(theirs.body)
        assert [one for one in values if isinstance(one, str)] == [
            one for one in theirs.body if isinstance(one, str)
        ]


def changed(data: bytes, place: int, new: bytes) -> bytes:
    """With other bytes at a place."""
    return data[:place] + new + data[place + len(new) :]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "a message that does not have 0 bytes"),
        (CALL[:15], "a message that does not have 15 bytes"),
        (CALL[:-1], f"a message that does not have {len(CALL) - 1} bytes"),
        (CALL + b"\0", f"a message that does not have {len(CALL) + 1} bytes"),
        (changed(CALL, 0, b"x"), "byte order 120"),
        (changed(CALL, 1, b"\0"), "a message without a type"),
        (changed(CALL, 3, b"\2"), "version 2 of the protocol"),
        (changed(CALL, 4, struct.pack("<I", message.LARGEST)), f"a message of {message.LARGEST + len(CALL) - 24} bytes"),
        (changed(CALL, 8, bytes(4)), "a message without a number"),
        (changed(CALL, 16, b"\0"), "field 0 of type 's'"),
        (changed(CALL, 16, b"\1"), "field 1 of type 's'"),
        (changed(CALL, 16, b"\3"), "field 3 of type 's' again"),
        (changed(CALL, 1, b"\2"), "a message of type 2 without field 5"),
        (changed(CALL, 1, b"\3"), "a message of type 3 without field 4"),
        (CALL.replace(b"\3\1s\0", b"\x20\1s\0"), "a message of type 1 without field 3"),
        (changed(CALL, CALL.index(b"systemd1\0") + 9, b"\1"), "padding is not zero"),
        (changed(PADDED, len(PADDED) - 1, b"\1"), "padding is not zero"),
    ],
)  # fmt: skip
def test_what_is_no_message(data: bytes, words: str) -> None:
    """Refused with what is wrong."""
    with pytest.raises(Malformed, match=re.escape(words)):
        message.parse(data)


def test_types_and_fields_of_the_future() -> None:
    """They are no mistake, as the specification asks."""
    read = message.parse(changed(CALL.replace(b"\3\1s\0", b"\x20\1s\0"), 1, b"\5"))
    assert (read.kind, read.fields[0x20]) == (5, "StopUnit")


def test_a_body_that_is_none() -> None:
    """The signature is of another type."""
    with pytest.raises(Malformed, match="8 bytes more than 'su' says"):
        message.parse(CALL.replace(b"\2ss\0", b"\2su\0")).values()


def test_the_largest_message() -> None:
    """What is too large is not sent."""
    with pytest.raises(Malformed, match=r"a message of 167\d{5} bytes"):
        message.method_call(1, PLACE, "A", "s", ["x" * message.LARGEST])


def mutated(chance: random.Random, data: bytes) -> bytes:
    """Some bytes are others, missing or there twice; mostly the length is still right, so that all is looked at."""
    made = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(made))
        if chance.random() < 0.8:
            made[place] = chance.choice(
                [0, 1, 2, 0x7F, 0xFF, chance.randrange(256), made[place] ^ 1 << chance.randrange(8)]
            )
        elif chance.random() < 0.5:
            del made[place]
        else:
            made.insert(place, chance.randrange(256))
        if not made:
            made += b"\0"
    return bytes(made)


def test_rubbish() -> None:
    """Random bytes, and messages of a real systemd with mistakes in them: a message, or Malformed, and soon."""
    chance = random.Random(11)
    outcomes = {"read": 0, "refused": 0}
    began = time.monotonic()
    for number in range(20_000):
        if number % 4:
            data = mutated(chance, chance.choice(list(RECORDED.values())))
        else:
            rest = chance.randbytes(chance.randint(0, 100))
            fields = min(len(rest), chance.randint(0, 40)) // 8 * 8
            start = bytes([*chance.choice([b"l", b"B"]), chance.randint(0, 5), 0, 1])
            order = "<" if start[:1] == b"l" else ">"
            data = start + struct.pack(f"{order}III", len(rest) - fields, 1, fields) + rest
        try:
            message.parse(data).values()
            outcomes["read"] += 1
        except Malformed:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 1000, outcomes
    assert time.monotonic() - began < 60
