# SPDX-License-Identifier: Apache-2.0
"""What is planned for `mounts add` and `mounts remove`: who mounts, in which order, and when is it noted?"""

from __future__ import annotations

from typing import Any

import pytest

from ociruntime import mounting
from ociruntime.config import Node
from ociruntime.host import Host
from ociruntime.joining import Target
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.step import InitStep, Plan

TARGET = Target(7, 8, "/rootfs", {})
BIND = {"destination": "/a/", "type": "bind", "source": "data", "options": ["bind"]}
TMPFS = {"destination": "/b", "type": "tmpfs", "source": "tmpfs", "options": ["ro"]}


def config(*entries: dict[str, Any], users: bool = False) -> Node:
    """A container's config with these mounts."""
    kinds = ["pid", "mount", *(["user"] if users else [])]
    maps = [{"containerID": 0, "hostID": 1000, "size": 10}]
    linux: dict[str, Any] = {"namespaces": [{"type": kind} for kind in kinds]}
    if users:
        linux.update(uidMappings=maps, gidMappings=maps)
    return Node({"ociVersion": "1.3.0", "root": {"path": "rootfs"}, "mounts": list(entries), "linux": linux})


def words(made: Plan) -> list[str]:
    """Each step as it is shown."""
    return [step.describe() for step in made.steps]


def test_add_mounts_one_after_the_other() -> None:
    """Sources first; each mount is noted before the next one; read-only when all are there."""
    made = mounting.plan_add(config(BIND, TMPFS), Host(Layout("none")), "/bundle", TARGET)
    assert words(made) == [
        "open bind source /bundle/data",
        "open init a pidfd of the container's init",
        "clone helper a process that enters the container",
        "join namespaces pid, mount",
        "setsid a session without a terminal",
        "open root /",
        "mount bind of data on /a (bind)",
        "sync mounted: /a",
        "note mount /a",
        "mount tmpfs on /b (ro) with the directory's mode",
        "sync mounted: /b",
        "note mount /b",
        "make mount read-only /b",
        "sync mounted: all of it",
    ]
    assert not made.forks()


def test_remove_takes_the_destinations() -> None:
    """In the order of the list."""
    made = mounting.plan_remove(config(TMPFS, BIND), TARGET)
    assert [step.describe() for step in made.steps if getattr(step, "op", "") == "unmount"] == [
        "unmount /b",
        "unmount /a",
    ]


@pytest.mark.parametrize("users", [False, True])
def test_only_in_a_user_namespace_it_is_seen_inside(users: bool) -> None:
    """There it becomes its root, and needs its pid namespace; elsewhere it stays out of the container's sight."""
    made = mounting.plan_add(config(BIND, users=users), Host(Layout("none")), "/bundle", TARGET)
    ops = [step.op for step in made.steps if isinstance(step, InitStep)]
    assert ("fork" in ops, "user" in ops) == (users, users)
