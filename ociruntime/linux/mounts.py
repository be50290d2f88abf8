# SPDX-License-Identifier: Apache-2.0
"""Which file systems does the container see, and where? (config.md, Mounts)

Init mounts the entries in the config's order (R014). Where a bind comes from, and which side opens it, is in
bind_sources.py; what a cgroup entry stands for depends on the machine and is in cgroup_mounts.py.
Must not import another subject.
"""

from __future__ import annotations

import os
import posixpath

from ociruntime.descriptors import Descriptors
from ociruntime.errors import StepFailed, Violation, hint_for
from ociruntime.linux import cgroup_mounts, namespace_entries
from ociruntime.linux.bind_sources import Source, Sources
from ociruntime.linux.mount_options import MountOptions, check_words, is_id_mapped, known_options, parse
from ociruntime.linux.uapi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_RDONLY,
    MS_I_VERSION,
    MS_RDONLY,
    OPEN_TREE_CLONE,
)
from ociruntime.step import HostStep, InitStep, Slot

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.launch.context import Context

KEYS = (
    "/mounts",
    "/mounts/*/destination",
    "/mounts/*/type",
    "/mounts/*/source",
    "/mounts/*/options",
    "/mounts/*/uidMappings",
    "/mounts/*/uidMappings/*/containerID",
    "/mounts/*/uidMappings/*/hostID",
    "/mounts/*/uidMappings/*/size",
    "/mounts/*/gidMappings",
    "/mounts/*/gidMappings/*/containerID",
    "/mounts/*/gidMappings/*/hostID",
    "/mounts/*/gidMappings/*/size",
)

# Flags of the ops mount_fs, bind and mount_tree, native/plan.h
MOUNT_TARGET_REAL = 2
MOUNT_ON_PROC = 4
MOUNT_COPY_UP = 8
MOUNT_KEEP_MODE = 32
MOUNT_IN_ORDER = 64
MOUNT_SOURCE_PROC = 128

# Files of procfs that lxcfs and engines replace by binds; a mount on any other could fake what the
# runtime writes there, LSM labels above all (CVE-2019-16884).
ON_PROC = frozenset(
    (
        "/proc/cpuinfo",
        "/proc/diskstats",
        "/proc/loadavg",
        "/proc/meminfo",
        "/proc/net/dev",
        "/proc/slabinfo",
        "/proc/stat",
        "/proc/swaps",
        "/proc/sys/crypto/fips_enabled",
        "/proc/sys/kernel/ns_last_pid",
        "/proc/uptime",
    )
)

_LONGEST_PATH = 4095  # PATH_MAX without its NUL


def destination_of(entry: Node) -> str:
    """The mount point in the container: absolute (R017), without "." and "..", which can't leave "/"."""
    return posixpath.normpath("/" + entry.at("destination").text().lstrip("/"))


def check(config: Node) -> Iterator[Violation]:
    """What an entry must have, where it may go, and what is not supported yet."""
    has_user = namespace_entries.has(config, "user")
    for entry in config.at("mounts"):
        options = parse(entry.at("options").texts())
        yield from _check_place(entry, options)
        yield from _check_kind(entry, options)
        yield from check_words(entry, options)
        if is_id_mapped(entry):
            yield from _check_id_maps(entry, options, has_user)


def features(takes: Callable[..., bool]) -> dict[str, object]:
    """Its part of the features document; `takes` says whether check() accepts a config."""
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    mount = {"destination": "/x", "type": "bind", "source": "/x", "options": ["bind", "idmap"]}
    id_mapped = takes(mounts=[{**mount, "uidMappings": ids, "gidMappings": ids}])
    return {
        "mountOptions": [
            option for option in known_options() if id_mapped or option not in {"idmap", "ridmap"}
        ],
        "linux": {"mountExtensions": {"idmap": {"enabled": id_mapped}}},
    }


