# SPDX-License-Identifier: Apache-2.0
"""How does a root filesystem that is a list of mounts come to be? As engines' snapshotters give it: overlay, bind, native.

They are made in the caller's mount namespace, in their order, before create; afterwards they are unmounted. This is for the
callers of the library; a bundle of the command has its root filesystem already. Must not import what create needs.
"""

from __future__ import annotations

import os

from ociruntime.descriptors import Descriptors
from ociruntime.errors import NotSupported, StepFailed, errno_text
from ociruntime.linux.mount_options import parse
from ociruntime.linux.uapi import MS_REC, MS_REMOUNT
from ociruntime.native._shim import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_MS_BIND = 4096
_MOST_DATA = 4095  # bytes: mount(2) reads a page, with the zero at its end
_EINVAL, _ENOENT = 22, 2
_MOST_LAYERS = 64  # of mounts on one place, when they are unmounted
_STEP = "mount rootfs"


class RootfsMount:
    """One mount of a root filesystem.

    kind     type of file system, "bind", or "" (bind, if the options say so)
    source   what is mounted: a directory, a device, a word
    options  as in mount(8) and config.json
    target   path below the root filesystem, or "" for itself
    """

    __slots__ = ("kind", "options", "source", "target")

    def __init__(self, kind: str, source: str, options: Sequence[str] = (), target: str = "") -> None:
        self.kind = kind
        self.source = source
        self.options = list(options)
        self.target = target


def mount_rootfs(rootfs: str, mounts: Sequence[RootfsMount]) -> None:
    """Mount them; see api.mount_rootfs."""
    for number, mount in enumerate(mounts):
        _refuse(number, mount)
    try:
        for number, mount in enumerate(mounts):
            with Descriptors() as opened:
                _mount(rootfs, number, mount, opened)
    except BaseException:
        unmount_rootfs(rootfs)
        raise


def _refuse(number: int, mount: RootfsMount) -> None:
    """What needs more than mount(2)."""
    words = {word.partition("=")[0] for word in mount.options}
    if "loop" in words:
        what = "the mount option loop"
    elif mount.kind.partition(".")[0] in {"fuse", "fuse3", "fuseblk"}:
        what = f"file system {mount.kind}"
    elif mount.kind.partition("/")[0] in {"mkfs", "format", "mkdir"} and "/" in mount.kind:
        what = f"the mount type {mount.kind}, which asks the engine for more than a mount"
    else:
        return
    raise NotSupported(f"rootfs mount {number} of {mount.source}: {what} is not supported")


def _mount(rootfs: str, number: int, mount: RootfsMount, opened: Descriptors) -> None:
    place = rootfs
    if mount.target:
        opened["root"] = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        opened["target"] = found = lib.shim_open_in_root(
            opened["root"], os.fsencode(mount.target.lstrip("/"))
        )
        if found < 0:
            del opened["target"]
            raise _failed(number, mount, f"{rootfs}/{mount.target}", -found)
        place = f"/proc/self/fd/{found}"
    options = parse(mount.options)
    flags = options.mount_flags() & ~MS_REMOUNT
    bind = mount.kind == "bind" or options.bind
    if bind:
        first = _MS_BIND | (MS_REC if options.recursive else 0)
        _call(number, mount, place, flags=first)
        if flags:
            _call(number, mount, place, flags=flags | _MS_BIND | MS_REMOUNT)
    else:
        data = _shortened(",".join(options.data), opened)
        _call(number, mount, place, kind=mount.kind, flags=flags, data=data)
    if options.propagation:
        _call(number, mount, place, flags=options.propagation)


def _shortened(data: str, opened: Descriptors) -> str:
    """The data; if they don't fit into a page, with the layers of an overlay as descriptors' paths."""
    if len(os.fsencode(data)) <= _MOST_DATA:
        return data
    words = data.split(",")
    for number, word in enumerate(words):
        name, _, layers = word.partition("=")
        if name == "lowerdir":
            words[number] = f"{name}={':'.join(_by_descriptor(path, opened) for path in layers.split(':'))}"
    return ",".join(words)


def _by_descriptor(path: str, opened: Descriptors) -> str:
    opened[path] = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return f"/proc/self/fd/{opened[path]}"


def _call(number: int, mount: RootfsMount, place: str, *, flags: int, kind: str = "", data: str = "") -> None:
    raw = os.fsencode(data)
    if len(raw) > _MOST_DATA:
        reason = f"rootfs mount {number}: its options have {len(raw)} bytes; mount(2) takes {_MOST_DATA}"
        raise StepFailed(reason, step=_STEP)
    done = lib.shim_mount(
        os.fsencode(mount.source), os.fsencode(place), kind.encode(), flags, raw or ffi.NULL
    )
    if done < 0:
        raise _failed(number, mount, place, -done)


def _failed(number: int, mount: RootfsMount, place: str, code: int) -> StepFailed:
    kind = mount.kind or "bind"
    return StepFailed(f"rootfs mount {number}: {kind} {mount.source} on {place}", step=_STEP, errno=code)


def unmount_rootfs(rootfs: str) -> None:
    """Unmount all that is mounted there; see api.unmount_rootfs."""
    for _ in range(_MOST_LAYERS):
        done = lib.shim_umount(os.fsencode(rootfs))
        if done in {-_EINVAL, -_ENOENT}:  # nothing is mounted there, or nothing is there
            return
        if done < 0:
            raise StepFailed(f"{rootfs}: {errno_text(-done)}", step="unmount rootfs")
