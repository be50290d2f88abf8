# SPDX-License-Identifier: Apache-2.0
"""Why can't a namespace be made here? Must not import a subject."""

from __future__ import annotations

import errno
import os

from ociruntime.linux.namespace_entries import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
)
from ociruntime.linux.refusals import Remedy, facts

# flag -> (its name in /proc/self/ns, its limit in /proc/sys/user)
_KINDS = {
    CLONE_NEWUSER: ("user", "user.max_user_namespaces"),
    CLONE_NEWNS: ("mnt", "user.max_mnt_namespaces"),
    CLONE_NEWPID: ("pid", "user.max_pid_namespaces"),
    CLONE_NEWNET: ("net", "user.max_net_namespaces"),
    CLONE_NEWIPC: ("ipc", "user.max_ipc_namespaces"),
    CLONE_NEWUTS: ("uts", "user.max_uts_namespaces"),
    CLONE_NEWCGROUP: ("cgroup", "user.max_cgroup_namespaces"),
    CLONE_NEWTIME: ("time", "user.max_time_namespaces"),
}

_ENOUGH = 15000  # namespaces of one user; the kernel's own default depends on the memory
_DEEPEST = 32  # user namespaces in each other, create_user_ns()


def remedy(number: int, flags: int) -> Remedy | None:
    """Why a clone or unshare with these CLONE_NEW* flags was refused with this errno; None if it can't be told."""
    if number == errno.ENOSPC:
        return _limit(flags)
    if number == errno.EPERM:
        return _forbidden(flags)
    if number == errno.EINVAL:
        return _unknown(flags)
    if number == errno.ENOSYS:
        return facts.outer_filter()
    if number == errno.EAGAIN:
        return Remedy(
            "the user's or the cgroup's limit of processes is reached",
            "look at `ulimit -u` and at pids.max of the cgroup that /proc/self/cgroup names",
        )
    return None


def _limit(flags: int) -> Remedy | None:
    """The limits count per user and user namespace; one further out can't be read here."""
    names = [name for flag, (_, name) in _KINDS.items() if flags & flag]
    values = {name: value for name in names if (value := facts.sysctl(name)) is not None}
    zero = [name for name, value in values.items() if value == 0]
    if zero:
        settings = " ".join(f"{name}={_ENOUGH}" for name in zero)
        are = f"{zero[0]} is 0" if len(zero) == 1 else f"{' and '.join(zero)} are 0"
        return Remedy(f"{are}: none may be made here", f"sysctl -w {settings}", root=True)
    if not values:
        return None
    shown = ", ".join(f"{name} = {value}" for name, value in values.items())
    deep = f", or {_DEEPEST} user namespaces are inside one another" if flags & CLONE_NEWUSER else ""
    low = min(values, key=lambda name: values[name])
    return Remedy(
        f"a limit of namespaces is reached, here or in a user namespace around this one ({shown}){deep}",
        f"sysctl -w {low}={max(2 * values[low], _ENOUGH)}",
        root=True,
    )


def _forbidden(flags: int) -> Remedy | None:
    if not flags & CLONE_NEWUSER:
        return facts.around()
    if is_chroot():
        return Remedy(
            "the runtime's root directory is a chroot, where the kernel makes no user namespace",
            "enter it with pivot_root, or with `unshare --mount --root`, instead of chroot",
        )
    known = restriction() or _unmapped() or facts.outer_filter() or facts.outer_profile()
    if known or facts.has(facts.CAP_SYS_ADMIN):
        return known
    return Remedy(
        "a security module forbids user namespaces, or the runtime's root directory is a chroot",
        "look into the kernel's log, and start it outside the chroot",
    )


def restriction() -> Remedy | None:
    """If the host lets only root make user namespaces, or work in them, and this is not root."""
    if facts.has(facts.CAP_SYS_ADMIN):
        return None
    if facts.sysctl("kernel.unprivileged_userns_clone") == 0:
        return Remedy(
            "kernel.unprivileged_userns_clone is 0: only root may make user namespaces",
            "sysctl -w kernel.unprivileged_userns_clone=1",
            root=True,
        )
    if facts.sysctl("kernel.apparmor_restrict_unprivileged_userns") == 1:
        return Remedy(
            "kernel.apparmor_restrict_unprivileged_userns is 1: AppArmor takes the capabilities in a user namespace from "
            "programs without a profile that has `userns,`, as on Ubuntu",
            "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or load such a profile for ociruntime and its Python",
            root=True,
        )
    return None


def is_chroot() -> bool:
    """Is there no mount at "/"? Then it is a directory of some mount. The kernel asks current_chrooted()."""
    lines = facts.text("/proc/self/mountinfo").splitlines()
    return bool(lines) and not any(line.split(" ", 5)[4:5] == ["/"] for line in lines)


def _unmapped() -> Remedy | None:
    """The caller's ids must be mapped in its own user namespace."""
    for file, name, own in (("uid_map", "uid", facts.uid()), ("gid_map", "gid", facts.gid())):
        ranges = facts.id_map(file)
        if not any(first <= own < first + size for first, _, size in ranges):
            return Remedy(
                f"{name} {own} of the runtime is not mapped in its user namespace (/proc/self/{file})",
                "start it as an id that is mapped there",
            )
    return None


def _unknown(flags: int) -> Remedy | None:
    for flag, (name, _) in _KINDS.items():
        if flags & flag and not os.path.exists(f"/proc/self/ns/{name}"):
            option = {"mnt": "NAMESPACES", "cgroup": "CGROUPS"}.get(name, f"{name.upper()}_NS")
            return Remedy(
                f"this kernel has no {name} namespaces", f"use a kernel that is built with CONFIG_{option}"
            )
    return None