def _check_place(entry: Node, options: MountOptions) -> Iterator[Violation]:
    where = entry.at("destination")
    if not where.text():
        return  # the schema says that it is required
    if not where.text().startswith("/"):
        yield Violation(
            where.pointer, f"{where.text()!r} should be absolute; taken relative to /", "R016", "warning"
        )
    if len(where.text().encode("utf-8", "surrogatepass")) > _LONGEST_PATH:
        reason = f"{where.text()[:60]!r}... has more than {_LONGEST_PATH} bytes, which no path can have"
        yield Violation(where.pointer, reason, "R017")
        return
    place = destination_of(entry)
    if options.remount:
        return
    if place == "/":
        yield Violation(where.pointer, f"a mount on {where.text()!r} would hide the rootfs", "R015")
    elif place == "/proc" and not options.bind and entry.at("type").text() != "proc":
        yield Violation(
            where.pointer,
            f"{entry.at('type').text()!r} can't be mounted on /proc: only procfs can",
            "CVE-2019-16884",
        )
    elif place.startswith("/proc/") and place not in ON_PROC:
        yield Violation(
            where.pointer,
            f"nothing can be mounted on {place}: only certain files of /proc can be covered",
            "CVE-2019-16884",
        )


def _check_kind(entry: Node, options: MountOptions) -> Iterator[Violation]:
    if options.bind or options.remount:
        if options.bind and not options.remount and not entry.at("source").text():
            yield Violation(entry.at("source").pointer, "a bind mount needs a source", "R018")
        return
    kind = entry.at("type")
    if not kind.text():
        yield Violation(kind.pointer, "a mount that is not a bind mount needs a type", "R019")
    elif kind.text() == "bind":
        yield Violation(
            kind.pointer, "type bind without the option bind or rbind is not a bind mount", "R019"
        )


def _check_id_maps(entry: Node, options: MountOptions, has_user: bool) -> Iterator[Violation]:
    uid, gid = entry.at("uidMappings"), entry.at("gidMappings")
    from ociruntime.linux import id_ranges

    for mappings in (uid, gid):
        yield from id_ranges.check(mappings, "R029")
    if bool(len(uid)) != bool(len(gid)):
        yield Violation(entry.pointer, "uidMappings and gidMappings go together", "R035")
    elif not len(uid) and not has_user:
        reason = f"{options.id_map} needs uidMappings and gidMappings, or a user namespace"
        yield Violation(entry.at("options").pointer, reason, "R031")
    elif not options.bind or options.remount:
        where = uid if len(uid) else entry.at("options")
        reason = "id-mapped mounts other than bind mounts are not supported yet"
        yield Violation(where.pointer, reason, "R026", "unsupported")


class Mount:
    """One entry, read.

    number   its number in the config
    place    its mount point in the container
    source   where a bind comes from; None for other mounts
    """

    __slots__ = ("entry", "number", "options", "place", "source")

    def __init__(
        self, entry: Node, number: int, options: MountOptions, place: str, source: Source | None
    ) -> None:
        self.entry = entry
        self.number = number
        self.options = options
        self.place = place
        self.source = source

    def slot(self) -> str:
        """The key of the tree that the runtime opens for it."""
        return f"mount {self.number}"


def read(config: Node, bundle: str, rootfs: str, host: Host) -> list[Mount]:
    """The entries in the config's order; bundle and rootfs are absolute paths.

    Raises NotSupported for what can only be seen from all entries together.
    """
    sources, found = Sources(config, bundle, rootfs, rootless=host.rootless), []
    for number, entry in enumerate(config.at("mounts")):
        options, place = parse(entry.at("options").texts()), destination_of(entry)
        bound = options.bind and not options.remount
        found.append(Mount(entry, number, options, place, sources.find(entry, options) if bound else None))
        if not options.remount:
            sources.note(place)
    return found


def plan_sources(
    config: Node, host: Host, mounts: list[Mount], cgroup_paths: dict[str, str]
) -> Iterator[HostStep]:
    """Open the sources that init can't: before the clone, and after the container's cgroups have been made.

    cgroup_paths  v1 controller -> absolute path of the container's cgroup directory, for cgroup entries
    """
    for mount in mounts:
        entry = mount.entry
        if mount.source is not None and mount.source.by_runtime:
            args: dict[str, object] = {
                "source": mount.source.path,
                "destination": mount.place,
                "recursive": mount.options.recursive,
                "propagation": mount.source.propagation,
                "slot": mount.slot(),
            }
            if mount.source.root:
                args["root"] = mount.source.root
            yield HostStep("open_bind_source", args, pointer=entry.pointer, text=mount.source.path)
            if is_id_mapped(entry):
                yield _id_map(config, mount)
        elif entry.at("type").text() == "cgroup" and mount.source is None and not mount.options.remount:
            yield from cgroup_mounts.plan_sources(
                config, host, entry, place=mount.place, key=mount.slot(), cgroup_paths=cgroup_paths
            )


