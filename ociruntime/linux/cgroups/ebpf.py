# SPDX-License-Identifier: Apache-2.0
"""The device rules as an eBPF program, for cgroup v2, which has no device controller.

The kernel runs the program at each open and mknod of a device (BPF_PROG_TYPE_CGROUP_DEVICE) and allows
it if the program returns 1. Instructions are those of the kernel's Documentation/bpf/standardization.
It must not import config or devices: rules are lists [allow, kind, major, minor, access].
"""

from __future__ import annotations

import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANY = -1
# struct bpf_cgroup_dev_ctx: access_type (access << 16 | type), major, minor
_KINDS = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL = 7

# Instruction classes and operations (32-bit arithmetic and jumps: numbers of devices are u32).
LOAD = 0x61  # LDX | MEM | W: dst = *(u32 *)(src + offset)
MOVE = 0xB4  # ALU | MOV | K
COPY = 0xBC  # ALU | MOV | X
AND = 0x54  # ALU | AND | K
SHIFT = 0x74  # ALU | RSH | K
JUMP = 0x05  # JMP | JA
JUMP_UNEQUAL = 0x56  # JMP32 | JNE | K
JUMP_SET = 0x46  # JMP32 | JSET | K
EXIT = 0x95
_RESULT, _CONTEXT, _KIND, _WANTED, _MAJOR, _MINOR = range(6)

_PROG_LOAD, _PROG_ATTACH = 5, 8
_PROG_TYPE_CGROUP_DEVICE = 15
_ATTACH_CGROUP_DEVICE = 6
_ALLOW_MULTI = 2


def program(rules: list[list[Any]]) -> bytes:
    """The program for rules in the config's order: for each access, the last rule that names it counts.

    The rules are tried from the last to the first. `_WANTED` holds the accesses that are still undecided:
    an allow rule removes its own, and a deny rule ends the program if it names one of the rest.
    """
    code = [
        _instruction(LOAD, _KIND, _CONTEXT, 0),
        _instruction(COPY, _WANTED, _KIND),
        _instruction(SHIFT, _WANTED, constant=16),
        _instruction(AND, _KIND, constant=0xFFFF),
        _instruction(LOAD, _MAJOR, _CONTEXT, 4),
        _instruction(LOAD, _MINOR, _CONTEXT, 8),
    ]
    for allow, kind, major, minor, access in reversed(rules):
        bits = sum(_ACCESS[letter] for letter in access)
        if not bits:
            continue
        tests = [(_KIND, _KINDS.get(kind, ANY)), (_MAJOR, major), (_MINOR, minor)]
        tests = [(register, number) for register, number in tests if number != ANY]
        if not tests and bits == _ALL:
            # Nothing after this could be reached, and the verifier refuses unreachable code.
            return b"".join([*code, *_leave(int(allow))])
        code += _rule(tests, bits, allow)
    return b"".join([*code, *_leave(0)])


def _rule(tests: list[tuple[int, int]], bits: int, allow: bool) -> list[bytes]:
    if allow:
        body = [
            _instruction(AND, _WANTED, constant=_ALL & ~bits),
            _instruction(JUMP_UNEQUAL, _WANTED, offset=2),
            *_leave(1),
        ]
    else:
        body = [
            _instruction(JUMP_SET, _WANTED, offset=1, constant=bits),
            _instruction(JUMP, offset=2),
            *_leave(0),
        ]
    code = []
    for index, (register, number) in enumerate(tests):
        over = len(tests) - index - 1 + len(body)
        code.append(_instruction(JUMP_UNEQUAL, register, offset=over, constant=number))
    return code + body


def _leave(result: int) -> list[bytes]:
    return [_instruction(MOVE, _RESULT, constant=result), _instruction(EXIT)]


def _instruction(code: int, target: int = 0, source: int = 0, offset: int = 0, constant: int = 0) -> bytes:
    # struct bpf_insn; both registers share a byte, and x86, arm64, riscv64, ppc64le are little-endian
    return struct.pack("<BBhI", code, source << 4 | target, offset, constant & 0xFFFFFFFF)


def attach(directory: str, rules: list[list[Any]]) -> None:
    """Load the program and attach it to a cgroup2 directory; it goes away with the directory.

    Programs of the cgroups above it stay in force as well. Raises OSError.
    """
    loaded = _load(program(rules))
    try:
        target = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            attributes = struct.pack("=IIII", target, loaded, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI)
            _bpf(_PROG_ATTACH, attributes, directory)
        finally:
            os.close(target)
    finally:
        os.close(loaded)


def _load(code: bytes) -> int:
    licence = b"Apache-2.0\0"
    buffers = [bytearray(code), bytearray(licence)]
    attributes = struct.pack(
        "=IIQQIIQII16s",
        _PROG_TYPE_CGROUP_DEVICE,
        len(code) // 8,
        _address(buffers[0]),
        _address(buffers[1]),
        0,
        0,
        0,
        0,
        0,
        b"ociruntime_dev",
    )
    try:
        return _bpf(_PROG_LOAD, attributes, "bpf")
    except OSError as failure:
        raise OSError(failure.errno, f"device program: {failure.strerror}") from None


def _address(buffer: bytearray) -> int:
    from ociruntime.native import _shim

    ffi: Any = _shim.ffi
    return int(ffi.cast("uintptr_t", ffi.from_buffer(buffer)))


def _bpf(command: int, attributes: bytes, path: str) -> int:
    from ociruntime.native._shim import ffi, lib

    buffer = ffi.from_buffer(bytearray(attributes))
    result = lib.shim_bpf(command, buffer, len(attributes))
    if result < 0:
        raise OSError(-result, os.strerror(-result), path)
    return result
