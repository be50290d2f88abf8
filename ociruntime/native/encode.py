# SPDX-License-Identifier: Apache-2.0
"""How do steps become the flat buffer that init obeys? The writing side of native/plan.h.

It reads op codes and the kinds of arguments from the C table, so that they are written down only once.
"""

from __future__ import annotations

import struct

from ociruntime.errors import InvalidConfig, Violation
from ociruntime.native._shim import ffi, lib
from ociruntime.progress import SYNC_POINTS
from ociruntime.step import Blob, InitStep, Slot, SyncStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ociruntime.step import Argument, Step

MAGIC = lib.PLAN_MAGIC
_ARGUMENTS = 12
_UNUSED = [[0] * (_ARGUMENTS - used) for used in range(_ARGUMENTS + 1)]


def word(table: int, number: int) -> str:
    """A word of one of the C tables, or "" past its end."""
    text = lib.plan_word(table, number)
    return "" if text == ffi.NULL else ffi.string(text).decode("ascii")


def _ops() -> dict[str, tuple[int, str]]:
    table: dict[str, tuple[int, str]] = {}
    code = 1
    while name := word(lib.TABLE_OPS, code):
        table[name] = (code, word(lib.TABLE_SIGNATURES, code))
        code += 1
    return table


OPS = _ops()


def named(step: InitStep) -> dict[str, Argument]:
    """The arguments of a step by the names that they have in plan.h, for people and for errors."""
    code, _ = OPS[step.op]
    names = word(lib.TABLE_ARGUMENTS, code).split()
    return dict(zip(names, step.args, strict=True))


class _Writer:
    """Strings, lists and bytes of one buffer; their offsets are known once the number of records is."""

    __slots__ = ("_blobs", "_lists", "_offsets", "_strings")

    def __init__(self, blobs: Mapping[str, bytes]) -> None:
        self._blobs = blobs
        self._strings = bytearray()
        self._offsets: dict[str, int] = {}
        self._lists: list[int] = []

    def string(self, text: str, pointer: str) -> int:
        found = self._offsets.get(text)
        if found is None:
            found = self._offsets[text] = len(self._strings)
            self._strings += _encoded(text, pointer)
            self._strings.append(0)
        return found

    def list_or_blob(self, argument: Argument, pointer: str) -> int:
        if isinstance(argument, Blob):
            return self._blob(argument.key)
        assert isinstance(argument, list)
        return self._list(argument, pointer)

    def _list(self, items: Sequence[str | int], pointer: str) -> int:
        start = len(self._lists)
        self._lists.append(-len(items) - 1)  # negative: a number, not an offset
        self._lists += [self.string(str(item), pointer) for item in items]
        self._lists.append(-1)
        return start * 8

    def _blob(self, key: str) -> int:
        start = len(self._lists)
        content = self._blobs[key]
        padded = content + bytes(-len(content) % 8)
        self._lists.append(-len(content) - 1)
        self._lists += [-number - 1 for (number,) in struct.iter_unpack("<Q", padded)]
        return start * 8

    def finish(self, data: int) -> tuple[bytes, int]:
        """The lists and strings as they stand from offset `data` on, and where the strings begin."""
        base = data + 8 * len(self._lists)
        words = [-item - 1 if item < 0 else base + item for item in self._lists]
        return struct.pack(f"<{len(words)}Q", *words) + bytes(self._strings), base


def _encoded(text: str, pointer: str) -> bytes:
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise InvalidConfig(
            [Violation(pointer, "contains a lone surrogate, which is not a character", "R002")]
        ) from None
    if b"\0" in data:
        raise InvalidConfig(
            [Violation(pointer, "contains a NUL, where the string would end for the kernel", "R092")]
        )
    return data


def encode(
    steps: Sequence[tuple[int, Step]],
    slots: Sequence[str],
    fd_base: int,
    blobs: Mapping[str, bytes] | None = None,
) -> bytes:
    """The plan buffer for these init and sync steps.

    steps    (number in the whole plan, step), in order
    slots    keys of the descriptors that init gets, in the order in which it gets them
    fd_base  number of init's first own descriptor (3 + preserved ones)
    blobs    what host steps have made for init, by the key of its Blob
    Raises InvalidConfig for text that no system call can take, RuntimeError if the C side would
    refuse the buffer (a mistake of a subject module).
    """
    writer = _Writer(blobs or {})
    numbers = {key: index for index, key in enumerate(slots)}
    words = [MAGIC, 0, len(steps), len(slots), fd_base, 0]
    of_strings: list[int] = []  # which words are relative offsets until all lists are known
    of_lists: list[int] = []
    for index, step in steps:
        op, args, ignore = _operation(step)
        code, signature = OPS[op]
        if len(args) != len(signature):
            raise RuntimeError(f"step {index}: {op} takes {len(signature)} arguments, not {len(args)}")
        words += (code | ignore << 16, index)
        for letter, argument in zip(signature, args, strict=True):
            if letter == "u":
                words.append(_number(argument, step.pointer))
            elif letter in "sSp":
                if argument is None:
                    words.append(0)
                    continue
                assert isinstance(argument, str)
                of_strings.append(len(words))
                words.append(writer.string(argument, step.pointer))
            elif letter == "f":
                assert isinstance(argument, Slot)
                words.append(numbers[argument.key])
            else:
                of_lists.append(len(words))
                words.append(writer.list_or_blob(argument, step.pointer))
        words += _UNUSED[len(args)]
    data = 4 * len(words)
    tail, strings = writer.finish(data)
    for place in of_strings:
        words[place] += strings
    for place in of_lists:
        words[place] += data
    words[1], words[5] = data + len(tail), strings
    buffer = struct.pack(f"<{len(words)}I", *words) + tail
    verify(buffer)
    return buffer


def _number(argument: Argument, pointer: str) -> int:
    assert isinstance(argument, int)
    if not 0 <= argument <= 0xFFFFFFFF:  # never truncated: uid 4294967296 would become root
        raise RuntimeError(f"{pointer}: {argument} does not fit into 32 bits")
    return argument


def _operation(step: Step) -> tuple[str, Sequence[Argument], int]:
    if isinstance(step, SyncStep):
        if step.point == "ready":
            return "ready", (), 0
        if step.point == "start":
            return "wait_start", (), 0
        if step.point == "listener":
            return "listener", (), 0
        return "sync", (SYNC_POINTS[step.point],), 0
    assert isinstance(step, InitStep)
    return step.op, step.args, step.ignore


def verify(buffer: bytes) -> None:
    """Ask the C side whether init could obey this buffer.

    Raises RuntimeError with the place of the first mistake.
    """
    where = ffi.new("uint32_t *")
    if lib.plan_check(ffi.from_buffer(buffer), len(buffer), where) != 0:
        raise RuntimeError(f"the plan's buffer is malformed at byte {where[0]}")
