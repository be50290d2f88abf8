# SPDX-License-Identifier: Apache-2.0
"""Who is in the container's cgroup, how are they killed, and how does the cgroup go away?

`delete` is on the hot path: in the ordinary case the cgroup is empty and this is one rmdir per hierarchy.
Must not import anything but freezer.py of this package, and identity.py.
"""

from __future__ import annotations

import errno
import os
import time
from _signal import SIGKILL, pidfd_send_signal

from ociruntime.descriptors import Descriptors
from ociruntime.identity import frozen, open_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_LIMIT = 10.0  # seconds until everything in the cgroup must be gone
_LEAST = 0.2  # seconds to freeze them, even if others have used up the deadline
_LONGEST_PAUSE = 0.05
_AT_ONCE = 64  # processes that are opened at the same time
_GONE = (errno.ENOENT, errno.ENODEV, errno.ENOTDIR)
_BUSY = (errno.EBUSY, errno.ENOTEMPTY)
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def remove(paths: dict[str, str], made: list[str], deadline: float = 0.0) -> None:
    """Remove the directories that this runtime made, after killing what is left in the container's.

    paths     the container's directory per controller
    made      what was made for it, parents first: nothing else is removed (R238). A parent that others use by
              now stays.
    deadline  when to stop waiting for killed processes (time.monotonic); 0: after ten seconds
    Raises OSError (EBUSY and the directory's name) after that.
    """
    leaves = set(paths.values())
    busy = leaves - set(made)
    for directory in reversed(made):
        if directory in leaves and not _rmdir(directory):
            busy.add(directory)
    if busy and (busy & set(made) or processes(paths)):
        _empty(paths, busy & set(made), deadline or time.monotonic() + _LIMIT)
    for directory in reversed(made):
        if directory not in leaves:
            _rmdir(directory)


def processes(paths: dict[str, str]) -> list[int]:
    """All processes in the cgroup and below it, in any of its hierarchies; sorted, empty if it is gone.

    Processes of other pid namespaces, which have no number here, are left out.
    """
    found: set[int] = set()
    for directory in set(paths.values()):
        _walk(directory, lambda cgroup: found.update(_members(cgroup)))
    found.discard(0)
    return sorted(found)


def kill_all(paths: dict[str, str], signal: int, patience: float = _LIMIT) -> None:
    """Send a signal to every process in the cgroup and below it.

    SIGKILL goes through cgroup.kill where v2 has it. Otherwise they are frozen for the time, so that none
    escapes by forking, and thawed afterwards; a cgroup that was frozen before stays so unless it is killed.
    patience   seconds for them to be frozen, and to be thawed
    Raises OSError.
    """
    if signal == SIGKILL and _kill_v2(paths.get("", "")) and not processes(paths):
        return
    from ociruntime.linux.cgroups.freezer import set_frozen

    was_frozen = frozen(paths)
    held = was_frozen
    try:
        if not was_frozen:
            try:
                held = set_frozen(paths, True, patience)
            except (FileNotFoundError, TimeoutError):
                held = False  # gone, or a process in uninterruptible sleep: then without
        _signal_each(paths, signal, held)
    finally:
        if held and (not was_frozen or signal == SIGKILL):
            try:
                set_frozen(paths, False, patience)
            except (FileNotFoundError, TimeoutError):
                held = False  # gone, or frozen from a cgroup above
        if signal == SIGKILL:
            thaw_below(paths)


def _signal_each(paths: dict[str, str], signal: int, held: bool) -> None:
    """Signal each process once. If they are not held by a freezer, those that are made meanwhile get it too.

    By the time of the signal the number may belong to another process, even in a frozen cgroup, where something else
    may have killed the first one. So a process is opened, looked up in the cgroup again, and signalled by its pidfd.
    """
    deadline = time.monotonic() + _LIMIT
    signalled: set[int] = set()
    while True:
        new = [pid for pid in processes(paths) if pid not in signalled]
        for start in range(0, len(new), _AT_ONCE):
            _signal_some(paths, new[start : start + _AT_ONCE], signal)
        signalled.update(new)
        if not new or held or time.monotonic() > deadline:
            return


def _signal_some(paths: dict[str, str], pids: list[int], signal: int) -> None:
    with Descriptors() as opened:
        for pid in pids:
            try:
                opened[f"{pid}"] = open_process(pid)
            except ProcessLookupError:
                continue
        for pid in processes(paths):
            try:
                if f"{pid}" in opened:
                    pidfd_send_signal(opened[f"{pid}"], signal)
            except ProcessLookupError:
                continue


