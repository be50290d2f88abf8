# SPDX-License-Identifier: Apache-2.0
"""Why can't something be mounted here? Must not import a subject."""

from __future__ import annotations

import errno
import os

from ociruntime.linux.refusals import Remedy, facts, ids, namespaces

_MOST_SHOWN = 3

# Directories of procfs and sysfs that are always empty: a mount there hides nothing (proc_create_mount_point()).
_EMPTY = (
    "/proc/sys/fs/binfmt_misc",
    "/proc/fs/nfsd",
    "/proc/openprom",
    "/sys/fs/",
    "/sys/kernel/",
    "/sys/firmware/efi/efivars",
)


def remedy(number: int, kind: str, *, in_user_namespace: bool = False) -> Remedy | None:
    """Why a new file system of this type was refused with this errno; None if it can't be told.

    in_user_namespace   the mount is made by the root of a new user namespace
    """
    inside = in_user_namespace or not facts.in_first_user_namespace()
    if number == errno.ENODEV:
        return Remedy(f"the kernel does not know the file system type {kind}", f"modprobe {kind}", root=True)
    if number == errno.ENOSYS:
        return facts.outer_filter()
    if number == errno.EACCES:
        restricted = namespaces.restriction() if in_user_namespace else None
        return restricted or facts.outer_profile()
    if number != errno.EPERM:
        return None
    if inside and kind in ("proc", "sysfs"):
        found = masked(kind)
        if found:
            return found
    if in_user_namespace:
        return namespaces.restriction() or _overlay(kind) or facts.outer_filter()
    return facts.around()


def masked(kind: str) -> Remedy | None:
    """If the procfs (or sysfs) that is here is covered in places: then a user namespace gets no other, uncovered one."""
    top = "/proc" if kind == "proc" else "/sys"
    places = covered(top)
    if not places:
        return None
    shown = ", ".join(places[:_MOST_SHOWN]) + (", ..." if len(places) > _MOST_SHOWN else "")
    return Remedy(
        f"{top} is covered in {len(places)} places ({shown}), as in a container of an engine, and then the kernel lets a user "
        f"namespace mount no new {kind}",
        "start the outer container with --security-opt systempaths=unconfined (docker), --security-opt unmask=ALL (podman) or "
        "procMount: Unmasked (Kubernetes)",
    )


def covered(top: str) -> list[str]:
    """Where something is mounted below /proc or /sys that hides what the kernel shows there."""
    points = [
        line.split(" ", 5)[4]
        for line in facts.text("/proc/self/mountinfo").splitlines()
        if line.count(" ") > 5
    ]
    below = (point for point in points if point.startswith(f"{top}/"))
    return sorted({point for point in below if not point.startswith(_EMPTY)})


def _overlay(kind: str) -> Remedy | None:
    if kind != "overlay":
        return None
    return Remedy(
        "this kernel does not mount overlay in a user namespace (Linux 5.11 does)",
        "apt-get install fuse-overlayfs, and let the engine use it, or its driver vfs",
    )


def id_mapping(number: int, kind: str = "") -> Remedy | None:
    """Why mount_setattr(2) with MOUNT_ATTR_IDMAP was refused; `kind` is the file system's type, if it is known."""
    if number == errno.EINVAL:
        what = f"file systems of type {kind}" if kind else "its file system"
        return Remedy(
            f"this kernel can't id-map {what}, or the source already is id-mapped",
            "use a source on ext4, xfs, btrfs or tmpfs",
        )
    if number == errno.ENOSYS:
        return facts.outer_filter() or Remedy(
            "this kernel has no mount_setattr (Linux 5.12 has)",
            "use a newer kernel, or leave out the option idmap",
        )
    if number == errno.EPERM:
        if not facts.in_first_user_namespace():
            return Remedy(
                "in a user namespace, only file systems that were mounted in it can be id-mapped",
                "leave out the option idmap, or run as the host's root",
                root=True,
            )
        return _no_right_to_id_map() or facts.around()
    return None


def id_maps_of_mount(number: int, file: str, ranges: list[list[int]]) -> Remedy | None:
    """Why the mappings of a mount can't be written, to `file` of a process that holds them; `ranges` as in ids.map_refused."""
    refused = _no_right_to_id_map() if number in (errno.EACCES, errno.EPERM) else None
    return refused or ids.map_refused(number, file, ranges)


def _no_right_to_id_map() -> Remedy | None:
    if not facts.uid() or facts.has(facts.CAP_SYS_ADMIN):
        return None
    return Remedy(
        f"uid {facts.uid()} has no CAP_SYS_ADMIN in the user namespace of the file system, which an id-mapped mount needs",
        "call it with sudo, or leave out the option idmap",
        root=True,
    )


def attributes(number: int) -> Remedy | None:
    """Why mount_setattr(2) was refused."""
    if number == errno.ENOSYS:
        return facts.outer_filter() or Remedy(
            "this kernel has no mount_setattr (Linux 5.12 has): options such as rro and ridmap are refused",
            "use a newer kernel, or leave out the options that begin with r",
        )
    return facts.around() if number == errno.EPERM else None


def kind_of(path: str) -> str:
    """The type of the file system that a path is on, or ""; the last mount at the longest point above it counts."""
    best, kind = "", ""
    path = os.path.realpath(path)
    for line in facts.text("/proc/self/mountinfo").splitlines():
        front, _, back = line.partition(" - ")
        point = front.split(" ")[4]
        if (path == point or path.startswith(f"{point.rstrip('/')}/")) and len(point) >= len(best):
            best, kind = point, back.split(" ")[0]
    return kind
