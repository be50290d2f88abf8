# SPDX-License-Identifier: Apache-2.0
"""How do the rules of a filter become a program that the kernel runs? By libseccomp, which is loaded only here.

The library's program answers with the default action for calls that the profile's author did not know of. A C
library that tries a new call and falls back on an older one needs ENOSYS for that, and takes EPERM as final.
So, as in runc, a few instructions go before the library's: for each architecture a number above all that the
profile names is answered with ENOSYS, unless the default lets calls through or is ENOSYS itself.

Must not import the subject or the cache.
"""

from __future__ import annotations

import errno
import os
import struct

from ociruntime.descriptors import Descriptors
from ociruntime.errors import StepFailed
from ociruntime.native._seccomp import ffi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.native._seccomp import CData, Library

LIBRARY = "libseccomp.so.2"
_HINT = "apt-get install libseccomp2 (2.5 or newer)"
_OLDEST = (2, 5)
_STEP = "compile seccomp filter"
_POINTER = "/linux/seccomp"

_UNKNOWN = -1  # __NR_SCMP_ERROR; other negative numbers stand for calls of other architectures
_LARGEST_PROGRAM = 4096  # instructions, BPF_MAXINSNS

# Classic BPF: code, jump if true, jump if false, operand. linux/filter.h; offsets are those of struct seccomp_data.
_INSTRUCTION = struct.Struct("=HBBI")
_LOAD, _EQUAL, _GREATER, _AT_LEAST, _JUMP, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x05, 0x06
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET = 0, 4

_RET_ERRNO = 0x00050000
_DATA = 0x0000FFFF
_NO_SUCH_CALL = _RET_ERRNO | errno.ENOSYS
_LETTING_THROUGH = (0x7FFF0000, 0x7FFC0000, 0x7FF00000)  # allow, log, trace: a tracer answers for itself

# x32 is x86_64 to the kernel, with this bit in its numbers.
_X86_64, _X32 = 0xC000003E, 0x4000003E
_X32_BIT = 0x40000000


def load_library() -> Library:
    """libseccomp; StepFailed if it is not installed or too old."""
    try:
        library = ffi.dlopen(LIBRARY)
    except OSError as failure:
        raise StepFailed(f"{LIBRARY} can't be loaded: {failure}", pointer=_POINTER, hint=_HINT) from None
    version = library.seccomp_version()
    if (version.major, version.minor) < _OLDEST:
        raise StepFailed(f"libseccomp {version_text(library)} is too old", pointer=_POINTER, hint=_HINT)
    return library


def version_text(library: Library) -> str:
    """The library's version: "2.5.4"."""
    version = library.seccomp_version()
    return f"{version.major}.{version.minor}.{version.micro}"


def compile_filter(library: Library, request: dict[str, object]) -> tuple[bytes, list[str]]:
    """The program of a filter, and warnings about architectures that the library can't add.

    request   as seccomp.request makes it
    Raises StepFailed if a rule can't be compiled.
    """
    default = request["default"]
    assert isinstance(default, int)
    context = library.seccomp_init(default)
    if context == ffi.NULL:
        raise _failed(f"action {default:#x}", errno.EINVAL)
    try:
        architectures, warnings = _add_architectures(library, context, request["architectures"])
        _add_rules(library, context, request)
        program = _export(library, context)
    finally:
        library.seccomp_release(context)
    known = _largest_numbers(library, architectures, request["rules"])
    program = _unknown_calls(default, known) + program
    count = len(program) // _INSTRUCTION.size
    if count > _LARGEST_PROGRAM:
        raise _failed(f"{count} instructions, and the kernel takes up to {_LARGEST_PROGRAM}", errno.E2BIG)
    return program, warnings


def _failed(what: str, number: int, pointer: str = _POINTER) -> StepFailed:
    return StepFailed(what, pointer=pointer, step=_STEP, errno=number)


def _add_architectures(library: Library, context: CData, names: object) -> tuple[list[int], list[str]]:
    """The native one is always there. Programs of an architecture that the library does not know, or whose byte order
    is not this machine's, can't run here: its calls are killed like those of any architecture that is not listed.
    """
    assert isinstance(names, list)
    found = [library.seccomp_arch_native()]
    refused = []
    for name in names:
        architecture = library.seccomp_arch_resolve_name(
            str(name).removeprefix("SCMP_ARCH_").lower().encode()
        )
        done = library.seccomp_arch_add(context, architecture) if architecture else -errno.EINVAL
        if done == 0:
            found.append(architecture)
        elif architecture == 0 or done == -errno.EDOM:
            refused.append(str(name))
        elif done != -errno.EEXIST:
            raise _failed(str(name), -done, f"{_POINTER}/architectures")
    if not refused:
        return found, []
    by = f"libseccomp {version_text(library)} on {os.uname().machine}"
    return found, [f"{_POINTER}/architectures: {' '.join(refused)}: left out, not supported by {by}"]


