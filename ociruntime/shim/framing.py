# SPDX-License-Identifier: Apache-2.0
"""Where does one ttrpc message end and the next begin?

    length of the data  u32    big endian, at most LARGEST
    stream              u32    odd for a client's calls, increasing
    kind                u8     REQUEST, RESPONSE, DATA
    flags               u8     0 for plain calls
    data

Pure: bytes in, frames out. This module must not import anything of the package.
"""

from __future__ import annotations

import struct

LARGEST = 4 << 20  # bytes of data, as in containerd's ttrpc
REQUEST, RESPONSE, DATA = 1, 2, 3

_HEADER = struct.Struct(">IIBB")
HEADER_SIZE = _HEADER.size


class Frame:
    """One frame.

    stream, kind, flags   as above
    data                  its content; None if it is larger than LARGEST: then it has been skipped
    """

    __slots__ = ("data", "flags", "kind", "stream")

    def __init__(self, stream: int, kind: int, flags: int, data: bytes | None) -> None:
        self.stream = stream
        self.kind = kind
        self.flags = flags
        self.data = data


def frame(stream: int, kind: int, data: bytes) -> bytes:
    """A frame's bytes. Raises ValueError if the data is larger than LARGEST."""
    if len(data) > LARGEST:
        raise ValueError(f"a message of {len(data)} bytes; the largest is {LARGEST}")
    return _HEADER.pack(len(data), stream, kind, 0) + data


class Reader:
    """Puts the frames of one connection together from pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._skipping = 0  # bytes of a frame that is too large

    def feed(self, piece: bytes) -> list[Frame]:
        """The frames that this piece completes. One that is too large is reported at its header."""
        if self._skipping:
            skipped = min(self._skipping, len(piece))
            self._skipping -= skipped
            piece = piece[skipped:]
        buffer = self._buffer
        buffer += piece
        found = []
        place = 0
        while len(buffer) - place >= HEADER_SIZE:
            length, stream, kind, flags = _HEADER.unpack_from(buffer, place)
            there = len(buffer) - place - HEADER_SIZE
            if length > LARGEST:
                found.append(Frame(stream, kind, flags, None))
                skipped = min(length, there)
                self._skipping = length - skipped
                place += HEADER_SIZE + skipped
                continue
            if there < length:
                break
            begin = place + HEADER_SIZE
            place = begin + length
            found.append(Frame(stream, kind, flags, bytes(buffer[begin:place])))
        del buffer[:place]
        return found
