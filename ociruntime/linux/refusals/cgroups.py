# SPDX-License-Identifier: Apache-2.0
"""Why is there no cgroup for a container, or not the controller that a limit needs? Must not import a subject, but for
the words that its plans use.
"""

from __future__ import annotations

import errno
import os

from ociruntime.linux.cgroups.planner import (
    CGROUP1_DELEGATION,
    HIERARCHY_CURE,
    cgroup2_delegation,
    controller_cure,
)
from ociruntime.linux.cgroups.rights import nearest
from ociruntime.linux.refusals import Remedy, facts

_ROOT = "/sys/fs/cgroup"


def no_hierarchy() -> Remedy:
    """No cgroup file system is mounted at all."""
    return Remedy("no cgroup hierarchy is mounted", HIERARCHY_CURE, root=True)


def no_controller(kind: str, controller: str) -> Remedy:
    """A limit needs a controller that is not there; `kind` is the layout's: "v1", "hybrid" or "v2"."""
    if _is_disabled(controller):
        return Remedy(
            f"the kernel's command line switches the controller {controller} off (/proc/cgroups)",
            f"take cgroup_disable={controller} out of it, or add cgroup_enable={controller}, and boot again",
            root=True,
        )
    lacking = "is not delegated to this cgroup" if kind == "v2" else "is not mounted"
    return Remedy(f"the controller {controller} {lacking}", controller_cure(kind, controller), root=True)


def _is_disabled(controller: str) -> bool:
    """/proc/cgroups: name, hierarchy, number of cgroups, enabled."""
    rows = [line.split() for line in facts.text("/proc/cgroups").splitlines()]
    return any(row[:1] == [controller] and row[3:] == ["0"] for row in rows)


def remedy(number: int, path: str) -> Remedy | None:
    """Why making or writing `path`, below a cgroup mount, was refused with this errno; None if it can't be told.

    path   also "bpf", for a device program, or ""
    """
    if number == errno.EPERM and (path == "bpf" or os.path.basename(path).startswith("devices.")):
        if facts.in_first_user_namespace() and facts.uid() == 0:
            return facts.around()
        cure = "call it with sudo, or leave out linux.resources.devices"
        return Remedy("only the host's root may set device rules", cure, root=True)
    if not path.startswith("/"):
        return None
    if number == errno.EROFS:
        return Remedy(
            f"cgroups are mounted read-only at {mount_of(path)}, as in a container of an engine",
            f"start the outer container with --privileged, or: mount -o remount,rw {mount_of(path)}",
        )
    if number in (errno.EACCES, errno.EPERM):
        if facts.uid() == 0 and facts.in_first_user_namespace():
            return facts.around()
        return undelegated(path)
    return None


def undelegated(path: str) -> Remedy:
    """An ordinary user, or the root of a user namespace, may not make a cgroup there."""
    user = facts.uid()
    above = nearest(path)
    cause = f"no delegation: {above} does not belong to uid {user}"
    if not os.path.exists(f"{above}/cgroup.subtree_control"):
        return Remedy(cause, CGROUP1_DELEGATION, root=True)
    return Remedy(cause, cgroup2_delegation(above, user), root=True)


def mount_of(path: str) -> str:
    """The mount point above a path of a cgroup hierarchy."""
    path = nearest(path)
    while path not in ("/", _ROOT) and not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
