# SPDX-License-Identifier: Apache-2.0
"""Is the kernel's table of mounts read as the kernel writes it?"""

from __future__ import annotations

import os

from ociruntime.linux.mountinfo import Mount, mounts


def test_a_line() -> None:
    """proc(5): six fields, any number of tags, a hyphen, three more fields, of which the source may be empty."""
    mount = Mount("36 35 98:0 /mnt1 /mnt2 rw,noatime shared:9 master:1 - ext3 /dev/root rw,errors=continue")
    assert (mount.number, mount.device, mount.root, mount.point) == (36, "98:0", "/mnt1", "/mnt2")
    assert (mount.options, mount.tags) == ("rw,noatime", ["shared:9", "master:1"])
    assert (mount.kind, mount.superblock) == ("ext3", "rw,errors=continue")
    mount = Mount("4 1 0:4 net:[4026532281] /run/ns ro - nsfs  rw")
    assert (mount.root, mount.tags, mount.kind, mount.superblock) == ("net:[4026532281]", [], "nsfs", "rw")


def test_names_are_unescaped() -> None:
    """White space and backslashes of a path are written as octal numbers."""
    mount = Mount(r"1 1 0:1 /\134040 /a\040b\011c\012d\134e rw - tmpfs none rw")
    assert (mount.root, mount.point) == (r"/\040", "/a b\tc\nd\\e")


def test_this_machine() -> None:
    """Every mount of the test is read, and where it can be looked at it has the device that is said."""
    with open("/proc/self/mountinfo", "rb") as file:
        numbers = [int(line.split()[0]) for line in file]
    found = list(mounts())
    assert [mount.number for mount in found] == numbers
    proc = next(mount for mount in found if mount.kind == "proc" and mount.point == "/proc")
    device = os.stat("/proc").st_dev
    assert proc.device == f"{os.major(device)}:{os.minor(device)}"
