# SPDX-License-Identifier: Apache-2.0
"""Which namespaces does the config list, and is each of them new or joined? (/linux/namespaces)

Half of the subjects ask, so it stands below all of them. Pure; must import nothing of this package.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from ociruntime.config import Node

# clone(2); include/uapi/linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000


def entry(config: Node, kind: str) -> Node:
    """The entry of this type; false if there is none, which leaves the container in the runtime's namespace (R100).

    A type that is listed twice is refused (R101), so the first one counts.
    """
    index, _ = _found(config, kind)
    return config.at("linux", "namespaces").entry(index)


def _found(config: Node, kind: str) -> tuple[int, dict[str, object]]:
    """(index, value) of the entry; (-1, {}) if there is none.

    Without a Node for each level: it is asked some thirty times for a plan.
    """
    linux = config.value.get("linux") if isinstance(config.value, dict) else None
    listed = linux.get("namespaces") if isinstance(linux, dict) else None
    for index, value in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(value, dict) and value.get("type") == kind:
            return index, value
    return -1, {}


def kinds(config: Node) -> list[tuple[str, str]]:
    """(type, path) of each entry, in the config's order; the path of a new one is ""."""
    listed = config.at("linux", "namespaces").value
    return [
        (str(value.get("type") or ""), str(value.get("path") or ""))
        for value in (listed if isinstance(listed, list) else ())
        if isinstance(value, dict)
    ]


def has(config: Node, kind: str) -> bool:
    """True if the container gets or joins a namespace of this type."""
    return _found(config, kind)[0] >= 0


def is_new(config: Node, kind: str) -> bool:
    """True if the container gets a fresh namespace of this type (R099)."""
    index, value = _found(config, kind)
    return index >= 0 and not _path(value)


def is_joined(config: Node, kind: str) -> bool:
    """True if the container joins a namespace of this type by its path (R096)."""
    return _path(_found(config, kind)[1]) != ""


def _path(value: dict[str, object]) -> str:
    path = value.get("path")
    return path if isinstance(path, str) else ""
