# SPDX-License-Identifier: Apache-2.0
"""How does the rootfs become the container's "/"? (config.md, Root; config-linux.md, Rootfs Mount Propagation)

Three groups of init steps, for three places in the plan: `plan` before the mounts, `plan_enter` when all
mounts and devices are there, `plan_finish` in the new root. Without a mount namespace the container is
only chrooted, and this module's undo unmounts what it mounts.
Must not import another subject.
"""

from __future__ import annotations

import errno
import os

from ociruntime.errors import StepFailed, Violation, hint_for
from ociruntime.host_path import joined
from ociruntime.linux import namespace_entries
from ociruntime.linux.uapi import MOUNT_ATTR_RDONLY, MS_PRIVATE, MS_REC, MS_SHARED, MS_SLAVE, MS_UNBINDABLE
from ociruntime.step import HostStep, InitStep

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.launch.context import Context
    from ociruntime.linux.mountinfo import Mount

KEYS = ("/root", "/root/path", "/root/readonly", "/linux/rootfsPropagation")

# Errors when others have renamed the path to a mount; then the mount table is read again, at most _LOOKS times.
_MOVED = frozenset((errno.ESTALE, errno.ENOENT, errno.ELOOP, errno.ENOTDIR))
_LOOKS = 100

# Flags of op root (native/plan.h).
ROOT_BIND = 1
ROOT_PARENT_PRIVATE = 2
ROOT_PRIVATE = 4

# value -> (what the rootfs's mounts become, propagation of the container's "/" at the end or 0).
# The host's mounts become slaves in the new namespace, whatever the value: never shared, or the rootfs, which is
# bound onto itself, would appear on the host; and not private, because a bind with `slave` must follow the host's mount.
# "shared" means a peer group of the container's own, which is not the host's slave either.
_PROPAGATION = {
    "": (MS_SLAVE, 0),
    "slave": (MS_SLAVE, 0),
    "rslave": (MS_SLAVE, 0),
    "private": (MS_PRIVATE, 0),
    "rprivate": (MS_PRIVATE, 0),
    "shared": (MS_SLAVE, MS_SHARED),
    "rshared": (MS_SLAVE, MS_REC | MS_SHARED),
    "unbindable": (MS_PRIVATE, MS_UNBINDABLE),
    "runbindable": (MS_PRIVATE, MS_REC | MS_UNBINDABLE),
}

_NAMES = {MS_SLAVE: "slave", MS_PRIVATE: "private", MS_SHARED: "shared", MS_UNBINDABLE: "unbindable"}

_POINTER = "/linux/rootfsPropagation"


def check(config: Node) -> Iterator[Violation]:
    """A known propagation; read-only roots and propagation need a mount namespace."""
    path = config.at("root", "path")
    if path and not path.text():
        yield Violation(path.pointer, "the path of the rootfs must not be empty", "R010")
    propagation = config.at("linux", "rootfsPropagation")
    if propagation.text() not in _PROPAGATION:
        names = ", ".join(name for name in _PROPAGATION if name)
        yield Violation(
            propagation.pointer,
            f"unknown propagation {propagation.text()!r}, expected one of {names}",
            "R194",
        )
    if not namespace_entries.has(config, "mount") and propagation.text():
        yield Violation(
            propagation.pointer, f"rootfsPropagation {propagation.text()} needs a mount namespace", "R194"
        )


def path_of(config: Node, bundle: str) -> str:
    """The rootfs as an absolute path: root.path, relative to the bundle if it is not absolute (R010)."""
    return joined(bundle, config.at("root", "path").text())


def plan_host(config: Node, bundle: str) -> Iterator[HostStep]:
    """Without a mount namespace: note which mounts there are, so that the container's can be unmounted later."""
    if not namespace_entries.has(config, "mount"):
        path = path_of(config, bundle)
        yield HostStep(
            "note_mounts",
            {"path": path},
            pointer="/linux/namespaces",
            text=f"below {path}: the container has no mount namespace",
            undoable=True,
        )


def plan(config: Node, bundle: str) -> Iterator[InitStep]:
    """Before the mounts: cut the new namespace off from the host's, and make the rootfs a mount."""
    flags = ROOT_BIND
    if namespace_entries.has(config, "mount"):
        yield InitStep("propagation", MS_REC | MS_SLAVE, name="set propagation", text="/ to rslave")
        flags |= ROOT_PARENT_PRIVATE
        if _PROPAGATION[config.at("linux", "rootfsPropagation").text()][0] == MS_PRIVATE:
            flags |= ROOT_PRIVATE
    path = path_of(config, bundle)
    text = f"{path} (private)" if flags & ROOT_PRIVATE else path
    yield InitStep("root", path, flags, name="open rootfs", pointer="/root/path", text=text)