def has_mapped(config: Node) -> bool:
    """True if a mount is id-mapped, so that the plan needs the subject idmap."""
    return any(is_id_mapped(entry) for entry in config.at("mounts"))


def _id_map(config: Node, mount: Mount) -> HostStep:
    # While the tree is attached nowhere: a mount that is in use can't be mapped (R032)
    from ociruntime.linux import id_ranges

    entry = mount.entry
    maps, recursive = id_ranges.slot_of(config, entry), mount.options.id_map == "ridmap"
    return HostStep(
        "id_map_bind_source",
        {
            "slot": mount.slot(),
            "destination": mount.place,
            "maps": maps,
            "recursive": recursive,
        },
        pointer=entry.pointer,
        text=f"{entry.at('source').text()} by {maps}{', recursively' if recursive else ''}",
    )


def plan(config: Node, host: Host, mounts: list[Mount], cgroup_paths: dict[str, str]) -> Iterator[InitStep]:
    """The mounts, in the container's namespaces, before pivot_root."""
    for mount in mounts:
        entry, options = mount.entry, mount.options
        if options.remount:
            yield _remount(entry, options)
        elif mount.source is not None:
            yield _bind(mount, mount.source)
        elif entry.at("type").text() == "cgroup":
            yield from cgroup_mounts.plan(
                config,
                host,
                entry,
                place=mount.place,
                options=options,
                key=mount.slot(),
                cgroup_paths=cgroup_paths,
            )
        else:
            yield from _file_system(entry, options)


def plan_read_only(mounts: list[Mount]) -> Iterator[InitStep]:
    """Make read-only what had to be writable until devices, links and mount points were made in it."""
    last = {mount.place: mount for mount in mounts}  # mounts that a later entry covers can't be reached
    for mount in mounts:
        if _is_late_read_only(mount.entry, mount.options) and last[mount.place] is mount:
            yield InitStep(
                "mount_attributes",
                mount.place,
                MOUNT_ATTR_RDONLY,
                0,
                0,
                0,
                0,
                0,
                name="make mount read-only",
                pointer=mount.entry.pointer,
                text=mount.place,
            )


def _is_late_read_only(entry: Node, options: MountOptions) -> bool:
    if options.remount or options.bind or not options.new_attributes()[0] & MOUNT_ATTR_RDONLY:
        return False
    return entry.at("type").text() == "tmpfs" or destination_of(entry) == "/dev"


def _file_system(entry: Node, options: MountOptions) -> Iterator[InitStep]:
    kind, place = entry.at("type").text(), destination_of(entry)
    attr_set, attr_clear = options.new_attributes()
    words = list(options.superblock)
    if _is_late_read_only(entry, options):
        attr_set &= ~MOUNT_ATTR_RDONLY
        words = [word for word in words if word != "ro"]
    flags = _target_flags(place)
    text = describe(kind, place, entry)
    if kind == "tmpfs":
        if options.copy_up:
            flags |= MOUNT_COPY_UP
        # as if the directory itself had been emptied: its mode stays as it was
        if not any(word.startswith("mode=") for word in options.data):
            flags |= MOUNT_KEEP_MODE
            text += " with the directory's mode"
    yield InitStep(
        "mount_fs",
        kind,
        entry.at("source").text() or None,
        words + options.data,
        attr_set,
        attr_clear,
        options.propagation,
        options.rpropagation,
        place,
        flags,
        name="mount",
        pointer=entry.pointer,
        text=text,
    )
    if options.flags & MS_I_VERSION:  # the one flag that fsconfig has no word for
        late = MS_RDONLY if _is_late_read_only(entry, options) else 0
        yield InitStep(
            "remount",
            place,
            options.mount_flags() & ~late,
            None,
            pointer=entry.pointer,
            text=describe(kind, place, entry),
        )


