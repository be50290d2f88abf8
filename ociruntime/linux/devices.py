# SPDX-License-Identifier: Apache-2.0
"""Which device nodes and links are in the container's /dev? (config-linux.md, Devices; runtime-linux.md)

Devices can't be made in a user namespace: there the runtime makes each node, with the owner that the config names,
and init mounts it. Must not import another subject. The cgroup decides what a process may do with a device.
"""

from __future__ import annotations

import os
import posixpath
import stat

from ociruntime.errors import StepFailed, Violation, hint_for
from ociruntime.linux import namespace_entries
from ociruntime.linux.uapi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    MOUNT_ATTR_NODEV,
    MS_PRIVATE,
    MS_SLAVE,
    OPEN_TREE_CLONE,
)
from ociruntime.step import HostStep, InitStep, Slot

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.launch.context import Context

MKNOD_OPTIONAL = 1  # native/plan.h: not made where a bind mount shows the host's files

KEYS = (
    "/linux/devices",
    "/linux/devices/*/type",
    "/linux/devices/*/path",
    "/linux/devices/*/major",
    "/linux/devices/*/minor",
    "/linux/devices/*/fileMode",
    "/linux/devices/*/uid",
    "/linux/devices/*/gid",
)

# Flags of the op symlink, native/plan.h
SYMLINK_IF_TARGET = 1
SYMLINK_REPLACE = 2

TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}

# config-linux.md, Default Devices (R112); all mode 0666, owned by root
DEFAULT_DEVICES = (
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
)
DEFAULT_MODE = 0o666

# runtime-linux.md, Dev symbolic links (R241)
_LINKS = (
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
)

# plan_links always makes it; what the config says about it is left out.
_PTMX = "/dev/ptmx"

_MAX_NUMBER = 0xFFFFFFFF


def check(config: Node) -> Iterator[Violation]:
    """Paths are absolute, a type that needs numbers has them (R106), no path has two different nodes (R107)."""
    nodes: dict[str, tuple[int, int, int]] = {}
    for entry in config.at("linux", "devices"):
        path, kind = entry.at("path"), entry.at("type").text()
        if path and not path.text().startswith("/"):
            yield Violation(path.pointer, f"the path {path.text()!r} of a device must be absolute", "R106")
        if kind not in TYPES:
            yield Violation(
                entry.at("type").pointer, f"the type of a device is c, u, b or p, not {kind!r}", "R106"
            )
            continue
        yield from _check_numbers(entry, kind)
        clean = _clean(path.text())
        node = _node_of(entry)
        if nodes.setdefault(clean, node) != node:
            yield Violation(path.pointer, f"{clean} is listed twice with different nodes", "R107")


def _check_numbers(entry: Node, kind: str) -> Iterator[Violation]:
    for name in ("major", "minor"):
        number = entry.at(name)
        if not number and kind != "p":
            yield Violation(number.pointer, f"a device of type {kind} needs {name}", "R106")
        elif number and not 0 <= number.number() <= _MAX_NUMBER:
            yield Violation(
                number.pointer, f"{name} {number.number()} is out of range: 0 to {_MAX_NUMBER}", "R106"
            )
    mode = entry.at("fileMode")
    # engines put the type bits of stat(2) in as well
    if mode and not 0 <= mode.number() <= 0o177777:
        yield Violation(mode.pointer, f"fileMode {mode.number():#o} is out of range", "R109")


def plan_nodes(config: Node, host: Host) -> Iterator[HostStep]:
    """With a user namespace: the nodes, made before the clone; without power over the host: whether it has them."""
    if host.rootless:
        for device in _devices(config):
            if not device.is_fifo() and device.pointer:
                yield device.check_step()
    elif namespace_entries.has(config, "user"):
        for number, device in enumerate(_devices(config)):
            if not device.is_fifo():
                yield device.host_step(f"device-{number}")


