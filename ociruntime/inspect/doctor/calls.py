# SPDX-License-Identifier: Apache-2.0
"""How do the probes call the kernel? What Python 3.11 and the C part have no function for, by ctypes; and processes.

A probe runs in a child of its own and may change whatever belongs to a process. Imports no probe.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform

from ociruntime.inspect.doctor.answers import Lacking
from ociruntime.linux.namespace_entries import CLONE_NEWNS, CLONE_NEWUSER
from ociruntime.linux.refusals import facts, ids, mounts, namespaces
from ociruntime.linux.uapi import MS_PRIVATE, MS_REC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.linux.refusals import Remedy

_libc = ctypes.CDLL(None, use_errno=True)

# Those that differ; from 424 on all architectures have the same.
_NUMBERS = {
    "x86_64": {"pivot_root": 155, "seccomp": 317, "getppid": 110, "keyctl": 250, "execveat": 322, "memfd_create": 319, "setns": 308},
    "aarch64": {"pivot_root": 41, "seccomp": 277, "getppid": 173, "keyctl": 219, "execveat": 281, "memfd_create": 279, "setns": 268},
}  # fmt: skip
NUMBERS = {
    **_NUMBERS.get(platform.machine(), {}),
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
}

PLACE = "/tmp"  # only a mount point, in a mount namespace of the probe's own

_OTHER_FAILURE = 255


def system_call(name: str, *arguments: object) -> int:
    """The result of a system call, by its name. Raises OSError."""
    result: int = _libc.syscall(NUMBERS[name], *arguments)
    return _checked(result, name)


def prctl(option: int, *arguments: object) -> None:
    """Change something of this process. Raises OSError."""
    _checked(_libc.prctl(option, *arguments), "prctl")


def _checked(result: int, name: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return result


def unshare(flags: int) -> None:
    """Go into new namespaces. Raises Lacking with the remedy for these namespaces."""
    if _libc.unshare(flags) < 0:
        number = ctypes.get_errno()
        raise Lacking("unshare", number, namespaces.remedy(number, flags))


def mount(kind: str, target: str, options: str = "", *, source: str = "none") -> None:
    """Mount a new file system. Raises OSError."""
    _checked(
        _libc.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode() or None), "mount"
    )


def enter_user_namespace() -> None:
    """Become root of a new user namespace in which only the caller's own ids are mapped. Raises Lacking."""
    uid, gid = os.geteuid(), os.getegid()
    unshare(CLONE_NEWUSER)
    for file, value in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        try:
            with open(f"/proc/self/{file}", "w", encoding="ascii") as opened:
                opened.write(value)
        except OSError as failure:
            number = failure.errno or 0
            why = (
                namespaces.restriction()
                or facts.outer_profile()
                or ids.map_refused(number, file, [[0, uid, 1]])
            )
            raise Lacking(f"write {file}", number, why) from None


def own_mounts(*, users: bool, flags: int = 0) -> None:
    """Go into a new mount namespace, and others; if `users`, as root of a new user namespace. Raises Lacking."""
    if users:
        enter_user_namespace()
    unshare(CLONE_NEWNS | flags)
    result: int = _libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
    if result < 0:
        number = ctypes.get_errno()
        raise Lacking("make / private", number, facts.outer_filter() or facts.outer_profile())


def tmpfs(*, users: bool) -> None:
    """An empty directory at PLACE. Raises Lacking."""
    try:
        mount("tmpfs", PLACE)
    except OSError as failure:
        number = failure.errno or 0
        raise Lacking(
            "mount tmpfs", number, mounts.remedy(number, "tmpfs", in_user_namespace=users)
        ) from None


def in_child(act: Callable[[], None]) -> int:
    """Call `act` in a child process; returns 0, or the errno of the OSError that it raised.

    Raises OSError if there can be no child. Its death by a signal counts as EINTR.
    """
    pid = os.fork()
    if pid == 0:
        code = _OTHER_FAILURE
        try:
            act()
            code = 0
        except OSError as failure:
            code = failure.errno or _OTHER_FAILURE
        finally:
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    return errno.EINTR if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def expect(what: str, number: int, remedy: Remedy | None = None) -> None:
    """Raise Lacking unless `number` is 0."""
    if number:
        raise Lacking(what, number, remedy)
