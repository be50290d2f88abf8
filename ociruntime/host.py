# SPDX-License-Identifier: Apache-2.0
"""What this machine offers, as far as a plan depends on it. Probed once, then plain data.

`plan(config, host)` is pure: everything that it needs to know about the machine is here, so
that a plan can be made (and compared in tests) for a machine that is not this one.
Must not import a subject other than the cgroup layout.
"""

from __future__ import annotations

import os

from ociruntime.identity import is_rootless
from ociruntime.linux import awake
from ociruntime.linux.cgroups.layout import Layout, probe_layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ociruntime.config import Node
    from ociruntime.plan.order import Options

_MOST_CPUS = 8192
ALL_CAPABILITIES = (1 << 41) - 1  # CAP_CHOWN to CAP_CHECKPOINT_RESTORE


class Host:
    """The machine as plans see it.

    capabilities   mask of what the runtime can grant: permitted and in its bounding set
    cgroups   the Layout of the cgroup hierarchies (v1, hybrid, v2 or none)
    cpus      how many CPUs there can be, also those that are not plugged in
    machine   uname's machine ("x86_64")
    apparmor, selinux   whether that LSM is enabled
    resctrl   where resctrl is mounted, or "" (also if it was not looked for)
    kcore     whether /proc/kcore exists (then /dev/core is linked to it, as runc does)
    groups    the hierarchies in which the container's cgroup is made: those of `cgroups`, or fewer without power over the host
    rootless  the runtime has no power over the host: it is an ordinary user, or the root of a user namespace
    uid, gid  whose it is, in its own user namespace
    setgroups whether its user namespace allows setgroups(2); for exec, the container's
    """

    __slots__ = (
        "apparmor",
        "capabilities",
        "cgroups",
        "cpus",
        "gid",
        "groups",
        "kcore",
        "machine",
        "resctrl",
        "rootless",
        "selinux",
        "setgroups",
        "uid",
    )

    def __init__(
        self,
        cgroups: Layout,
        *,
        machine: str = "x86_64",
        apparmor: bool = False,
        selinux: bool = False,
        kcore: bool = True,
        capabilities: int = ALL_CAPABILITIES,
        cpus: int = 64,
        resctrl: str = "",
        rootless: bool = False,
        uid: int = 0,
        gid: int = 0,
        setgroups: bool = True,
    ) -> None:
        self.rootless = rootless
        self.uid = uid
        self.gid = gid
        self.setgroups = setgroups
        self.capabilities = capabilities
        self.cgroups = self.groups = cgroups
        self.cpus = cpus
        self.resctrl = resctrl
        self.machine = machine
        self.apparmor = apparmor
        self.selinux = selinux
        self.kcore = kcore


def probe(config: Node | None = None, cgroups: Layout | None = None) -> Host:
    """Look at this machine; needs no privilege.

    config    what only rare properties need is looked for only if it has them
    cgroups   the hierarchies, where they are known or don't matter: the mount table may be long
    """
    return Host(
        probe_layout() if cgroups is None else cgroups,
        machine=os.uname().machine,
        apparmor=_first_byte("/sys/module/apparmor/parameters/enabled") == b"Y",
        selinux=_has_selinux(),
        kcore=os.path.exists("/proc/kcore"),
        capabilities=_own_capabilities(),
        cpus=_possible_cpus(),
        resctrl=_mount_point("resctrl") if config is not None and awake(config, "intelrdt") else "",
        **(_without_power() if is_rootless() else {}),
    )


def probe_for(config: Node, options: Options) -> Host:
    """The machine as it is for one container: `probe`, and in which cgroup hierarchies it can have a cgroup.

    options   create's; `rootless` is "auto", "true" (as for a user without rights, also for root) or "false"
    """
    machine = probe(config)
    if options.rootless == "true" or (machine.rootless and options.rootless != "false"):
        from ociruntime.linux.cgroups.rights import of_systemd, usable

        joined = _process_of(config)
        if machine.rootless and joined:
            machine.setgroups = machine.setgroups and setgroups_allowed(joined)
        if options.cgroup_manager == "cgroupfs":
            machine.groups = usable(machine.cgroups, config, options.container_id, rootless=machine.rootless)
        elif options.cgroup_manager == "systemd" and machine.rootless:
            machine.groups = of_systemd(machine.cgroups)
    return machine


def _process_of(config: Node) -> str:
    """The pid in the path of a user namespace that is joined, or "": a path of another form doesn't say whose it is."""
    from ociruntime.linux import namespace_entries

    words = namespace_entries.entry(config, "user").at("path").text().split("/")
    return words[2] if words[:2] == ["", "proc"] and words[3:] == ["ns", "user"] else ""


def setgroups_allowed(pid: int | str = "self") -> bool:
    """Whether setgroups(2) is allowed in the user namespace of a process. user_namespaces(7)"""
    return _first_byte(f"/proc/{pid}/setgroups") != b"d"


def _without_power() -> dict[str, Any]:
    return {"rootless": True, "uid": os.geteuid(), "gid": os.getegid(), "setgroups": setgroups_allowed()}


def _has_selinux() -> bool:
    """SELinux is there and has a policy: without one everything is labelled "kernel"."""
    if not os.path.exists("/sys/fs/selinux/enforce"):
        return False
    with open("/proc/self/attr/current", "rb", buffering=0) as file:
        return file.read(4096).rstrip(b"\0\n") != b"kernel"


def _possible_cpus() -> int:
    """The number after the last one in a list such as "0-63"; without sysfs the most that kernels are built for."""
    try:
        with open("/sys/devices/system/cpu/possible", "rb", buffering=0) as file:
            return int(file.read(4096).replace(b",", b"-").split(b"-")[-1]) + 1
    except (OSError, ValueError):
        return _MOST_CPUS


def _mount_point(kind: str) -> str:
    """Where a file system that exists only once is mounted, or ""; the first mount point counts."""
    from ociruntime.linux.mountinfo import mounts

    try:
        return next((mount.point for mount in mounts() if mount.kind == kind), "")
    except OSError:
        return ""


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
