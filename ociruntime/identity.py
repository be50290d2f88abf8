# SPDX-License-Identifier: Apache-2.0
"""Which process is it, does it live, and is it frozen? A pid is reused; with its start time it is not. And is this one root?

Freezing and thawing is in linux/cgroups/freezer.py. This module must not import anything of the package: it is on the path
of `state`.
"""

from __future__ import annotations

import errno
import os

_PROC = "/proc"  # cli/snapshot/warm.py pretends another
_PF_EXITING = 0x4  # linux/sched.h
# Fields 9, 20 and 22 of /proc/PID/stat, counted from the state, which is the third (proc(5)).
_FLAGS, _THREADS, _START_TIME = 6, 17, 19
_FIRST_USER_NAMESPACE = "user:[4026531837]"  # PROC_USER_INIT_INO, include/linux/proc_ns.h
# controller ("" is cgroup v2), its file, and what that says of a frozen cgroup
_FREEZERS = (("freezer", "freezer.state", (b"FROZEN", b"FREEZING")), ("", "cgroup.freeze", (b"1",)))


def is_rootless() -> bool:
    """True if this process has no power over the host: an ordinary user, or the root of a user namespace. namespaces(7)"""
    if os.geteuid() != 0:
        return True
    try:
        return os.readlink("/proc/self/ns/user") != _FIRST_USER_NAMESPACE
    except OSError:
        return False  # without procfs nothing works, and other errors say so


def start_time_of(pid: int) -> int:
    """When a process was started, in clock ticks since boot; 0 if there is no such process."""
    fields = _stat(f"{pid}")
    return int(fields[_START_TIME]) if fields else 0


def lives(pid: int, start_time: object) -> bool:
    """Is it that process, and not one that has ended, or is ending?

    A process ends with its last thread; the first thread, which has the same number, may end earlier. And the first
    process of a pid namespace ends only after all the others, however long that takes.
    """
    fields = _stat(f"{pid}")
    if not fields or int(fields[_START_TIME]) != start_time:
        return False
    return not _is_over(fields) or (int(fields[_THREADS]) > 1 and living_thread(pid) != 0)


def living_thread(pid: int) -> int:
    """The first thread of a process, or another one if that has ended; 0 if none of them lives.

    A thread that has ended has no namespaces, no root directory and no descriptors any more.
    """
    fields = _stat(f"{pid}")
    if fields and not _is_over(fields):
        return pid
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    for thread in threads:
        fields = _stat(f"{pid}/task/{thread}")
        if fields and not _is_over(fields):
            return int(thread)
    return 0


def _is_over(fields: list[bytes]) -> bool:
    return fields[0] in (b"Z", b"X") or bool(int(fields[_FLAGS]) & _PF_EXITING)


def _stat(name: str) -> list[bytes]:
    """What /proc/NAME/stat has after the program's name; nothing if there is no such process or thread."""
    try:
        with open(f"{_PROC}/{name}/stat", "rb", buffering=0) as file:
            return file.read(4096).rpartition(b")")[2].split()  # all of it at once: it has some 400 bytes
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


def open_thread(thread: int) -> int:
    """A pidfd of one thread, for setns(2). Raises OSError: ProcessLookupError if it is gone, EINVAL before Linux 6.9."""
    return os.pidfd_open(thread, os.O_EXCL)  # PIDFD_THREAD


def is_thread(pidfd: int, pid: int, thread: int) -> bool:
    """Does a pidfd of this thread's number refer to it, and is it a living thread of that process?

    Numbers are reused: check first that the process has the thread, then that the pidfd's thread lives.
    """
    if not os.path.exists(f"/proc/{pid}/task/{thread}"):
        return False
    with open(f"/proc/self/fdinfo/{pidfd}", "rb", buffering=0) as file:
        return b"\nPid:\t%d\n" % thread in file.read(4096)


def root_of(pid: int) -> str:
    """A path that leads to the root directory of a process, even if its first thread has ended."""
    return f"/proc/{pid}/task/{living_thread(pid) or pid}/root"


def frozen(paths: dict[str, str]) -> bool:
    """Whether a cgroup is frozen, or about to be; false if it is gone or can't be frozen.

    paths   directory per v1 controller, "" for v2
    """
    for controller, name, words in _FREEZERS:
        if controller in paths:
            try:
                with open(f"{paths[controller]}/{name}", "rb", buffering=0) as file:
                    return file.read(16).startswith(words)
            except (FileNotFoundError, NotADirectoryError):
                return False
            except OSError as failure:
                if failure.errno == errno.ENODEV:  # removed since the open
                    return False
                raise
    return False


def exit_status(pid: int) -> int:
    """Wait for the end of a child: its exit status, or 128 + n if signal n ended it. Raises ChildProcessError."""
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def reap(pid: int) -> None:
    """Collect the exit status of a process that has ended, if it is a child of this one."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
