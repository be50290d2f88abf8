# SPDX-License-Identifier: Apache-2.0
"""Which file of a container's cgroup says what, on v1 and on v2, and how does a test set linux.resources?

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.configuration import Config
    from tests.harness.driver import Container

ROOT = "/sys/fs/cgroup"
V2 = os.path.exists(f"{ROOT}/cgroup.controllers")
MIB = 1 << 20
# The command prefix that shows the v1 hierarchies net_cls and net_prio to what follows, and to nothing else.
WITH_NET_HIERARCHIES = str(Path(__file__).with_name("with-net-hierarchies"))


def place(pid: int, controller: str) -> str:
    """The directory of a process's cgroup, for a v1 controller or, on v2, for all."""
    with open(f"/proc/{pid}/cgroup", encoding="utf-8") as file:
        for line in file.read().splitlines():
            _, names, path = line.split(":", 2)
            if V2 and not names:
                return ROOT + path
            if not V2 and controller in names.split(","):
                return f"{ROOT}/{names.removeprefix('name=')}{path}"
    raise AssertionError(f"process {pid} is in no cgroup of {controller}")


def value(container: Container, controller: str, v1: str, v2: str) -> str:
    """What the kernel says in the container's file of that controller."""
    return value_of(container.state()["pid"], controller, v1, v2)


def value_of(pid: int, controller: str, v1: str, v2: str) -> str:
    """The same, by the pid of its init, for callers that ask often."""
    directory = place(pid, controller)
    with open(f"{directory}/{v2 if V2 else v1}", encoding="ascii") as file:
        return " ".join(file.read().split())


def resources(**groups: Any) -> Callable[[Config], None]:
    """An edit that sets these objects of linux.resources."""

    def edit(config: Config) -> None:
        config["linux"]["resources"].update(groups)

    return edit


def at(path: str) -> Callable[[Config], None]:
    """An edit that sets cgroupsPath."""

    def edit(config: Config) -> None:
        config["linux"]["cgroupsPath"] = path

    return edit


def directories(name: str) -> list[str]:
    """All cgroup directories of this name, in any hierarchy."""
    return sorted(path for path, _, _ in os.walk(ROOT) if os.path.basename(path) == name)


def remove(name: str) -> None:
    """Remove the cgroup directories of this name and all below them."""
    for top in directories(name):
        for path, _, _ in os.walk(top, topdown=False):
            os.rmdir(path)