def plan(config: Node, host: Host) -> Iterator[InitStep]:
    """The nodes of the config, then the default ones that it does not list; after the mounts."""
    mounted = namespace_entries.has(config, "user")
    for device in _devices(config):
        if device.is_fifo():
            yield device.init_step()
        elif host.rootless:
            yield device.bind_step()
        else:
            yield device.mount_step() if mounted else device.init_step()


def _devices(config: Node) -> Iterator[_Device]:
    if _dev_is_bind(config):
        return
    listed: set[str] = set()
    for entry in config.at("linux", "devices"):
        path = _clean(entry.at("path").text())
        if path in listed or path == _PTMX:
            continue
        listed.add(path)
        mode = entry.at("fileMode").number(DEFAULT_MODE) & 0o7777
        owner = entry.at("uid").number(), entry.at("gid").number()
        yield _Device(path, _node_of(entry), mode, owner, entry.pointer)
    for path, major, minor in DEFAULT_DEVICES:
        if path not in listed:
            yield _Device(path, (stat.S_IFCHR, major, minor), DEFAULT_MODE, (0, 0), "")


def plan_links(config: Node, host: Host) -> Iterator[InitStep]:
    """The links of /dev; after the mounts and the devices."""
    if _dev_is_bind(config):
        return
    # Not a node: with newinstance, /dev/ptmx of the host would make terminals in the host's devpts (R114)
    yield _symlink(_PTMX, "pts/ptmx", SYMLINK_REPLACE)
    for path, target in _LINKS:
        yield _symlink(path, target, SYMLINK_IF_TARGET)
    if host.kcore:
        yield _symlink("/dev/core", "/proc/kcore", SYMLINK_IF_TARGET)


def _dev_is_bind(config: Node) -> bool:
    # The engine has mounted a /dev of its own: nothing is made in it, as it may be the host's.
    return any(
        _clean(entry.at("destination").text()) == "/dev"
        and not {"bind", "rbind"}.isdisjoint(entry.at("options").texts())
        for entry in config.at("mounts")
    )


def _node_of(entry: Node) -> tuple[int, int, int]:
    kind = TYPES[entry.at("type").text()]
    if kind == stat.S_IFIFO:  # a FIFO has no number; some configs give one anyway
        return kind, 0, 0
    return kind, entry.at("major").number(), entry.at("minor").number()


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


class _Device:
    """One node of the container: what it is, who owns it, and the property behind it ("" for a default one)."""

    __slots__ = ("mode", "node", "owner", "path", "pointer", "text")

    def __init__(
        self, path: str, node: tuple[int, int, int], mode: int, owner: tuple[int, int], pointer: str
    ) -> None:
        self.path = path
        self.node = node
        self.mode = mode
        self.owner = owner
        self.pointer = pointer
        kind, major, minor = node
        letter = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}[kind]
        number = "" if letter == "p" else f" {major}:{minor}"
        self.text = f"{path} {letter}{number} mode {mode:04o} uid {owner[0]} gid {owner[1]}"

    def is_fifo(self) -> bool:
        """True for a FIFO, which anyone may make."""
        return self.node[0] == stat.S_IFIFO

    def flags(self) -> int:
        """MKNOD_* flags."""
        return 0 if self.pointer else MKNOD_OPTIONAL

    def init_step(self) -> InitStep:
        """The step with which init makes it."""
        kind, major, minor = self.node
        return InitStep(
            "mknod",
            self.path,
            kind | self.mode,
            major,
            minor,
            *self.owner,
            self.flags(),
            name="make device",
            pointer=self.pointer,
            text=self.text,
        )

    def host_step(self, file: str) -> HostStep:
        """The step with which the runtime makes it, in the state directory, where no one else can reach it."""
        kind, major, minor = self.node
        args: dict[str, object] = {"file": file, "mode": kind | self.mode, "major": major, "minor": minor}
        args.update(uid=self.owner[0], gid=self.owner[1], slot=f"device {self.path}")
        return HostStep("make_device_node", args, pointer=self.pointer, text=self.text)

    def mount_step(self) -> InitStep:
        """The step with which init mounts the node that the runtime made."""
        return InitStep(
            "device",
            Slot(f"device {self.path}"),
            self.path,
            self.flags(),
            name="mount device",
            pointer=self.pointer,
            text=self.path,
        )

    def check_step(self) -> HostStep:
        """The step that makes sure that the host's node of this path is the one that the config means."""
        kind, major, minor = self.node
        args: dict[str, object] = {"path": self.path, "kind": kind, "major": major, "minor": minor}
        return HostStep("check_device_node", args, pointer=self.pointer, text=self.text)

    def bind_step(self) -> InitStep:
        """The step with which init binds the host's node, for want of the right to make one."""
        return InitStep(
            "bind",
            self.path,
            0,
            MS_SLAVE,
            *(0, 0, 0, 0, 0, 0),
            self.path,
            self.flags(),
            name="bind device",
            pointer=self.pointer,
            text=f"{self.path} of the host",
        )


