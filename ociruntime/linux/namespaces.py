# SPDX-License-Identifier: Apache-2.0
"""Which namespaces are new, which are joined, and in which order? (config-linux.md, Namespaces)

A new namespace is a flag of the clone that makes init. If some are joined, init's maker is a helper that
enters them by setns(2) and then forks init with the flags of the new ones, because a joined pid
namespace holds only for children, and because namespaces that another user namespace owns must be
entered before a new one is made.
Must not import another subject; check() and the plan functions touch no file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from ociruntime.errors import StepFailed, Violation, hint_for
from ociruntime.step import HostStep, InitStep, Slot

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.run import Run

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

# clone(2); include/uapi/linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

# ioctl_nsfs(2): _IO(0xb7, 3), the CLONE_NEW* type of a namespace descriptor
NS_GET_NSTYPE = 0xB703

# In the order of joining: the user namespace gives the rights for the others, and after the mount
# namespace the host's paths are out of reach.
TYPES = {
    "user": CLONE_NEWUSER,
    "network": CLONE_NEWNET,
    "ipc": CLONE_NEWIPC,
    "uts": CLONE_NEWUTS,
    "cgroup": CLONE_NEWCGROUP,
    "pid": CLONE_NEWPID,
    "time": CLONE_NEWTIME,
    "mount": CLONE_NEWNS,
}

# /proc/PID/ns/...: where the kernel's name is another one
_FILES = {"network": "net", "mount": "mnt"}

# Not by clone: the cgroup namespace's root is the cgroup at the moment of unshare, which must be the
# container's own (init is moved there after the clone); a time namespace can't be a flag of clone(2).
_NOT_BY_CLONE = CLONE_NEWCGROUP | CLONE_NEWTIME

_UNSUPPORTED = ("user", "time")


def check(config: Node) -> Iterator[Violation]:
    """Rules that the schema can't say: no type twice (R101), absolute paths (R096)."""
    seen: set[str] = set()
    for entry in config.at("linux", "namespaces"):
        name = entry.at("type").text()
        if name in seen:
            yield Violation(entry.pointer, f"the namespace type {name} is listed twice", "R101")
        elif name in _UNSUPPORTED:
            reason = f"{name} namespaces are not supported yet"
            yield Violation(entry.pointer, reason, "R095", "unsupported")
        seen.add(name)
        path = entry.at("path")
        if path.text() and not path.text().startswith("/"):
            yield Violation(path.pointer, "the path of a namespace must be absolute", "R096")
    offsets = config.at("linux", "timeOffsets")
    if len(offsets):
        if "time" in seen:
            yield Violation(offsets.pointer, "time offsets are not supported yet", "R104", "unsupported")
        else:
            yield Violation(offsets.pointer, "time offsets need a time namespace", "R104")


def has(config: Node, name: str) -> bool:
    """True if the container gets or joins a namespace of this type, instead of the runtime's (R100)."""
    return any(entry.at("type").text() == name for entry in config.at("linux", "namespaces"))


def is_new(config: Node, name: str) -> bool:
    """True if the container gets a fresh namespace of this type (R099)."""
    return any(
        entry.at("type").text() == name and not entry.at("path").text()
        for entry in config.at("linux", "namespaces")
    )


def clone_flags(config: Node) -> int:
    """The CLONE_NEW* flags of the clone that makes init."""
    flags = 0
    for entry in config.at("linux", "namespaces"):
        if not entry.at("path").text():
            flags |= TYPES.get(entry.at("type").text(), 0)
    return flags & ~_NOT_BY_CLONE


def joins(config: Node) -> bool:
    """True if a namespace is joined by path, so that init needs a helper to be made."""
    return any(entry.at("path").text() for entry in config.at("linux", "namespaces"))


