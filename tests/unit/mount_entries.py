# SPDX-License-Identifier: Apache-2.0
"""How do the tests of mounts write a config, and what do they ask of it?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ociruntime.config import Node
from ociruntime.host import Host
from ociruntime.linux import mounts
from ociruntime.linux.cgroups.layout import Layout

if TYPE_CHECKING:
    from ociruntime.step import HostStep, InitStep

RDONLY, NOSUID, NODEV, NOEXEC, NOSYMFOLLOW = 1, 2, 4, 8, 0x200000
ATIME, STRICTATIME = 0x70, 0x20
REAL, ON_PROC, COPY_UP, KEEP_MODE, IN_ORDER, SOURCE_PROC = 2, 4, 8, 32, 64, 128
PRIVATE, SLAVE, SHARED = 1 << 18, 1 << 19, 1 << 20

V2 = Layout("v2", v2="/sys/fs/cgroup")
V1 = Layout(
    "hybrid",
    {
        "cpu": "/cg/cpu,cpuacct",
        "cpuacct": "/cg/cpu,cpuacct",
        "pids": "/cg/pids",
        "name=systemd": "/cg/systemd",
    },
    v2="/cg/unified",
)
PATHS = {"cpu": "/cg/cpu,cpuacct/x", "cpuacct": "/cg/cpu,cpuacct/x", "pids": "/cg/pids/x"}


def config(*entries: dict[str, Any], namespaces: str = "mount", **linux: Any) -> Node:
    """A config with these mounts."""
    linux["namespaces"] = [{"type": name} for name in namespaces.split()]
    return Node({"mounts": list(entries), "linux": linux})


def entry(destination: str, kind: str = "tmpfs", *options: str, **more: Any) -> dict[str, Any]:
    """One mount entry."""
    return {"destination": destination, "type": kind, "options": list(options), **more}


def bind(destination: str, *options: str, source: str = "/src") -> dict[str, Any]:
    """One bind entry."""
    return {"destination": destination, "source": source, "options": list(options or ("bind",))}


def init_steps(node: Node, layout: Layout = V2, paths: dict[str, str] | None = None) -> list[InitStep]:
    """What init does for these mounts."""
    return list(mounts.plan(node, Host(layout), read(node), paths or {}))


def opened(node: Node, layout: Layout = V2, paths: dict[str, str] | None = None) -> list[HostStep]:
    """What is opened before the clone."""
    return list(mounts.plan_sources(node, Host(layout), read(node), paths or {}))


def read(node: Node) -> list[mounts.Mount]:
    """The entries of a bundle at /b."""
    return mounts.read(node, "/b", "/b/rootfs", Host(Layout("none")))


def shown(step: InitStep) -> list[object]:
    """A step's arguments with slots as their keys."""
    arguments = step.as_dict()["args"]
    assert isinstance(arguments, list)
    return arguments
