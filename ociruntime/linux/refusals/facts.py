# SPDX-License-Identifier: Apache-2.0
"""What may this process do, and what is around it? Read from /proc at the moment of a failure. Imports only Remedy.

Each answer is None or false where /proc does not say it: a remedy must never be guessed.
"""

from __future__ import annotations

import os

from ociruntime.linux.refusals import Remedy

# linux/capability.h
CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_NET_ADMIN, CAP_SYS_CHROOT, CAP_SYS_ADMIN = 6, 7, 8, 12, 18, 21
CAP_SYS_TIME, CAP_MKNOD, CAP_SETFCAP = 25, 27, 31
_NAMES = {
    CAP_SETGID: "SETGID",
    CAP_SETUID: "SETUID",
    CAP_SETPCAP: "SETPCAP",
    CAP_NET_ADMIN: "NET_ADMIN",
    CAP_SYS_CHROOT: "SYS_CHROOT",
    CAP_SYS_ADMIN: "SYS_ADMIN",
    CAP_SYS_TIME: "SYS_TIME",
    CAP_MKNOD: "MKNOD",
}

_WHOLE = (0, 0, 4294967295)  # the map of the first user namespace

_LIMITED = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_OWN = (
    *(
        f"/proc/self/{name}"
        for name in ("status", "uid_map", "gid_map", "mountinfo", "attr/apparmor/current", "attr/current")
    ),
    *(f"/proc/sys/user/max_{name}_namespaces" for name in _LIMITED),
)
_held: dict[str, str] = {}


def hold() -> None:
    """Keep what is true now: this process, or a child of it, is about to enter other namespaces, and will still ask."""
    _held.update({path: text(path) for path in _OWN})
    _held.update(uid=str(os.geteuid()), gid=str(os.getegid()))


def uid() -> int:
    """The effective user id of this process."""
    return int(_held.get("uid", os.geteuid()))


def gid() -> int:
    """Its effective group id."""
    return int(_held.get("gid", os.getegid()))


def text(path: str) -> str:
    """The content of a small file without white space around it; "" if it can't be read."""
    if path in _held:
        return _held[path]
    try:
        with open(path, "rb", buffering=0) as file:
            return os.fsdecode(file.readall()).strip("\0\n ")
    except OSError:
        return ""


def sysctl(name: str) -> int | None:
    """The number that a sysctl such as "user.max_net_namespaces" has; None if this kernel has none of that name."""
    try:
        return int(text(f"/proc/sys/{name.replace('.', '/')}"))
    except ValueError:
        return None


def status(name: str) -> str:
    """A line of /proc/self/status, proc(5), without its name."""
    for line in text("/proc/self/status").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def has(capability: int) -> bool:
    """Does this process have the capability, in its own user namespace?"""
    return bool(int(status("CapEff") or "0", 16) >> capability & 1)


def is_filtered() -> bool:
    """Is there a seccomp filter, which can only be one that somebody around this process has set?"""
    return status("Seccomp") == "2"


def id_map(file: str = "uid_map") -> list[tuple[int, int, int]]:
    """The mappings of this process's user namespace: (id here, id in the one around it, how many)."""
    rows = [line.split() for line in text(f"/proc/self/{file}").splitlines()]
    return [(int(inside), int(outside), int(size)) for inside, outside, size in rows]


def in_first_user_namespace() -> bool:
    """True on the host, false in a user namespace that somebody made."""
    return id_map() == [_WHOLE]


def confinement() -> str:
    """The AppArmor profile of this process if it is confined by one ("docker-default (enforce)"), or ""."""
    if text("/sys/module/apparmor/parameters/enabled") != "Y":
        return ""
    label = text("/proc/self/attr/apparmor/current") or text("/proc/self/attr/current")
    return label if label.endswith("(enforce)") else ""


def outer_filter() -> Remedy | None:
    """If a seccomp filter around this process may be what refuses."""
    if not is_filtered():
        return None
    return Remedy(
        "a seccomp filter is in force here (Seccomp: 2 in /proc/self/status), as in a container of an engine or in a "
        "service with SystemCallFilter=",
        "start the outer container with --security-opt seccomp=unconfined, or take SystemCallFilter= out of the service",
    )


def outer_profile() -> Remedy | None:
    """If an AppArmor profile around this process may be what refuses."""
    profile = confinement()
    if not profile:
        return None
    return Remedy(
        f"the AppArmor profile {profile} confines the runtime",
        "start the outer container with --security-opt apparmor=unconfined",
    )


def privilege(capability: int = CAP_SYS_ADMIN) -> Remedy | None:
    """If this process is not root, or a root without power."""
    if has(capability):
        return None
    user, name = uid(), _NAMES[capability]
    if user == 0:
        cure = f"start the outer container with --privileged, or --cap-add {name}"
        return Remedy(f"root has no CAP_{name} here", cure)
    cure = "call it with sudo, or use a config with a user namespace"
    return Remedy(f"uid {user} has no CAP_{name}", cure, root=True)


def around(capability: int = CAP_SYS_ADMIN) -> Remedy | None:
    """What around this process may refuse with EPERM: its own lack of privilege, else a filter, else a profile."""
    return privilege(capability) or inside()


def inside() -> Remedy | None:
    """The same for the root of a new user namespace, which has every capability."""
    return outer_filter() or outer_profile()
