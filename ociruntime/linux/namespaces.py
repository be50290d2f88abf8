# SPDX-License-Identifier: Apache-2.0
"""Which namespaces are new, which are joined, and in which order? (config-linux.md, Namespaces)

A new namespace is a flag of the clone that makes init. If some are joined, a helper enters them by setns(2)
and then forks init with the flags of the new ones, because a joined pid namespace applies only to children,
and because namespaces that another user namespace owns must be entered before a new one is made. A time
namespace needs a helper too: a process that unshares one is not in it, but its children are. An ordinary user's
helper makes the user namespace in the same call, because only what that owns is within its rights. In a new user
namespace init has every capability until it executes a program, and its ids are not mapped yet: it is forked
by a helper, and need not be executed again.
Must not import another subject; check() and the plan functions touch no file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from ociruntime.errors import StepFailed, Violation, hint_for
from ociruntime.linux import namespace_entries
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
from ociruntime.step import HostStep, InitStep, Slot

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.launch.context import Context

KEYS = (
    "/linux/namespaces",
    "/linux/namespaces/*/type",
    "/linux/namespaces/*/path",
    "/linux/timeOffsets",
    "/linux/timeOffsets/monotonic",
    "/linux/timeOffsets/monotonic/secs",
    "/linux/timeOffsets/monotonic/nanosecs",
    "/linux/timeOffsets/boottime",
    "/linux/timeOffsets/boottime/secs",
    "/linux/timeOffsets/boottime/nanosecs",
)

# ioctl_nsfs(2): _IO(0xb7, 3), the CLONE_NEW* type of a namespace descriptor
NS_GET_NSTYPE = 0xB703

# In the order of joining: a process that has entered a user namespace has no rights in the namespaces that others
# own, so it comes last.
TYPES = {
    "network": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "cgroup": CLONE_NEWCGROUP,
    "pid": CLONE_NEWPID,
    "time": CLONE_NEWTIME,
    "mount": CLONE_NEWNS,
    "user": CLONE_NEWUSER,
}

# /proc/PID/ns/...: where the kernel's name differs
_FILES = {"network": "net", "mount": "mnt"}

# Not by clone: the cgroup namespace's root is the cgroup at the moment of unshare, which must be the
# container's own (init is moved there after the clone); a time namespace can't be a flag of clone(2).
_NOT_BY_CLONE = CLONE_NEWCGROUP | CLONE_NEWTIME

_SECOND = 1_000_000_000  # the kernel refuses this many nanoseconds or more (proc_timens_set_offset)
_CLOCKS = ("monotonic", "boottime")


def check(config: Node) -> Iterator[Violation]:
    """Rules that the schema can't say: no type twice (R101), absolute paths (R096)."""
    seen: set[str] = set()
    for entry in config.at("linux", "namespaces"):
        name = entry.at("type").text()
        if name in seen:
            yield Violation(entry.pointer, f"the namespace type {name} is listed twice", "R101")
        seen.add(name)
        path = entry.at("path")
        if path.text() and not path.text().startswith("/"):
            yield Violation(path.pointer, f"the path {path.text()!r} of a namespace must be absolute", "R096")
    offsets = config.at("linux", "timeOffsets")
    if len(offsets) and not namespace_entries.is_new(config, "time"):
        yield Violation(
            offsets.pointer,
            f"time offsets need a new time namespace: {', '.join(name for name, _ in offsets.members())}",
            "R104",
        )
    for name, offset in offsets.members():
        nanoseconds = offset.at("nanosecs").number()
        if nanoseconds >= _SECOND:
            reason = f"nanosecs of the {name} clock must be below {_SECOND}"
            yield Violation(offset.at("nanosecs").pointer, reason, "R104")


def features(takes: Callable[..., bool]) -> dict[str, object]:
    """Its part of the features document; `takes` says whether check() accepts a config."""
    names = sorted(name for name in TYPES if takes(linux={"namespaces": [{"type": name}]}))
    return {"linux": {"namespaces": names}}


def clone_flags(config: Node) -> int:
    """The CLONE_NEW* flags of the clone that makes init."""
    flags = 0
    for name, path in namespace_entries.kinds(config):
        if not path:
            flags |= TYPES.get(name, 0)
    if namespace_entries.has(config, "user"):
        flags &= ~CLONE_NEWIPC  # see plan_ipc
    return flags & ~_NOT_BY_CLONE


def forks(config: Node) -> bool:
    """True if a helper must fork init: a namespace is joined by path, or the user or time namespace is new."""
    return any(path or name in ("user", "time") for name, path in namespace_entries.kinds(config))


def plan_paths(config: Node) -> Iterator[HostStep]:
    """Open the namespaces to be joined: before the clone, in the runtime's mount namespace (R096)."""
    for entry in config.at("linux", "namespaces"):
        name, path = entry.at("type").text(), entry.at("path").text()
        if path:
            yield HostStep(
                "open_namespace",
                {"path": path, "type": name, "slot": _slot_key(name), "changed": _changes(config, name)},
                pointer=entry.at("path").pointer,
                text=f"{name} {path}",
            )


def _changes(config: Node, name: str) -> bool:
    """True if the config sets something in a namespace of this type that all its members would see."""
    if name == "mount":  # its root would be replaced, and its mounts would go
        return True
    if name == "uts" and (config.at("hostname").text() or config.at("domainname").text()):
        return True
    if name == "network" and len(config.at("linux", "netDevices")):
        return True
    for key, _ in config.at("linux", "sysctl").members():
        owner = "network" if key.startswith(("net.", "net/")) else "uts" if "name" in key else "ipc"
        if owner == name:
            return True
    return False


