# SPDX-License-Identifier: Apache-2.0
"""Which remedy belongs to a step of a plan that the kernel has refused? Asked by launch, after a failure.

Must not import a subject: it knows ops by their names, and their arguments by those of native/plan.h.
"""

from __future__ import annotations

import errno

from ociruntime.linux.namespace_entries import CLONE_NEWUSER
from ociruntime.linux.refusals import Remedy, cgroups, facts, mounts, namespaces

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_CLONES = ("clone_init", "clone_helper", "clone_hook")
_CGROUPS = (
    "check_cgroup",
    "make_cgroup",
    "set_cgroup",
    "open_cgroup",
    "set_device_rules",
    "load_device_program",
    "enable_controllers",
    "delegate_cgroup",
)
# They begin a process in a new user namespace.
_HOLDERS = ("hold_id_maps", "note_id_maps")
_TMPFS_OF_INIT = "tmpfs for ociruntime-init"  # native/spawn.py, where memory files can't be executed

# Ops of init that only an owner of the mount namespace, or of another of its namespaces, may do.
_PRIVILEGED = (
    "bind",
    "chroot",
    "device",
    "domainname",
    "hostname",
    "join",
    "loopback",
    "mask",
    "mknod",
    "mount_attributes",
    "mount_tree",
    "move_root",
    "pivot_root",
    "propagation",
    "readonly",
    "remount",
    "root",
    "root_attributes",
    "session_keyring",
)


def of_host_step(op: str, number: int, path: str, flags: int) -> Remedy | None:
    """The remedy for a step of the runtime.

    path    the file that the error names, or ""
    flags   CLONE_NEW* of the clone that makes init
    """
    if path == _TMPFS_OF_INIT:
        return executable(number)
    if op in _CLONES:
        return namespaces.remedy(number, flags)
    if op in _HOLDERS:
        return namespaces.remedy(number, CLONE_NEWUSER)
    if op in _CGROUPS:
        return cgroups.remedy(number, path)
    return facts.around() if number in (errno.EPERM, errno.ENOSYS) and _has_cause() else None


def of_init_step(op: str, number: int, args: Mapping[str, object], *, users: bool) -> Remedy | None:
    """The remedy for a step of init.

    args    of the op, by name
    users   the container has a new user namespace, in which init is root
    """
    if op in ("fork", "unshare"):
        flags = args.get("flags")
        return namespaces.remedy(number, flags if isinstance(flags, int) else 0)
    if op == "mount_fs":
        return mounts.remedy(number, str(args.get("type")), in_user_namespace=users)
    if op in _PRIVILEGED and number in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        if number == errno.ENOSYS:
            return facts.outer_filter()
        if number == errno.EACCES:
            return facts.outer_profile()
        return facts.outer_filter() if users else facts.around()
    return None


def executable(number: int) -> Remedy | None:
    """Why the sealed copy of init can't be executed."""
    if facts.sysctl("vm.memfd_noexec") == 2:
        return Remedy(
            "vm.memfd_noexec is 2: no memory file may be executed, and only root can use a tmpfs instead",
            "sysctl -w vm.memfd_noexec=1",
            root=True,
        )
    if number == errno.ENOSYS:
        return facts.outer_filter()
    return facts.outer_profile() or facts.outer_filter()


def _has_cause() -> bool:
    return not facts.has(facts.CAP_SYS_ADMIN) or facts.is_filtered()
