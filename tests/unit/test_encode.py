# SPDX-License-Identifier: Apache-2.0
"""Does the buffer that init obeys say what the steps say? Read back here, word for word, by plan.h's rules."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Any

import pytest

from ociruntime.errors import InvalidConfig
from ociruntime.native._shim import lib
from ociruntime.native.encode import MAGIC, OPS, encode, named, verify, word
from ociruntime.progress import SYNC_POINTS
from ociruntime.step import HostStep, InitStep, Slot, SyncStep

_NATIVE = Path(__file__).parents[2] / "ociruntime/native"
_PLAN_H = (_NATIVE / "plan.h").read_text()
_HANDSHAKE_H = (_NATIVE / "handshake.h").read_text()
_HEADER, _RECORD = 24, 56


def _table() -> dict[str, list[tuple[str, str]]]:
    """Each op of plan.h with (kind, name) of its arguments."""
    block = _PLAN_H[_PLAN_H.index("#define PLAN_OPS") : _PLAN_H.index("enum plan_op")]
    ops = re.split(r"\bOP\((?=\w+,\s)", block)[1:]
    return {op.partition(",")[0]: re.findall(r"\bA\((\w), (\w+)\)", op) for op in ops}


_TABLE = _table()


def _text(buffer: bytes, offset: int) -> str:
    return buffer[offset : buffer.index(b"\0", offset)].decode("utf-8", "surrogateescape")


def _list(buffer: bytes, offset: int) -> list[str]:
    (count,) = struct.unpack_from("<Q", buffer, offset)
    words = struct.unpack_from(f"<{count + 1}Q", buffer, offset + 8)
    assert words[-1] == 0
    assert offset % 8 == 0
    return [_text(buffer, place) for place in words[:-1]]


def _decode(buffer: bytes) -> list[tuple[str, int, int, list[Any]]]:
    """(op, ignored errno, index, arguments) of each record."""
    magic, size, count = struct.unpack_from("<3I", buffer)
    assert magic == MAGIC
    assert size == len(buffer)
    names = {code: (name, signature) for name, (code, signature) in OPS.items()}
    found = []
    for number in range(count):
        op, ignore, index, *args = struct.unpack_from("<HHI12I", buffer, _HEADER + number * _RECORD)
        name, signature = names[op]
        values: list[Any] = []
        for letter, value in zip(signature, args, strict=False):
            if letter in "ln":
                values.append(_list(buffer, value))
            elif letter in "sp" or (letter == "S" and value):
                values.append(_text(buffer, value))
            else:
                values.append(value)
        assert not any(args[len(signature) :])
        found.append((name, ignore, index, values))
    return found


def test_ops_are_those_of_plan_h() -> None:
    """The table comes from the C side: each OP, in order, from code 1 on, with the kinds of its arguments."""
    assert len(_TABLE) > 30
    kinds = {name: "".join(kind for kind, _ in arguments) for name, arguments in _TABLE.items()}
    assert {name: (code, letters) for code, (name, letters) in enumerate(kinds.items(), 1)} == OPS
    assert word(lib.TABLE_OPS, len(_TABLE) + 1) == ""
    assert word(lib.TABLE_SIGNATURES, len(_TABLE) + 1) == ""


def test_arguments_are_named_as_in_plan_h() -> None:
    """Each op's arguments have the names of the table, and no two the same."""
    for op, arguments in _TABLE.items():
        names = [name for _, name in arguments]
        assert len(set(names)) == len(names)
        assert named(InitStep(op, *range(len(names)))) == {name: place for place, name in enumerate(names)}
    assert word(lib.TABLE_ARGUMENTS, len(_TABLE) + 1) == ""


def test_the_contract_names_what_plan_h_has() -> None:
    """docs/internals/handshake.md has every sync point, phase, letter and header member, with the numbers of plan.h."""
    page = (Path(__file__).parents[2] / "docs/internals/handshake.md").read_text()
    for name, number in re.findall(r"SYNC\((\w+), (\d+)\)", _HANDSHAKE_H):
        assert f"| `{name}` | {number} |" in page
    phases = re.findall(
        r"PHASE_(\w+)", _HANDSHAKE_H[_HANDSHAKE_H.index("enum { PHASE_none") :].partition(";")[0]
    )
    assert ", ".join(f"{number} {name}" for number, name in enumerate(phases) if number) in page
    letters = set("".join(signature for _, signature in OPS.values()))
    assert letters == set(
        re.findall(r"`(\w)`", page[page.index("| letter |") : page.index("init turns lists")])
    )
    header = _PLAN_H[_PLAN_H.index("struct plan_header {") :].partition("}")[0]
    for member in re.findall(r"uint32_t (\w+);", header):
        assert member in page


def test_details_have_words() -> None:
    """Each detail of plan.h has a name, none is without, and past the end there is none."""
    block = _HANDSHAKE_H[
        _HANDSHAKE_H.index("#define PLAN_DETAILS") : _HANDSHAKE_H.index("enum plan_detail {")
    ]
    names = re.findall(r"\bD\((\w+)\)", block.partition("\n")[2])
    assert [word(lib.TABLE_DETAILS, number) for number in range(len(names) + 1)] == [*names, ""]


