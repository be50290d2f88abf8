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

# What the kernel asks for: ops of init, and of the runtime.
_ADMIN, _NET = facts.CAP_SYS_ADMIN, facts.CAP_NET_ADMIN
_NEEDS = {
    "bounding": facts.CAP_SETPCAP,
    "chroot": facts.CAP_SYS_CHROOT,
    "groups": facts.CAP_SETGID,
    "loopback": _NET,
    "make_device_node": facts.CAP_MKNOD,
    "mknod": facts.CAP_MKNOD,
    "move_network_device": _NET,
    "time_offsets": facts.CAP_SYS_TIME,
    "user": facts.CAP_SETUID,
    **dict.fromkeys(("bind", "device", "domainname", "hostname", "join", "mask", "mount_attributes"), _ADMIN),
    **dict.fromkeys(("mount_tree", "move_root", "open_bind_source", "open_namespace", "pivot_root"), _ADMIN),
    **dict.fromkeys(("propagation", "readonly", "remount", "root", "root_attributes"), _ADMIN),
    "keyring_permissions": None,
    "session_keyring": None,
}


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
    if op in _CGROUPS:  # an error of the program itself names no file
        return cgroups.remedy(number, path or ("bpf" if op == "load_device_program" else ""))
    return _refused(op, number, users=False)


def of_init_step(op: str, number: int, args: Mapping[str, object], *, users: bool) -> Remedy | None:
    """The remedy for a step of init.

    args    of the op, by name
    users   the container has a new user namespace, in which init is root
    """
    if op in ("fork", "unshare"):
        flags = args.get("flags")
        return namespaces.remedy(number, flags if isinstance(flags, int) else 0)
    if op == "time_offsets" and number == errno.EACCES and users and facts.uid():
        return facts.outer_profile() or Remedy(  # after a join the process's files in /proc are root's
            "an ordinary user can set no time offsets in a user namespace that is joined",
            "list a new user namespace, or join a time namespace that has the offsets",
        )
    if op == "mount_fs":
        return mounts.remedy(number, str(args.get("type")), in_user_namespace=users)
    return _refused(op, number, users=users)


def _refused(op: str, number: int, *, users: bool) -> Remedy | None:
    if number == errno.ENOSYS:
        return facts.outer_filter()
    if op not in _NEEDS:
        return None
    if number == errno.EACCES:
        return facts.outer_profile()
    if number != errno.EPERM:
        return None
    capability = _NEEDS[op]
    return facts.inside() if users or capability is None else facts.around(capability)


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
