# SPDX-License-Identifier: Apache-2.0
"""Does a shared object become assembler in which `ld` fills in what the dynamic linker would? For both processors.

The file is made here, byte by byte, so that no compiler for another processor is needed. tests/native/test_snapshot_aarch64.py
builds with real ones.
"""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING

import pytest

from ociruntime.cli.snapshot import build, order
from ociruntime.cli.snapshot.image import Image, ImageError

if TYPE_CHECKING:
    from pathlib import Path

X86_64, AARCH64, RISCV = 62, 183, 243
STRTAB, SYMTAB, RELA, RELASZ = 5, 6, 7, 8
NAMES = b"\0malloc\0PyInit_x\0maybe\0"
OUTSIDE, INSIDE, WEAK = 1, 2, 3  # numbers of symbols
DATA = 0x200  # where the words are that relocations change; all is one segment at address 0


def shared_object(path: Path, machine: int, *relocations: tuple[int, int, int]) -> Image:
    """A file with these relocations (number, symbol, addend), two words for each."""
    symbols = b"".join(
        struct.pack("<IBBHQQ", name, bind << 4, 0, section, value, 0)
        for name, bind, section, value in (
            (0, 0, 0, 0),
            (NAMES.index(b"malloc"), 1, 0, 0),
            (NAMES.index(b"PyInit_x"), 1, 1, 0x150),
            (NAMES.index(b"maybe"), 2, 0, 0),
        )
    )
    table = b"".join(
        struct.pack("<QQq", DATA + 16 * place, symbol << 32 | kind, addend)
        for place, (kind, symbol, addend) in enumerate(relocations)
    )
    at_symbols = DATA + 16 * len(relocations)
    at_names = at_symbols + len(symbols)
    at_table = at_names + len(NAMES)
    at_dynamic = at_table + len(table)
    entries = ((SYMTAB, at_symbols), (STRTAB, at_names), (RELA, at_table), (RELASZ, len(table)), (0, 0))
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    end = at_dynamic + len(dynamic)
    head = b"\x7fELF\2\1".ljust(18, b"\0") + struct.pack("<HIQQQIHHH", machine, 1, 0, 64, 0, 0, 64, 56, 2)
    head = head.ljust(64, b"\0")
    head += struct.pack("<IIQQQQQQ", 1, 6, 0, 0, 0, end, end + 32, 65536)
    head += struct.pack("<IIQQQQQQ", 2, 6, at_dynamic, at_dynamic, 0, len(dynamic), len(dynamic), 8)
    body = head.ljust(DATA, b"\0") + bytes(16 * len(relocations)) + symbols + NAMES + table + dynamic
    path.write_bytes(body)
    return Image(str(path), "image_x", {"malloc": "snapshot_malloc"})


def quads(image: Image) -> list[str]:
    """What ld is to fill in, in the order of addresses."""
    return re.findall(r"^\.quad (.*)$", image.assembler(), re.MULTILINE)


@pytest.mark.parametrize(
    ("machine", "symbolic", "relative"), [(X86_64, (1, 6, 7), 8), (AARCH64, (257, 1025, 1026), 1027)]
)
def test_addresses(tmp_path: Path, machine: int, symbolic: tuple[int, ...], relative: int) -> None:
    """Of symbols that are defined elsewhere (perhaps under another name), here, or perhaps nowhere; and of places."""
    for kind in symbolic:
        image = shared_object(
            tmp_path / "x.so",
            machine,
            (kind, OUTSIDE, 3),
            (kind, INSIDE, 8),
            (kind, WEAK, 0),
            (relative, 0, 0x40),
        )
        assert quads(image) == ["snapshot_malloc + 3", "image_x + 344", "maybe + 0", "image_x + 64"]
        assert ".weak maybe\n" in image.assembler()
        assert image.init_function("package.x") == 0x150


def test_thread_local_variables(tmp_path: Path) -> None:
    """x86_64 asks a function for the place; aarch64 calls the one that the descriptor names, with the second word."""
    assert quads(shared_object(tmp_path / "x.so", X86_64, (16, 0, 0))) == ["0"]
    assert quads(shared_object(tmp_path / "x.so", AARCH64, (1031, 0, 4))) == [
        "snapshot_descriptor",
        "snapshot_storage + 4",
    ]


@pytest.mark.parametrize(
    ("machine", "kind", "symbol"),
    [
        (X86_64, 1027, 0),  # of the other processor
        (X86_64, 37, 0),  # IRELATIVE: a function is to be called
        (X86_64, 16, OUTSIDE),  # a variable of another object
        (AARCH64, 8, 0),
        (AARCH64, 1032, 0),
        (AARCH64, 1031, OUTSIDE),
    ],
)
def test_what_is_not_known_ends_the_build(tmp_path: Path, machine: int, kind: int, symbol: int) -> None:
    """With the number."""
    image = shared_object(tmp_path / "x.so", machine, (kind, symbol, 0))
    with pytest.raises(ImageError, match=f"x.so: relocation {kind} is not known"):
        image.assembler()


def test_another_processor(tmp_path: Path) -> None:
    """It is said which ones there are."""
    with pytest.raises(ImageError, match=r"x\.so: not a shared object for x86_64 or aarch64"):
        shared_object(tmp_path / "x.so", RISCV)


def test_large_pages_give_a_snapshot_without_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trial is not even started; the build goes on, and says what is lost."""
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 65536}.__getitem__)
    places = build._places("/nonexistent/raw", str(tmp_path), [], with_rights=False)
    places.write(str(tmp_path / "order"))
    order.Places(order.Trial()).write(str(tmp_path / "none"))
    assert (tmp_path / "order").read_bytes() == (tmp_path / "none").read_bytes()
    words = "the kernel has pages of 65536 bytes, and it needs 4096"
    assert capsys.readouterr().err == f"ociruntime: the trial failed ({words}): the snapshot will be slower\n"