def plan_enter(config: Node, no_pivot: bool = False) -> Iterator[InitStep]:
    """Make the rootfs the root directory; no_pivot is runc's --no-pivot, for a host root on an initramfs."""
    if not namespace_entries.has(config, "mount"):
        yield InitStep("chroot", pointer="/root/path", text="no mount namespace of its own")
    elif no_pivot:
        yield InitStep("move_root", name="move root", pointer="/root/path")
    else:
        yield InitStep("pivot_root", name="pivot_root", pointer="/root/path")


def plan_finish(config: Node) -> Iterator[InitStep]:
    """In the new root: its propagation, and read-only if the config says so (R013)."""
    _, last = _PROPAGATION.get(config.at("linux", "rootfsPropagation").text(), (0, 0))
    if last & MS_SHARED:  # a slave that becomes shared stays a slave
        yield _set_propagation(MS_PRIVATE)
    if last:
        yield _set_propagation(last)
    if config.at("root", "readonly").flag():
        yield InitStep(
            "root_attributes",
            MOUNT_ATTR_RDONLY,
            0,
            0,
            name="make rootfs read-only",
            pointer="/root/readonly",
        )


def _set_propagation(flags: int) -> InitStep:
    recursive = "r" if flags & MS_REC else ""
    text = f"/ to {recursive}{_NAMES[flags & ~MS_REC]}"
    return InitStep("propagation", flags, name="set propagation", pointer=_POINTER, text=text)


def apply(step: HostStep, context: Context) -> None:
    """Write the ids of the mounts that are at or below the rootfs now into the state directory."""
    path = str(step.args["path"])
    noted = b" ".join(_key(mount) for mount in _mounts_below(path))
    temporary = f"{_note_path(context)}.new"  # by rename: half a list would get mounts of others unmounted
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, noted) != len(noted):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
        os.rename(temporary, _note_path(context))
    except OSError as error:
        number = error.errno or 0
        raise StepFailed(
            _note_path(context), pointer=step.pointer, step=step.name, errno=number, hint=hint_for(number)
        ) from None


def undo(_op: str, args: dict[str, object], context: Context) -> None:
    """Unmount what was mounted below the rootfs after the note; without a note nothing was mounted."""
    try:
        with open(_note_path(context), "rb", buffering=0) as file:
            before = set(file.read().split())
    except FileNotFoundError:
        return
    path = str(args["path"])
    # Other users of a volume may exchange the directories that lead to a mount before it is unmounted: then the
    # table says where it is now.
    failures: dict[int, int] = {}
    for _ in range(_LOOKS):
        later = [mount for mount in _mounts_below(path) if not before & {_key(mount), b"%d" % mount.number}]
        failures = _take_down(later)
        if _MOVED.isdisjoint(failures.values()):
            break
    if any(failures.values()):  # a mount that went together with another one is not a failure
        there = {mount.number for mount in _mounts_below(path)}
        later = [mount for mount in later if mount.number in there]
    for mount in later:
        if failures[mount.number]:
            context.warnings.append(f"unmount {mount.point}: {os.strerror(failures[mount.number]).lower()}")


def _take_down(mounts: list[Mount]) -> dict[int, int]:
    # errno by mount; the deepest first, and of several on one mount point the topmost, which came last
    from ociruntime.native._shim import lib

    ordered = sorted(mounts, key=lambda mount: mount.point.count("/"))[::-1]
    return {mount.number: -lib.shim_umount_id(os.fsencode(mount.point), mount.number) for mount in ordered}


def _note_path(context: Context) -> str:
    return f"{context.directory}/mounts-before"


def _key(mount: Mount) -> bytes:
    """What a later mount with the same id does not have."""
    return f"{mount.number}@{mount.device}".encode()


def _mounts_below(path: str) -> list[Mount]:
    """Those at or below `path`, in the order of mounting."""
    from ociruntime.linux.mountinfo import mounts

    real = os.path.realpath(path)
    prefix = real.rstrip("/") + "/"
    return [mount for mount in mounts() if mount.point == real or mount.point.startswith(prefix)]