def apply(step: HostStep, context: Context) -> None:
    """Do one of the host steps."""
    if step.op == "check_device_node":
        _check_node(step)
    else:
        _make_node(step, context)


def _check_node(step: HostStep) -> None:
    """A bind shows whatever the host has at this path: it must be the device that the config names."""
    path = str(step.args["path"])
    found = os.stat(path)
    wanted = os.makedev(_number(step, "major"), _number(step, "minor"))
    if stat.S_IFMT(found.st_mode) != step.args["kind"] or found.st_rdev != wanted:
        raise StepFailed(
            f"the host's {path} is not this device, and without root it can't be made",
            pointer=step.pointer,
            step=step.name,
            hint="as root: mknod, or leave it out",
        )


def _make_node(step: HostStep, context: Context) -> None:
    """Make a node and clone it as a mount of its own. The node goes with the state directory: once unlinked it could
    no longer be mounted.

    Raises OSError if the node can't be made, StepFailed if the kernel can't clone it.
    """
    mode, number = _number(step, "mode"), os.makedev(_number(step, "major"), _number(step, "minor"))
    path = f"{context.directory}/{step.args['file']}"
    os.mknod(path, mode, number)
    os.chown(
        path, _host_id(context, "uid", _number(step, "uid")), _host_id(context, "gid", _number(step, "gid"))
    )
    os.chmod(path, mode & 0o7777)  # mknod has applied the umask
    _open_tree(path, step, context)


def _open_tree(path: str, step: HostStep, context: Context) -> None:
    from ociruntime.native._shim import lib

    slot = str(step.args["slot"])
    context.slots[slot] = failed = lib.shim_open_tree(
        AT_FDCWD, os.fsencode(path), OPEN_TREE_CLONE | os.O_CLOEXEC
    )
    if failed >= 0:
        # /run is a file system without devices on many hosts
        clear = MOUNT_ATTR_NODEV if os.fstatvfs(context.slots[slot]).f_flag & os.ST_NODEV else 0
        failed = lib.shim_mount_setattr(context.slots[slot], b"", AT_EMPTY_PATH, 0, clear, MS_PRIVATE, -1)
    else:
        del context.slots[slot]
    if failed < 0:
        hint = hint_for(-failed, step.op)
        raise StepFailed(path, pointer=step.pointer, step=step.name, errno=-failed, hint=hint)


def _number(step: HostStep, name: str) -> int:
    value = step.args[name]
    assert isinstance(value, int)
    return value


def _host_id(context: Context, kind: str, number: int) -> int:
    # an id that is not mapped appears as "nobody" in the container, and the host's root may be one
    from ociruntime.linux.id_ranges import find

    maps = context.facts["idmap"]
    assert isinstance(maps, dict)
    return find(maps[kind], number) or 0


def _symlink(path: str, target: str, flags: int) -> InitStep:
    return InitStep("symlink", path, target, flags, name="make link", text=f"{path} -> {target}")
