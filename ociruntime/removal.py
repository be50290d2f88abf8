# SPDX-License-Identifier: Apache-2.0
"""How is a directory removed that lies where a file belongs?

By descriptors, so that no link is followed, and without entering another mount: the runtime must not remove what is
mounted there. Must not import anything of the package: undo of a damaged state directory needs it.
"""

from __future__ import annotations

import errno
import os

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: str) -> None:
    """Remove a directory with everything below it. Raises OSError, EBUSY at a mount."""
    parent = os.open(os.path.dirname(path), _DIRECTORY)
    names = [os.path.basename(path)]
    # for each level: its descriptor, and the names that are still to be removed there
    levels = [(parent, list(names))]
    mount = _mount_of(parent)
    inside: list[str] = []  # names of the directories that are being emptied
    try:
        while levels:
            here, left = levels[-1]
            if left:
                below = _remove(here, left.pop())
                if not below:
                    continue
                descriptor = os.open(below, _DIRECTORY, dir_fd=here)
                levels.append((descriptor, os.listdir(descriptor)))
                inside.append(below)
                if _mount_of(descriptor) != mount:
                    raise OSError(
                        errno.EBUSY, "a mount is in the way", os.path.join(os.path.dirname(path), *inside)
                    )
                continue
            os.close(here)
            levels.pop()
            if levels:
                os.rmdir(inside.pop(), dir_fd=levels[-1][0])
    finally:
        for descriptor, _ in levels:
            os.close(descriptor)


def _remove(directory: int, name: str) -> str:
    """Unlink a name; returns it if it is a directory, which has to be emptied first."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return ""
    except IsADirectoryError:
        return name
    return ""


def _mount_of(descriptor: int) -> bytes:
    """The id of the mount that an open directory is on (proc(5), fdinfo)."""
    with open(f"/proc/self/fdinfo/{descriptor}", "rb", buffering=0) as file:
        for line in file.read().split(b"\n"):
            if line.startswith(b"mnt_id:"):
                return line
    return b""