def test_everything_comes_back() -> None:
    """Strings, lists, numbers, slots, ignored errnos and indexes are in the buffer as the steps have them."""
    steps = [
        (0, InitStep("mount_fs", "tmpfs", None, ["size=1k", "ro"], 1, 2, 3, 4, "/dev", 5)),
        (3, InitStep("join", Slot("second"), 0x40000000)),
        (9, InitStep("mask", "/proc/kcore", None, ignore=2)),
        (10, InitStep("exec", ["/bin/sh"], ["sh", "", "-c"], [])),
        (11, InitStep("groups", ["0", "4294967295"])),
        (12, InitStep("umask", 0xFFFFFFFF)),
        (13, InitStep("remount", "/x", 1, "data")),
    ]
    assert _decode(encode(steps, ["first", "second"], 7)) == [
        ("mount_fs", 0, 0, ["tmpfs", 0, ["size=1k", "ro"], 1, 2, 3, 4, "/dev", 5]),
        ("join", 0, 3, [1, 0x40000000]),
        ("mask", 2, 9, ["/proc/kcore", 0]),
        ("exec", 0, 10, [["/bin/sh"], ["sh", "", "-c"], []]),
        ("groups", 0, 11, [["0", "4294967295"]]),
        ("umask", 0, 12, [0xFFFFFFFF]),
        ("remount", 0, 13, ["/x", 1, "data"]),
    ]


def test_header_names_slots_and_first_descriptor() -> None:
    """The header says how many slots there are and where init's descriptors begin."""
    buffer = encode([(0, InitStep("setsid"))], ["a", "b"], 5)
    assert struct.unpack_from("<5I", buffer) == (MAGIC, len(buffer), 1, 2, 5)


def test_sync_steps_are_ops() -> None:
    """Started and mounted are `sync` with a number, ready and start are ops of their own."""
    points = ["started", "mounted", "ready", "start"]
    buffer = encode([(index, SyncStep(point, "")) for index, point in enumerate(points)], [], 3)
    assert [(name, args) for name, _, _, args in _decode(buffer)] == [
        ("sync", [SYNC_POINTS["started"]]),
        ("sync", [SYNC_POINTS["mounted"]]),
        ("ready", []),
        ("wait_start", []),
    ]


def test_equal_strings_are_kept_once() -> None:
    """A plan with the same text in many steps does not grow with it; init mends what it cuts."""
    one = encode([(0, InitStep("mkdir", "/a/long/path", 0))], [], 3)
    two = encode([(index, InitStep("mkdir", "/a/long/path", 0)) for index in range(2)], [], 3)
    assert len(two) - len(one) == _RECORD
    assert [args for *_, args in _decode(two)] == [["/a/long/path", 0]] * 2


def test_lists_are_never_shared() -> None:
    """Init turns a list into pointers in place: equal lists of two steps are two."""
    steps = [(index, InitStep("find_program", ["/bin/sh"])) for index in range(2)]
    buffer = encode(steps, [], 3)
    places = [struct.unpack_from("<I", buffer, _HEADER + number * _RECORD + 8)[0] for number in range(2)]
    assert places[0] != places[1]


@pytest.mark.parametrize("text", ["", "\udcff\udc80", "é", "a" * 100_000, "new\nline", "=,;"])
def test_any_text_that_has_no_nul(text: str) -> None:
    """Arguments and paths that are not UTF-8 pass through unchanged."""
    buffer = encode([(0, InitStep("exec", [text], [text], [f"A={text}"]))], [], 3)
    assert _decode(buffer)[0][3] == [[text], [text], [f"A={text}"]]


@pytest.mark.parametrize("text", ["a\0b", "\0", "\ud800", "a\udfff"])
def test_text_that_no_system_call_takes(text: str) -> None:
    """NUL and lone surrogates are the config's mistake, wherever they are, and the error says where."""
    steps = [
        InitStep("hostname", text, pointer="/x/1"),
        InitStep("exec", ["/bin/sh"], ["sh", text], [], pointer="/x/1"),
        InitStep("mkdir", f"/{text}", 0, pointer="/x/1"),
    ]
    for step in steps:
        with pytest.raises(InvalidConfig) as caught:
            encode([(0, step)], [], 3)
        assert caught.value.pointer == "/x/1"


def test_mistakes_of_a_subject_are_found() -> None:
    """Too few or too many arguments, or an unknown slot, fail before anything is cloned."""
    with pytest.raises(RuntimeError, match="mkdir takes 2 arguments, not 1"):
        encode([(0, InitStep("mkdir", "/x"))], [], 3)
    with pytest.raises(RuntimeError, match="takes 0 arguments"):
        encode([(0, InitStep("setsid", 1))], [], 3)
    with pytest.raises(KeyError):
        encode([(0, InitStep("join", Slot("nobody opens it"), 0))], [], 3)
    with pytest.raises(KeyError):
        encode([(0, InitStep("no_such_op"))], [], 3)
    with pytest.raises((AssertionError, AttributeError)):
        encode([(0, HostStep("host_step", {}))], [], 3)


def test_empty_plan_is_refused() -> None:
    """A plan without a record would leave init with nothing to become."""
    with pytest.raises(RuntimeError, match="malformed"):
        encode([], [], 3)


def test_verify_names_the_place() -> None:
    """The error has the offset of the record that is wrong."""
    buffer = bytearray(encode([(0, InitStep("setsid")), (1, InitStep("setsid"))], [], 3))
    buffer[_HEADER + _RECORD] = 0xFF
    with pytest.raises(RuntimeError, match=f"byte {_HEADER + _RECORD}"):
        verify(bytes(buffer))