def thaw_below(paths: dict[str, str]) -> None:
    """Thaw cgroups v1 that the container has frozen below its own: killed processes don't end in a frozen one."""
    if "freezer" in paths:
        _walk(paths["freezer"], _thaw)


def _thaw(cgroup: int) -> None:
    try:
        with Descriptors() as opened:
            opened["file"] = os.open("freezer.state", os.O_WRONLY | os.O_CLOEXEC, dir_fd=cgroup)
            os.write(opened["file"], b"THAWED")
    except OSError as failure:
        if failure.errno not in _GONE:
            raise


def _empty(paths: dict[str, str], busy: set[str], deadline: float) -> None:
    """Kill what is left and remove the busy directories with all that was made below them."""
    pause = 0.0005
    while True:
        left = processes(paths)
        if os.getpid() in left:
            raise OSError(
                errno.EBUSY, "this process itself is in the container's cgroup", min(paths.values())
            )
        if left:
            kill_all(paths, SIGKILL, max(deadline - time.monotonic(), _LEAST))
        busy = {directory for directory in busy if not _remove_tree(directory)}
        if not busy and not left:
            return
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), min(busy or set(paths.values())))
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _kill_v2(directory: str) -> bool:
    """True if the kernel (5.14 and newer) kills everything in the v2 cgroup."""
    try:
        with Descriptors() as opened:
            opened["file"] = os.open(f"{directory}/cgroup.kill", os.O_WRONLY | os.O_CLOEXEC)
            os.write(opened["file"], b"1")
    except OSError:
        return False  # not there, gone, or threaded: then one by one
    return True


def _walk(directory: str, visit: Callable[[int], None], remove: bool = False) -> None:
    """Call visit(descriptor) for each cgroup below this one and then for itself, children first.

    remove   remove each cgroup below, as far as that can be done
    By descriptors: a container that may make cgroups can make them so deep that no path is long enough for them. Up
    goes by "..", which is safe, as a cgroup never gets another parent.
    """
    names: list[str] = []
    with Descriptors() as opened:
        if not _go_to(opened, directory):
            return
        left = [_children(opened["here"])]  # at each level, what is still to be visited
        while True:
            if left[-1]:
                name = left[-1].pop()
                if _go_to(opened, name):
                    names.append(name)
                    left.append(_children(opened["here"]))
                continue
            visit(opened["here"])
            left.pop()
            if not left:
                return
            opened["above"] = os.open("..", _DIRECTORY, dir_fd=opened["here"])
            _move(opened, "above")
            name = names.pop()
            if remove:
                _rmdir(name, opened["here"])


def _go_to(opened: Descriptors, directory: str) -> bool:
    """Open a cgroup, by its path from the one that is open as "here", and make it "here"; False if it is gone."""
    try:
        opened["next"] = os.open(directory, _DIRECTORY, dir_fd=opened.get("here"))
    except OSError as failure:
        if failure.errno not in _GONE:
            raise
        return False
    _move(opened, "next")
    return True


def _move(opened: Descriptors, name: str) -> None:
    if "here" in opened:
        os.close(opened.pop("here"))
    opened["here"] = opened.pop(name)


def _children(cgroup: int) -> list[str]:
    try:
        with os.scandir(cgroup) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as failure:
        if failure.errno not in _GONE:
            raise
        return []


def _members(cgroup: int) -> list[int]:
    content = b""
    try:
        with Descriptors() as opened:
            opened["file"] = os.open("cgroup.procs", os.O_RDONLY | os.O_CLOEXEC, dir_fd=cgroup)
            while chunk := os.read(opened["file"], 65536):
                content += chunk
    except OSError as failure:
        # EOPNOTSUPP: a threaded v2 cgroup; its processes are listed by the cgroup above it
        if failure.errno not in (*_GONE, errno.EOPNOTSUPP):
            raise
    return [int(line) for line in content.split()]


def _remove_tree(directory: str) -> bool:
    _walk(directory, lambda _cgroup: None, remove=True)
    return _rmdir(directory)


def _rmdir(directory: str, parent: int | None = None) -> bool:
    """True if the directory is gone."""
    try:
        os.rmdir(directory, dir_fd=parent)
    except OSError as failure:
        if failure.errno in _BUSY:
            return False
        # On a read-only mount the kernel says so before it looks whether there is such a directory.
        never_made = failure.errno == errno.EROFS and not _exists(directory, parent)
        if failure.errno not in _GONE and not never_made:
            raise
    return True


def _exists(directory: str, parent: int | None) -> bool:
    try:
        os.stat(directory, dir_fd=parent, follow_symlinks=False)
    except OSError as failure:
        return failure.errno not in _GONE
    return True