def _add_rules(library: Library, context: CData, request: dict[str, object]) -> None:
    rules, default = request["rules"], request["default"]
    assert isinstance(rules, list)
    for index, (names, action, conditions) in enumerate(rules):
        if action == default:
            continue  # libseccomp refuses what changes nothing
        arrays = [ffi.new("struct scmp_arg_cmp[]", group) for group in _alternatives(conditions)]
        for position, name in enumerate(names):
            number = library.seccomp_syscall_resolve_name(_encoded(name))
            pointer = f"{_POINTER}/syscalls/{index}/names/{position}"
            if number == _UNKNOWN:
                if request["failUnknown"]:
                    raise _failed(
                        f"libseccomp {version_text(library)} does not know {name}", errno.ENOSYS, pointer
                    )
                continue
            for array, group in zip(arrays, _alternatives(conditions), strict=True):
                done = library.seccomp_rule_add_array(context, action, number, len(group), array)
                if done < 0:
                    raise _failed(name, -done, pointer)


def _alternatives(conditions: list[list[int]]) -> list[list[list[int]]]:
    """All conditions must hold, but libseccomp takes one for each argument. With two for the same argument each
    condition is a rule of its own, as in runc and crun: one of them is enough.
    """
    arguments = [condition[0] for condition in conditions]
    if len(set(arguments)) == len(arguments):
        return [conditions]
    return [[condition] for condition in conditions]


def _encoded(name: str) -> bytes:
    """A name that no C string can hold is not a system call's: it must not be cut off at its NUL."""
    return name.replace("\0", "?").encode("utf-8", "replace")


def _export(library: Library, context: CData) -> bytes:
    with Descriptors() as opened:
        opened["memory"] = memory = os.memfd_create("seccomp", os.MFD_CLOEXEC)
        done = library.seccomp_export_bpf(context, memory)
        if done < 0:
            raise _failed("seccomp_export_bpf", -done)
        return os.pread(memory, os.fstat(memory).st_size, 0)


def _largest_numbers(library: Library, architectures: list[int], rules: object) -> dict[int, int]:
    """Architecture -> the largest number among the calls that the profile names."""
    assert isinstance(rules, list)
    names = {_encoded(name) for listed, _, _ in rules for name in listed}
    found = {}
    for architecture in architectures:
        numbers = [library.seccomp_syscall_resolve_name_arch(architecture, name) for name in names]
        largest = max(numbers, default=-1)
        if largest >= 0:
            found[architecture] = largest
    return found


def _unknown_calls(default: int, largest: dict[int, int]) -> bytes:
    """The instructions that answer ENOSYS to numbers above the largest known; then the program continues."""
    if default == _NO_SUCH_CALL or (default & ~_DATA) in _LETTING_THROUGH:
        return b""
    blocks = []
    for architecture, number in largest.items():
        if architecture == _X32 and _X86_64 in largest:
            continue  # with x86_64
        if architecture == _X86_64 and _X32 in largest:
            blocks.append(_block(_X86_64, number, largest[_X32]))
        elif architecture == _X32:
            blocks.append(_block(_X86_64, _X32_BIT - 1, number))
        else:
            blocks.append(_block(architecture, number))
    program = [(_LOAD, 0, 0, _ARCHITECTURE_OFFSET)] if blocks else []
    rest = sum(len(block) + 1 for block in blocks)
    for block in blocks:
        rest -= len(block) + 1
        program += [*block, (_JUMP, 0, 0, rest)]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in program)


def _block(architecture: int, largest: int, largest_x32: int = 0) -> list[tuple[int, int, int, int]]:
    """For one architecture; continues after its end (where a jump leads out) or with the next block."""
    if largest_x32:
        return [
            (_EQUAL, 0, 6, architecture),
            (_LOAD, 0, 0, _NUMBER_OFFSET),
            (_AT_LEAST, 1, 0, _X32_BIT),
            (_GREATER, 1, 2, largest),
            (_GREATER, 0, 1, largest_x32),
            (_RETURN, 0, 0, _NO_SUCH_CALL),
        ]
    return [
        (_EQUAL, 0, 4, architecture),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        (_GREATER, 0, 1, largest),
        (_RETURN, 0, 0, _NO_SUCH_CALL),
    ]
