# SPDX-License-Identifier: Apache-2.0
"""What this machine offers, as far as a plan depends on it. Probed once, then plain data.

`plan(config, host)` is pure: everything that it wants to know about the machine stands here, so
that a plan can be made (and compared in tests) for a machine that is not this one.
Must not import a subject other than the cgroup layout.
"""

from __future__ import annotations

import os

from ociruntime.linux.cgroups.layout import Layout, probe_layout

ALL_CAPABILITIES = (1 << 41) - 1  # CAP_CHOWN to CAP_CHECKPOINT_RESTORE


class Host:
    """The machine as plans see it.

    capabilities   mask of what the runtime can grant: permitted and in its bounding set
    cgroups   the Layout of the cgroup hierarchies (v1, hybrid, v2 or none)
    machine   uname's machine ("x86_64")
    apparmor, selinux   whether that LSM is enabled
    kcore     whether /proc/kcore exists (then /dev/core is linked to it, as runc does)
    """

    __slots__ = ("apparmor", "capabilities", "cgroups", "kcore", "machine", "selinux")

    def __init__(
        self,
        cgroups: Layout,
        *,
        machine: str = "x86_64",
        apparmor: bool = False,
        selinux: bool = False,
        kcore: bool = True,
        capabilities: int = ALL_CAPABILITIES,
    ) -> None:
        self.capabilities = capabilities
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
        capabilities=_own_capabilities(),
    )


def _own_capabilities() -> int:
    """CapPrm & CapBnd of this process; proc(5)."""
    masks = {}
    with open("/proc/self/status", "rb", buffering=0) as file:
        for line in file.read(4096).split(b"\n"):
            if line.startswith((b"CapPrm:", b"CapBnd:")):
                masks[line[:6]] = int(line[7:], 16)
    return masks.get(b"CapPrm", 0) & masks.get(b"CapBnd", 0)


def _first_byte(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(1)
    except OSError:
        return b""
