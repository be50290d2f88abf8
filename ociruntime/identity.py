# SPDX-License-Identifier: Apache-2.0
"""Is this pid still the process that we mean? A pid is reused; with its start time it is not.

This module must not import anything of the package: it is on the path of `state`.
"""

from __future__ import annotations

import errno
import os

_PF_EXITING = 0x4  # linux/sched.h


def process_times(pid: int) -> tuple[str, int]:
    """(state letter, start time in clock ticks since boot) of a process; ("", 0) if there is none. proc(5)."""
    fields = _stat(pid)
    return (fields[0].decode(), int(fields[19])) if fields else ("", 0)


def lives(pid: int, start_time: object) -> bool:
    """Is it that process, and not one that has ended, or is ending?

    The first process of a pid namespace ends only after all the others, however long that takes.
    """
    fields = _stat(pid)
    if not fields or int(fields[19]) != start_time:
        return False
    return fields[0] not in (b"Z", b"X") and not int(fields[6]) & _PF_EXITING


def _stat(pid: int) -> list[bytes]:
    """What stands in /proc/PID/stat after the name; nothing if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def open_process(pid: int) -> int:
    """A pidfd of a process, to be compared with its start time. Raises ProcessLookupError if it is gone.

    Before Linux 6.16 the answer may be EINVAL: the number is still that of a session or process group whose
    leader has been reaped, because the leader's children live on.
    """
    try:
        return os.pidfd_open(pid)
    except OSError as failure:
        if failure.errno != errno.EINVAL:
            raise
    raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))


def identify(pid: int) -> dict[str, object]:
    """What identifies a running process on this host: its pid and its start time."""
    return {"pid": pid, "start_time": process_times(pid)[1]}