def _bind(mount: Mount, source: Source) -> InitStep:
    entry, options, place = mount.entry, mount.options, mount.place
    flags = _target_flags(place) | (MOUNT_SOURCE_PROC if place == "/proc" else 0)
    tail = (
        options.attr_set,
        options.attr_clear,
        options.rattr_set,
        options.rattr_clear,
        options.propagation,
        options.rpropagation,
        place,
    )
    text = describe(f"bind of {entry.at('source').text()}", place, entry)
    if source.by_runtime:
        args = (Slot(mount.slot()), *tail, flags | MOUNT_IN_ORDER)
        return InitStep("mount_tree", *args, name="mount", pointer=entry.pointer, text=text)
    head = (source.path, source.flags, source.propagation)
    return InitStep("bind", *head, *tail, flags, name="mount", pointer=entry.pointer, text=text)


def _remount(entry: Node, options: MountOptions) -> InitStep:
    place = destination_of(entry)
    text = describe("remount", place, entry)
    if not options.bind:
        data = ",".join(options.data) or None
        return InitStep("remount", place, options.mount_flags(), data, pointer=entry.pointer, text=text)
    return InitStep(
        "mount_attributes",
        place,
        options.attr_set,
        options.attr_clear,
        options.rattr_set,
        options.rattr_clear,
        options.propagation,
        options.rpropagation,
        name="remount",
        pointer=entry.pointer,
        text=text,
    )


def _target_flags(place: str) -> int:
    if place == "/sys":
        return MOUNT_TARGET_REAL
    if place == "/proc":  # check() lets only procfs through; the rootfs may have one there already
        return MOUNT_TARGET_REAL | MOUNT_ON_PROC
    return MOUNT_ON_PROC if place in ON_PROC else 0


def describe(what: str, place: str, entry: Node) -> str:
    """One entry in words: `tmpfs on /dev/shm (nosuid,noexec,nodev,mode=1777,size=65536k)`."""
    options = ",".join(entry.at("options").texts())
    return f"{what} on {place} ({options})" if options else f"{what} on {place}"


def apply(step: HostStep, context: Context) -> None:
    """Open a bind mount's source as a detached tree whose mounts don't propagate to where it came from, or map its ids.

    Raises StepFailed if the source does not exist, or can't be bound or mapped.
    """
    if step.op == "open_bind_source":
        _open_source(step, context)
    else:
        _map_ids(step, context)


def _map_ids(step: HostStep, context: Context) -> None:
    from ociruntime.native._shim import lib

    flags = AT_EMPTY_PATH | (AT_RECURSIVE if step.args["recursive"] else 0)
    tree, maps = context.slots[str(step.args["slot"])], context.slots[str(step.args["maps"])]
    failed = lib.shim_mount_setattr(tree, b"", flags, MOUNT_ATTR_IDMAP, 0, 0, maps)
    if failed < 0:
        from ociruntime.linux.refusals.mounts import id_mapping

        raise StepFailed(
            f"{step.text} for the mount on {step.args['destination']}",
            pointer=step.pointer,
            step=step.name,
            errno=-failed,
            hint=str(id_mapping(-failed) or hint_for(-failed)),
        )


def _open_source(step: HostStep, context: Context) -> None:
    from ociruntime.native._shim import lib

    source, root, slot = os.fsencode(str(step.args["source"])), step.args.get("root"), str(step.args["slot"])
    flags = OPEN_TREE_CLONE | os.O_CLOEXEC | (AT_RECURSIVE if step.args["recursive"] else 0)
    with Descriptors() as opened:
        directory = AT_FDCWD
        if root:
            opened["root"] = os.open(os.fsencode(str(root)), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            opened["source"] = directory = lib.shim_open_in_root(opened["root"], source)
            source, flags = b"", flags | AT_EMPTY_PATH
        if directory != AT_FDCWD and directory < 0:
            del opened["source"]
            raise _failure(step, -directory)
        context.slots[slot] = tree = lib.shim_open_tree(directory, source, flags)
    if tree < 0:
        del context.slots[slot]
        raise _failure(step, -tree)
    propagation = step.args["propagation"]
    if isinstance(propagation, int) and propagation:
        flags = AT_EMPTY_PATH | AT_RECURSIVE
        failed = lib.shim_mount_setattr(tree, b"", flags, 0, 0, propagation, -1)
        if failed < 0:
            raise _failure(step, -failed)


def _failure(step: HostStep, number: int) -> StepFailed:
    inside = " in the rootfs" if step.args.get("root") else ""
    what = f"{step.args['source']}{inside} on {step.args['destination']}"
    hint = hint_for(number, step.op)
    return StepFailed(what, pointer=step.pointer, step=step.name, errno=number, hint=hint)
