# SPDX-License-Identifier: Apache-2.0
"""Which device nodes and links are in the container's /dev? (config-linux.md, Devices; runtime-linux.md)

Must not import another subject. What a process may do with a device is the cgroup's business.
"""

from __future__ import annotations

import posixpath
import stat

from ociruntime.errors import Violation
from ociruntime.step import InitStep

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host

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

# Made by plan_links in any case; what the config says about it is left out.
_PTMX = "/dev/ptmx"

_MAX_NUMBER = 0xFFFFFFFF


def check(config: Node) -> Iterator[Violation]:
    """Absolute paths, numbers where the type needs them (R106), no path twice with different nodes (R107)."""
    nodes: dict[str, tuple[int, int, int]] = {}
    for entry in config.at("linux", "devices"):
        path, kind = entry.at("path"), entry.at("type").text()
        if path and not path.text().startswith("/"):
            yield Violation(path.pointer, "the path of a device must be absolute", "R106")
        if kind not in TYPES:
            yield Violation(entry.at("type").pointer, "the type of a device is c, u, b or p", "R106")
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
            yield Violation(number.pointer, f"{name} is out of range", "R106")
    mode = entry.at("fileMode")
    # engines put the type bits of stat(2) in as well
    if mode and not 0 <= mode.number() <= 0o177777:
        yield Violation(mode.pointer, "fileMode is out of range", "R109")


def plan(config: Node) -> Iterator[InitStep]:
    """The nodes of the config, then the default ones that it does not list; after the mounts."""
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
        yield _mknod(path, _node_of(entry), mode, owner, entry.pointer)
    for path, major, minor in DEFAULT_DEVICES:
        if path not in listed:
            yield _mknod(path, (stat.S_IFCHR, major, minor), DEFAULT_MODE, (0, 0), "")


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
    # The engine brought a /dev of its own: nothing is made in it, it may be the host's.
    return any(
        _clean(entry.at("destination").text()) == "/dev"
        and not {"bind", "rbind"}.isdisjoint(entry.at("options").texts())
        for entry in config.at("mounts")
    )


def _node_of(entry: Node) -> tuple[int, int, int]:
    kind = TYPES[entry.at("type").text()]
    if kind == stat.S_IFIFO:  # a FIFO has no number; some configs give one all the same
        return kind, 0, 0
    return kind, entry.at("major").number(), entry.at("minor").number()


def _clean(path: str) -> str:
    return posixpath.normpath("/" + path.lstrip("/"))


def _mknod(
    path: str, node: tuple[int, int, int], mode: int, owner: tuple[int, int], pointer: str
) -> InitStep:
    kind, major, minor = node
    letter = {stat.S_IFCHR: "c", stat.S_IFBLK: "b", stat.S_IFIFO: "p"}[kind]
    number = "" if letter == "p" else f" {major}:{minor}"
    text = f"{path} {letter}{number} mode {mode:04o} uid {owner[0]} gid {owner[1]}"
    return InitStep(
        "mknod",
        path,
        kind | mode,
        major,
        minor,
        *owner,
        0 if pointer else MKNOD_OPTIONAL,
        name="make device",
        pointer=pointer,
        text=text,
    )


def _symlink(path: str, target: str, flags: int) -> InitStep:
    return InitStep("symlink", path, target, flags, name="make link", text=f"{path} -> {target}")
