# SPDX-License-Identifier: Apache-2.0
"""How does one more process get into a container that exists? Exec and the hooks inside go this way.

    runtime                                 helper                          process
    pidfd of init, files of its cgroup
    clone, into the cgroup2 cgroup ------>  enters the v1 cgroups
                                            enters the namespaces: one setns
              <----------- forked --------  forks -----------------------> is in the pid namespace too
                                                                           opens the container's root

The helper runs the sealed executable, can't be traced, and is in no pid namespace of the container: nothing in there
sees it. The process that it makes can be seen, but neither traced nor entered until it is its program.
What follows these steps is decided in plan/exec_order.py and launch/hooks.py. This module must not import launch.
"""

from __future__ import annotations

from ociruntime.linux import namespace_entries, namespaces
from ociruntime.linux.cgroups import membership
from ociruntime.step import HostStep, InitStep, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.step import Step

_INIT = Slot("init")


class Target:
    """The container to be entered; plain data.

    pid, start_time  its init
    rootfs           absolute path of its root filesystem, for one without a mount namespace
    cgroups          directory per v1 controller, "" for v2; empty if it has no cgroup of its own
    """

    __slots__ = ("cgroups", "pid", "rootfs", "start_time")

    def __init__(self, pid: int, start_time: int, rootfs: str, cgroups: dict[str, str]) -> None:
        self.pid = pid
        self.start_time = start_time
        self.rootfs = rootfs
        self.cgroups = cgroups


def plan_open(config: Node, target: Target, move: bool = False) -> Iterator[Step]:
    """The runtime's part, and the clone of the helper.

    move  enter the cgroup2 cgroup by a step, instead of being born in it
    """
    yield HostStep(
        "open_init",
        {"pid": target.pid, "start_time": target.start_time},
        text="a pidfd of the container's init",
    )
    yield from membership.plan_open(target.cgroups, membership.pointer_of(config), move, "the process")
    yield HostStep("clone_helper", {}, text="a process that enters the container")


def plan_cgroups(config: Node, target: Target, move: bool = False) -> Iterator[Step]:
    """The helper: into the cgroups, so that nothing of the container's runs without its limits."""
    yield from membership.plan_join_self(target.cgroups, membership.pointer_of(config), move)


def plan_enter(config: Node) -> Iterator[Step]:
    """The helper: into the namespaces, by the pidfd; then the process that is in the pid namespace too."""
    yield from namespaces.plan_enter(config, _INIT)
    yield InitStep("fork", 0, text="the process")


def plan_root(config: Node, target: Target) -> Iterator[Step]:
    """The process: what "/" is from now on. In the container's mount namespace it is its root already."""
    if namespace_entries.has(config, "mount"):
        yield InitStep("root", "/", 0, name="open root", text="/")
    else:
        yield InitStep("root", target.rootfs, 0, name="open root", text=target.rootfs)
        yield InitStep("chroot")
