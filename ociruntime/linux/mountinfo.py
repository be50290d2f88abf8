# SPDX-License-Identifier: Apache-2.0
"""What does the kernel's table of mounts say? (proc(5), /proc/PID/mountinfo)

The table may be megabytes long, and few verbs need it: those that do import this in a function.
Must import nothing of this package.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator


class Mount:
    """One line of the table.

    number      the mount's id; after it is unmounted another mount may get it
    device      "major:minor" of its files
    root        which directory of the file system it shows
    point       where it is
    options     of the mount ("ro,nosuid"), as text
    tags        its propagation: "shared:1", "master:2"; empty if it is private
    kind        the type of the file system
    superblock  options of the file system, as text; for cgroup v1 its controllers are among them
    """

    __slots__ = ("device", "kind", "number", "options", "point", "root", "superblock", "tags")

    def __init__(self, line: str) -> None:
        front, _, back = line.partition(" - ")
        number, _, self.device, root, point, self.options, *self.tags = front.split(" ")
        self.number = int(number)
        self.root = _unescape(root)
        self.point = _unescape(point)
        self.kind, _, self.superblock = back.split(" ", 2)


def mounts(path: str = "/proc/self/mountinfo") -> Iterator[Mount]:
    """The mounts of a process, in the order of mounting. Raises OSError."""
    with open(path, "rb") as file:
        for line in file:
            yield Mount(os.fsdecode(line.rstrip(b"\n")))


def _unescape(field: str) -> str:
    if "\\" in field:  # the escapes of proc(5); the backslash's own comes last
        for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
            field = field.replace(code, character)
    return field
