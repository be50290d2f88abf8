# SPDX-License-Identifier: Apache-2.0
"""Frames are put together from any pieces, and a frame that is too large does not end the connection."""

from __future__ import annotations

import random
import struct

import pytest

from ociruntime.shim.framing import HEADER_SIZE, LARGEST, REQUEST, RESPONSE, Reader, frame


def test_the_header_s_bytes() -> None:
    """As seen on the wire: length, stream, type, flags; big endian."""
    assert frame(3, REQUEST, b"abc") == b"\0\0\0\x03\0\0\0\x03\x01\0abc"
    assert frame(1, RESPONSE, b"") == b"\0\0\0\0\0\0\0\x01\x02\0"


def test_any_pieces() -> None:
    """The same frames come out however the bytes are cut."""
    chance = random.Random(1)
    sent = [(2 * n + 1, chance.randbytes(chance.choice([0, 1, 9, 10, 11, 5000]))) for n in range(200)]
    stream = b"".join(frame(number, REQUEST, data) for number, data in sent)
    for most in (1, 7, 4096, len(stream)):
        reader, place, got = Reader(), 0, []
        while place < len(stream):
            size = chance.randint(1, most)
            got += reader.feed(stream[place : place + size])
            place += size
        assert [(one.stream, one.data) for one in got] == sent


def test_the_largest_and_one_more() -> None:
    """A frame that is too large is reported, skipped, and the next one is read."""
    with pytest.raises(ValueError, match="largest"):
        frame(1, REQUEST, bytes(LARGEST + 1))
    whole = frame(1, REQUEST, bytes(LARGEST))
    assert len(whole) == LARGEST + HEADER_SIZE
    too_large = struct.pack(">IIBB", LARGEST + 1, 3, REQUEST, 0) + bytes(LARGEST + 1)
    after = frame(5, REQUEST, b"after")
    for size in (1 << 16, 1 << 23):
        reader, got, stream = Reader(), [], whole + too_large + after
        for place in range(0, len(stream), size):
            got += reader.feed(stream[place : place + size])
        assert [(one.stream, one.data and len(one.data)) for one in got] == [
            (1, LARGEST), (3, None), (5, 5),
        ]  # fmt: skip


def test_a_size_of_four_gigabytes_takes_no_memory() -> None:
    """What is skipped is not kept."""
    reader = Reader()
    assert reader.feed(struct.pack(">IIBB", 0xFFFFFFFF, 1, REQUEST, 0))[0].data is None
    for _ in range(64):
        assert reader.feed(bytes(1 << 20)) == []
    assert len(reader._buffer) == 0


def test_noise() -> None:
    """Random bytes are frames of some kind, or not complete: never an error."""
    chance = random.Random(2)
    for _ in range(300):
        reader = Reader()
        for _ in range(20):
            reader.feed(chance.randbytes(chance.randrange(64)))
