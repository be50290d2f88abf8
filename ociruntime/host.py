# SPDX-License-Identifier: Apache-2.0
"""What this machine offers, as far as a plan depends on it. Probed once, then plain data.

`plan(config, host)` is pure: everything that it wants to know about the machine stands here, so
that a plan can be made (and compared in tests) for a machine that is not this one.
Must not import a subject other than the cgroup layout.
"""

from __future__ import annotations

import os

from ociruntime.linux.cgroups.layout import Layout, probe_layout


class Host:
    """The machine as plans see it.

    cgroups   the Layout of the cgroup hierarchies (v1, hybrid, v2 or none)
    machine   uname's machine ("x86_64")
    apparmor, selinux   whether that LSM is enabled
    kcore     whether /proc/kcore exists (then /dev/core is linked to it, as runc does)
    """

    __slots__ = ("apparmor", "cgroups", "kcore", "machine", "selinux")

    def __init__(
        self,
        cgroups: Layout,
        machine: str = "x86_64",
        apparmor: bool = False,
        selinux: bool = False,
        kcore: bool = True,
    ) -> None:
        self.cgroups = cgroups
        self.machine = machine
        self.apparmor = apparmor
        self.selinux = selinux
        self.kcore = kcore


def probe() -> Host:
    """Look at this machine; needs no privilege."""
    return Host(
        probe_layout(),
        machine=os.uname().machine,
        apparmor=_first_byte("/sys/module/apparmor/parameters/enabled") == b"Y",
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        kcore=os.path.exists("/proc/kcore"),
    )


def _first_byte(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(1)
    except OSError:
        return b""
