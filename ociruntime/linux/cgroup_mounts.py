# SPDX-License-Identifier: Apache-2.0
"""What is mounted for an entry of type cgroup? It depends on the machine; part of the subject mounts.

On cgroup v2: the cgroup2 file system, or a bind of the host's mount where the kernel refuses a new one. On v1
and hybrid: a tmpfs with a directory for each v1 hierarchy, as runc does (the cgroup2 hierarchy of a hybrid
host is left out): with a cgroup namespace a fresh mount of it, otherwise a bind of the container's own cgroup.
Controllers that are mounted together get links. Without power over the host a container can be without a cgroup of its own:
then it is shown the caller's, in which it is, as runc does. Its binds are made by init: the runtime may not open trees.
Must not import mounts.py (which imports this) or another subject.
"""

from __future__ import annotations

import posixpath

from ociruntime.linux import namespace_entries
from ociruntime.linux.bind_sources import opened_by_runtime
from ociruntime.linux.uapi import (
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY,
    MS_SLAVE,
)
from ociruntime.step import HostStep, InitStep, Slot

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.linux.mount_options import MountOptions


def plan_sources(
    config: Node, host: Host, entry: Node, *, place: str, key: str, cgroup_paths: dict[str, str]
) -> Iterator[HostStep]:
    """Open the container's cgroup directories, where they are shown by binds whose source init can't open."""
    if not _opens(config, host):
        return
    if not host.cgroups.controllers:
        if _is_bound(config, host):
            yield _source(entry, host.cgroups.v2, place, key)
        return
    if namespace_entries.has(config, "cgroup"):
        return
    for point, names in host.cgroups.hierarchies().items():
        source = _directory(host, point, names, cgroup_paths)
        if source:
            name = posixpath.basename(point)
            yield _source(entry, source, posixpath.join(place, name), f"{key} {name}")


def _source(entry: Node, source: str, place: str, slot: str) -> HostStep:
    args: dict[str, object] = {"source": source, "destination": place, "recursive": False}
    args.update(propagation=MS_SLAVE, slot=slot)
    return HostStep("open_bind_source", args, pointer=entry.pointer, text=source)


def plan(
    config: Node,
    host: Host,
    entry: Node,
    *,
    place: str,
    options: MountOptions,
    key: str,
    cgroup_paths: dict[str, str],
) -> Iterator[InitStep]:
    """The mounts for one entry of type cgroup at `place`."""
    flags = options.new_attributes()
    opens = _opens(config, host)
    if _is_bound(config, host):
        yield _bind(Slot(key) if opens else host.cgroups.v2, place, entry, options)
        return
    if not host.cgroups.controllers:
        yield _mount_fs("cgroup2", place, entry, words=options.data, flags=flags, options=options)
        return
    # The directories are made in it, so it is made read-only at the end.
    base = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    yield _mount_fs("tmpfs", place, entry, words=["mode=755"], flags=(base, 0), options=options)
    fresh = namespace_entries.has(config, "cgroup")
    for point, names in host.cgroups.hierarchies().items():
        name = posixpath.basename(point)
        target = posixpath.join(place, name)
        if fresh:
            words = [word for controller in names for word in _words(controller)]
            yield _mount_fs("cgroup", target, entry, words=words, flags=flags, options=options)
        elif source := _directory(host, point, names, cgroup_paths):
            yield _bind(Slot(f"{key} {name}") if opens else source, target, entry, options)
        else:
            continue
        yield from _links(place, name, names, entry)
    if flags[0] & MOUNT_ATTR_RDONLY:
        yield InitStep(
            "mount_attributes",
            place,
            MOUNT_ATTR_RDONLY,
            *(0, 0, 0, 0, 0),
            name="make mount read-only",
            pointer=entry.pointer,
            text=place,
        )


def _links(place: str, name: str, names: list[str], entry: Node) -> Iterator[InitStep]:
    # cpu -> cpu,cpuacct, where programs look for them
    if len(names) < 2:
        return
    for controller in names:
        short = controller.removeprefix("name=")
        if short != name:
            link = posixpath.join(place, short)
            text = f"{link} -> {name}"
            yield InitStep("symlink", link, name, 0, name="make link", pointer=entry.pointer, text=text)


def _is_bound(config: Node, host: Host) -> bool:
    """True if cgroup2 is shown by a bind: mounting it takes CAP_SYS_ADMIN over the cgroup namespace.

    The root of another user namespace has that only in a cgroup namespace of its own.
    """
    foreign = host.rootless or namespace_entries.has(config, "user")
    alone = foreign and not namespace_entries.has(config, "cgroup")
    return alone and not host.cgroups.controllers and host.cgroups.v2 != ""


def _opens(config: Node, host: Host) -> bool:
    """True if the runtime opens what is bound."""
    return opened_by_runtime(config) and not host.rootless


def _directory(host: Host, point: str, names: list[str], cgroup_paths: dict[str, str]) -> str:
    """The container's cgroup in the hierarchy at `point`, or "" if it has none there: then none of it is shown."""
    own = next((cgroup_paths[name] for name in names if name in cgroup_paths), "")
    if own or not host.rootless:
        return own
    inside = host.cgroups.own.get(names[0], "/")
    # ".." leads out of the caller's cgroup namespace; what it can't see, it can't show
    return "" if ".." in inside.split("/") else f"{point}{inside}".rstrip("/")


def _words(controller: str) -> list[str]:
    # a named hierarchy has no controllers, and must say so
    return ["none", controller] if controller.startswith("name=") else [controller]


def _mount_fs(
    kind: str, place: str, entry: Node, *, words: list[str], flags: tuple[int, int], options: MountOptions
) -> InitStep:
    # Only attributes of the mount, no superblock flags: a hierarchy has one superblock, the host's.
    shown = ",".join(words)
    return InitStep(
        "mount_fs",
        kind,
        kind,
        words,
        *flags,
        options.propagation,
        options.rpropagation,
        place,
        0,
        name="mount",
        pointer=entry.pointer,
        text=f"{kind} on {place} ({shown})" if shown else f"{kind} on {place}",
    )


def _bind(source: Slot | str, place: str, entry: Node, options: MountOptions) -> InitStep:
    """A bind of a tree that the runtime opens, or of a path that init opens."""
    tail = (*options.new_attributes(), 0, 0, options.propagation, options.rpropagation, place, 0)
    text = f"cgroup on {place}"
    if isinstance(source, Slot):
        return InitStep("mount_tree", source, *tail, name="mount", pointer=entry.pointer, text=text)
    # Not recursive: each hierarchy is one mount, and what else is below it was put there by others.
    return InitStep("bind", source, 0, MS_SLAVE, *tail, name="mount", pointer=entry.pointer, text=text)
