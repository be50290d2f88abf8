# SPDX-License-Identifier: Apache-2.0
"""Is this pid still the process that we mean? A pid is reused; with its start time it is not.

This module must not import anything of the package: it is on the path of `state`.
"""

from __future__ import annotations

import errno
import os


def process_times(pid: int) -> tuple[str, int]:
    """(state letter, start time in clock ticks since boot) of a process; ("", 0) if there is none. proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return "", 0
    return fields[0].decode(), int(fields[19])


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