def plan_join(config: Node, host: Host) -> Iterator[InitStep]:
    """What the helper does: enter the joined namespaces, then fork init into the new ones.

    An ordinary user has rights in none of them but those that belong to the user namespace, once it is in that.
    """
    if not forks(config):
        return
    first = () if host.uid == 0 else ("user",)
    yield from _plan_joins(config, first)
    flags = clone_flags(config)
    owner = flags & CLONE_NEWUSER if first and namespace_entries.is_new(config, "time") else 0
    yield from _plan_time(config, owner)
    yield from _plan_joins(config, [name for name in TYPES if name not in first])
    flags &= ~owner
    new = [name for name, flag in TYPES.items() if flags & flag]
    yield InitStep(
        "fork",
        flags,
        pointer="/linux/namespaces",
        text=f"init into new {', '.join(new)}" if new else "init",
    )


def _plan_joins(config: Node, names: Iterable[str]) -> Iterator[InitStep]:
    for name in names:
        path = namespace_entries.entry(config, name).at("path")
        if path.text():
            yield InitStep(
                "join",
                Slot(_slot_key(name)),
                TYPES[name],
                name="join namespace",
                pointer=path.pointer,
                text=f"{name} {path.text()}",
            )


def _plan_time(config: Node, owner: int) -> Iterator[InitStep]:
    """Before other joins, with the host's procfs: the offsets can be set only while no process is in it.

    owner   CLONE_NEWUSER if the user namespace must be made in the same call, to own it: an ordinary user has the right to
            make it, and CAP_SYS_TIME for the offsets, nowhere else. time_namespaces(7)
    """
    if namespace_entries.is_new(config, "time"):
        pointer = namespace_entries.entry(config, "time").pointer
        text = "new user namespace, and its time namespace" if owner else "new time namespace"
        yield InitStep("unshare", owner | CLONE_NEWTIME, pointer=pointer, text=text)
    offsets = config.at("linux", "timeOffsets")
    lines = [
        f"{name} {offsets.at(name, 'secs').number()} {offsets.at(name, 'nanosecs').number()}"
        for name in _CLOCKS
        if offsets.at(name)
    ]
    if not lines:
        return
    if owner:  # else the file in /proc is root's
        yield InitStep("dumpable", 1, name="open to its user", text="who sets the time offsets")
    yield InitStep(
        "time_offsets",
        "\n".join(lines),
        name="set time offsets",
        pointer=offsets.pointer,
        text=", ".join(lines),
    )
    if owner:
        yield InitStep("dumpable", 0, name="close to its user")


def plan_enter(config: Node, slot: Slot) -> Iterator[InitStep]:
    """Enter all namespaces of a container that exists, by a pidfd of its init (Linux 5.8) and in one call.

    One by one they would have to be opened by path, and while a process is in only some of them the container can see
    it and use its descriptors.
    """
    names = [name for name in TYPES if namespace_entries.has(config, name)]
    flags = sum(TYPES[name] for name in names)
    if flags:
        pointer = config.at("linux", "namespaces").pointer
        yield InitStep("join", slot, flags, name="join namespaces", pointer=pointer, text=", ".join(names))


def plan_ipc(config: Node) -> Iterator[InitStep]:
    """With a user namespace: once init is its root, so that this root owns the root of mqueue, and not the host's."""
    if namespace_entries.is_new(config, "ipc"):
        pointer = namespace_entries.entry(config, "ipc").pointer
        yield InitStep("unshare", CLONE_NEWIPC, pointer=pointer, text="new ipc namespace")


def plan_cgroup(config: Node) -> Iterator[InitStep]:
    """The cgroup namespace: after init has been moved to its cgroup (sync "started"), before the mounts."""
    if namespace_entries.is_new(config, "cgroup"):
        pointer = namespace_entries.entry(config, "cgroup").pointer
        yield InitStep("unshare", CLONE_NEWCGROUP, pointer=pointer, text="new cgroup namespace")


def apply(step: HostStep, context: Context) -> None:
    """Open one namespace for init and verify its type (R098).

    Raises StepFailed if the path can't be opened, or is not a namespace of the type that the config names.
    """
    path, name = str(step.args["path"]), str(step.args["type"])
    slot = str(step.args["slot"])
    try:
        # O_NONBLOCK: the path may be a FIFO that no one writes to
        context.slots[slot] = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        number = error.errno or 0
        raise StepFailed(
            path, pointer=step.pointer, step=step.name, errno=number, hint=hint_for(number, step.op)
        ) from None
    found = _type_of(context.slots[slot])
    if found != TYPES[name]:
        kinds = [kind for kind, flag in TYPES.items() if flag == found]
        what = f"is a {kinds[0]} namespace" if kinds else "is not a namespace"
        reason = f"{path} {what}, but the config says {name}" if kinds else f"{path} {what}"
        raise StepFailed(reason, pointer=step.pointer, step=step.name, errno=errno.EINVAL)
    if step.args["changed"] and _is_own(context.slots[slot], name):
        reason = (
            f"{path} is the runtime's own {name} namespace: what the config sets there would change the host"
        )
        raise StepFailed(reason, pointer=step.pointer, step=step.name)


def _is_own(descriptor: int, name: str) -> bool:
    opened, own = os.fstat(descriptor), os.stat(f"/proc/self/ns/{_FILES.get(name, name)}")
    return (opened.st_dev, opened.st_ino) == (own.st_dev, own.st_ino)


def _type_of(descriptor: int) -> int:
    # nsfs files are regular files: no ioctl is tried on a device
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return 0
    try:
        return fcntl.ioctl(descriptor, NS_GET_NSTYPE)
    except OSError:
        return 0


def _slot_key(name: str) -> str:
    return f"namespace {name}"
