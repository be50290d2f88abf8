# SPDX-License-Identifier: Apache-2.0
"""How does an extension module that exists only as a shared object become a part of a static program?

Debian has libpython as an archive, but `_json`, `resource` and `_cffi_backend` only as .so files, and a build must not
download their sources. A .so file is already linked, except for the addresses that the dynamic linker would fill in: those are
written here as assembler, so that ld fills them in. Each segment becomes a section, and the linker script puts them at the same
distances from each other as in the file, because their code reaches data by distance.

x86_64 and aarch64. Used by build.py, never at run time; must not import anything of the package.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LOAD, _DYNAMIC, _TLS = 1, 2, 7
_WRITABLE, _EXECUTABLE = 2, 1
_STRTAB, _SYMTAB, _RELA, _RELASZ, _JMPREL, _PLTRELSZ, _TEXTREL = 5, 6, 7, 8, 23, 2, 22
_WEAK = 2

# What a relocation asks for: the address of a symbol; a place in this object; the number of the object that has a thread-local
# variable, its offset being in the word that follows; or two words: a function, and what it needs to find the variable.
SYMBOL, RELATIVE, MODULE, DESCRIPTOR = range(4)
# e_machine -> the numbers of its relocations (the psABI of each).
RELOCATIONS = {
    62: {1: SYMBOL, 6: SYMBOL, 7: SYMBOL, 8: RELATIVE, 16: MODULE},  # x86_64
    183: {257: SYMBOL, 1025: SYMBOL, 1026: SYMBOL, 1027: RELATIVE, 1031: DESCRIPTOR},  # aarch64
}


class ImageError(Exception):
    """The file has something that can't be linked in."""


class Segment:
    """A part of the file that is mapped."""

    def __init__(self, flags: int, offset: int, address: int, in_file: int, in_memory: int) -> None:
        self.offset, self.address, self.in_file, self.in_memory = offset, address, in_file, in_memory
        self.writable = bool(flags & _WRITABLE)
        self.kind = "aw" if self.writable else "ax" if flags & _EXECUTABLE else "a"


class Image:
    """One shared object.

    renamed   symbols that it shall find under another name
    """

    def __init__(self, path: str, name: str, renamed: Mapping[str, str]) -> None:
        self.path, self.name, self._renamed = path, name, renamed
        with open(path, "rb") as file:
            self._bytes = file.read()
        if self._bytes[:6] != b"\x7fELF\2\1" or self._u16(18) not in RELOCATIONS:
            raise ImageError(f"{path}: not a shared object for x86_64 or aarch64")
        self._relocations = RELOCATIONS[self._u16(18)]
        self.segments: list[Segment] = []
        self._dynamic: dict[int, int] = {}
        self._read_headers()
        if _TEXTREL in self._dynamic:
            raise ImageError(f"{path}: its code would have to be changed")

    def _u16(self, offset: int) -> int:
        return int.from_bytes(self._bytes[offset : offset + 2], "little")

    def _read_headers(self) -> None:
        (start,) = struct.unpack_from("<Q", self._bytes, 32)
        for number in range(self._u16(56)):
            kind, flags, offset, address, _, in_file, in_memory, _ = struct.unpack_from(
                "<IIQQQQQQ", self._bytes, start + number * 56
            )
            if kind == _LOAD:
                self.segments.append(Segment(flags, offset, address, in_file, in_memory))
            elif kind == _DYNAMIC:
                self._dynamic = dict(struct.iter_unpack("<QQ", self._bytes[offset : offset + in_file]))
            elif kind == _TLS and (in_file or in_memory > 64):  # the room in snapshot_tls
                raise ImageError(f"{self.path}: more thread-local data than expected")

    def _symbol(self, number: int) -> tuple[str, int, bool, bool]:
        """Name, value, whether it is defined here, and whether it may be missing."""
        where = self._dynamic[_SYMTAB] + number * 24
        at, info, _, section, value, _ = struct.unpack_from("<IBBHQQ", self._bytes, where)
        begin = self._dynamic[_STRTAB] + at
        name = self._bytes[begin : self._bytes.index(b"\0", begin)].decode()
        return name, value, section != 0, info >> 4 == _WEAK

    def _fixups(self) -> Iterator[tuple[int, str, str]]:
        """(address, expression, name of a weak symbol or "") of each word that the dynamic linker would write."""
        tables = ((_RELA, _RELASZ), (_JMPREL, _PLTRELSZ))
        for table, size in tables:
            begin = self._dynamic.get(table, 0)
            for address, info, addend in struct.iter_unpack(
                "<QQq", self._bytes[begin : begin + self._dynamic.get(size, 0)]
            ):
                kind, number = info & 0xFFFFFFFF, info >> 32
                if self._relocations.get(kind) == DESCRIPTOR and number == 0:
                    yield address, "snapshot_descriptor", ""
                    yield address + 8, f"snapshot_storage + {addend}", ""
                else:
                    yield address, *self._expression(kind, number, addend)

    def _expression(self, kind: int, number: int, addend: int) -> tuple[str, str]:
        meaning = self._relocations.get(kind)
        if meaning == RELATIVE:
            return f"{self.name} + {addend}", ""
        if meaning == MODULE and number == 0:
            return "0", ""
        if meaning != SYMBOL:
            raise ImageError(f"{self.path}: relocation {kind} is not known")
        name, value, defined, weak = self._symbol(number)
        if defined:
            return f"{self.name} + {value + addend}", ""
        return f"{self._renamed.get(name, name)} + {addend}", name if weak else ""

    def init_function(self, module: str) -> int:
        """The address of PyInit_MODULE."""
        wanted = f"PyInit_{module.rpartition('.')[2]}"
        number = 1
        while self._dynamic[_SYMTAB] + number * 24 < self._dynamic[_STRTAB]:  # the names follow the symbols
            name, value, defined, _ = self._symbol(number)
            if defined and name == wanted:
                return value
            number += 1
        raise ImageError(f"{self.path}: no {wanted}")

    def assembler(self) -> str:
        """The source of the sections."""
        fixups = {address: (expression, weak) for address, expression, weak in self._fixups()}
        lines = [f".weak {weak}" for _, weak in fixups.values() if weak]
        for number, part in enumerate(self.segments):
            lines.append(f'.section .{self.name}.{number}, "{part.kind}", @progbits')
            at, end = part.address, part.address + part.in_file
            for address in sorted(fixups):
                if not part.address <= address < end:
                    continue
                lines.append(self._verbatim(part, at, address))
                lines.append(f".quad {fixups.pop(address)[0]}")
                at = address + 8
            lines.append(self._verbatim(part, at, end))
            lines.append(f".zero {part.in_memory - part.in_file}")
        if fixups:
            raise ImageError(f"{self.path}: relocations outside of the data")
        return "\n".join([*lines, '.section .note.GNU-stack, "", @progbits', ""])

    def _verbatim(self, part: Segment, begin: int, end: int) -> str:
        if end == begin:
            return ""
        return f'.incbin "{self.path}", {part.offset + begin - part.address}, {end - begin}'

    def placement(self) -> str:
        """The part of the linker script."""
        lines = [f"  {self.name} = ALIGN(CONSTANT(MAXPAGESIZE));"]
        for number, part in enumerate(self.segments):
            section = f".{self.name}.{number}"
            lines.append(f"  {section} ({self.name} + {part.address}) : {{ KEEP(*({section})) }}")
        return "\n".join(lines)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Where data lies that may change."""
        for part in self.segments:
            if part.writable:
                yield part.address, part.address + part.in_memory
