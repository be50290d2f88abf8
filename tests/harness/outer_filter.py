# SPDX-License-Identifier: Apache-2.0
"""Executes a program under a seccomp filter, as an engine or a service manager sets one around the runtime.

    python3 outer_filter.py ERRNO CALL[,CALL ...] PROGRAM [ARGUMENT ...]

Each call, by its name, is answered with that error. Must not import anything of `ociruntime`, nor of the tests.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys

NUMBERS = {
    "x86_64": {"pivot_root": 155, "mount": 165, "unshare": 272, "keyctl": 250, "memfd_create": 319},
    "aarch64": {"pivot_root": 41, "mount": 40, "unshare": 97, "keyctl": 219, "memfd_create": 279},
}[platform.machine()]
NUMBERS.update(fsopen=430, openat2=437, clone3=435, mount_setattr=442)

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000
_NO_NEW_PRIVS, _SET_SECCOMP = 38, 22


def load(error: int, names: list[str]) -> None:
    """Load the filter; as root, without no_new_privs."""
    words = [(_LOAD, 0, 0, 0)]
    for name in names:
        words += [(_EQUAL, 0, 1, NUMBERS[name]), (_RETURN, 0, 0, _ERRNO | error)]
    words.append((_RETURN, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *word) for word in words))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(words), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0:
        libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0)
    if libc.prctl(_SET_SECCOMP, 2, ctypes.byref(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


if __name__ == "__main__":
    load(getattr(errno, sys.argv[1]), sys.argv[2].split(","))
    os.execvp(sys.argv[3], sys.argv[3:])