def plan_paths(config: Node) -> Iterator[HostStep]:
    """Open the namespaces to be joined: before the clone, in the runtime's mount namespace (R096)."""
    for entry in config.at("linux", "namespaces"):
        name, path = entry.at("type").text(), entry.at("path").text()
        if path:
            yield HostStep(
                "linux.namespaces",
                "open namespace",
                {"path": path, "type": name, "slot": _slot_key(name), "changed": _changes(config, name)},
                pointer=entry.at("path").pointer,
                text=f"{name} {path}",
            )


def _changes(config: Node, name: str) -> bool:
    """True if the config sets something in a namespace of this type that all its members would see."""
    if name == "uts" and (config.at("hostname").text() or config.at("domainname").text()):
        return True
    if name == "network" and len(config.at("linux", "netDevices")):
        return True
    for key, _ in config.at("linux", "sysctl").members():
        owner = "network" if key.startswith(("net.", "net/")) else "uts" if "name" in key else "ipc"
        if owner == name:
            return True
    return False


def plan_join(config: Node) -> Iterator[InitStep]:
    """Enter the joined namespaces, then fork init into the new ones; nothing if none is joined."""
    by_type = {
        entry.at("type").text(): entry
        for entry in config.at("linux", "namespaces")
        if entry.at("path").text()
    }
    for name, flag in TYPES.items():
        entry = by_type.get(name)
        if entry is not None:
            yield InitStep(
                "join",
                Slot(_slot_key(name)),
                flag,
                name="join namespace",
                pointer=entry.at("path").pointer,
                text=f"{name} {entry.at('path').text()}",
            )
    if by_type:
        flags = clone_flags(config)
        new = [name for name, flag in TYPES.items() if flags & flag]
        yield InitStep(
            "fork",
            flags,
            pointer="/linux/namespaces",
            text=f"init into new {', '.join(new)}" if new else "init",
        )


def plan_enter(config: Node, slot: Slot) -> Iterator[InitStep]:
    """Enter all namespaces of a container that exists, by a pidfd of its init (Linux 5.8) and in one call.

    One by one they would have to be opened by paths, and a process that is in some of them only can be seen, and
    its descriptors used, by the container.
    """
    names = [name for name in TYPES if has(config, name)]
    flags = sum(TYPES[name] for name in names)
    if flags:
        pointer = config.at("linux", "namespaces").pointer
        yield InitStep("join", slot, flags, name="join namespaces", pointer=pointer, text=", ".join(names))


def plan_cgroup(config: Node) -> Iterator[InitStep]:
    """The cgroup namespace: after init has been moved to its cgroup (sync "started"), before the mounts."""
    for entry in config.at("linux", "namespaces"):
        if entry.at("type").text() == "cgroup" and not entry.at("path").text():
            yield InitStep("unshare", CLONE_NEWCGROUP, pointer=entry.pointer, text="new cgroup namespace")


def apply(step: HostStep, run: Run) -> None:
    """Open one namespace for init and verify its type (R098).

    Raises StepFailed if the path can't be opened, or is no namespace of the type that the config says.
    """
    path, name = str(step.args["path"]), str(step.args["type"])
    try:
        # O_NONBLOCK: the path may be a FIFO, and nobody would write to it
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        number = error.errno or 0
        raise StepFailed(
            path, pointer=step.pointer, step=step.name, errno=number, hint=hint_for(number, step.name)
        ) from None
    found = _type_of(descriptor)
    if found != TYPES[name]:
        os.close(descriptor)
        kinds = [kind for kind, flag in TYPES.items() if flag == found]
        what = f"is a {kinds[0]} namespace" if kinds else "is not a namespace"
        reason = f"{path} {what}, but the config says {name}" if kinds else f"{path} {what}"
        raise StepFailed(reason, pointer=step.pointer, step=step.name, errno=errno.EINVAL)
    if step.args["changed"] and _is_own(descriptor, name):
        os.close(descriptor)
        reason = (
            f"{path} is the runtime's own {name} namespace: what the config sets there would change the host"
        )
        raise StepFailed(reason, pointer=step.pointer, step=step.name)
    run.slots[str(step.args["slot"])] = descriptor


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
