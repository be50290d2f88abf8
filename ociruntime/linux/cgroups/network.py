# SPDX-License-Identifier: Apache-2.0
"""How is the container's network traffic marked? (/linux/resources/network; R149)

Only cgroup v1 has the controllers net_cls and net_prio; on v2 the network stack looks at the cgroup itself. Pure.
"""

from __future__ import annotations

from ociruntime.errors import NotSupported, Violation
from ociruntime.linux.cgroups.setting import Setting
from ociruntime.linux.uapi import IFNAMSIZ

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = tuple(
    f"/linux/resources/network{tail}"
    for tail in ("", "/classID", "/priorities", "/priorities/*/name", "/priorities/*/priority")
)


def check(network: Node) -> Iterator[Violation]:
    """Yield names that no interface can have, and that the kernel's file would take for other words."""
    for entry in network.at("priorities"):
        name = entry.at("name")
        text = name.text()
        if text.split() != [text] or "/" in text or len(text.encode("utf-8", "surrogatepass")) >= IFNAMSIZ:
            yield Violation(name.pointer, f"{text!r} is not the name of a network interface", "R149")


def settings_v1(network: Node) -> Iterator[Setting]:
    """What to write on cgroup v1; a class of 0 is none."""
    group = network.at("classID")
    if group.number():
        yield Setting(group.pointer, "net_cls", "net_cls.classid", str(group.number()))
    for entry in network.at("priorities"):
        value = f"{entry.at('name').text()} {entry.at('priority').number()}"
        yield Setting(entry.pointer, "net_prio", "net_prio.ifpriomap", value)


def refuse_v2(network: Node) -> None:
    """Raises NotSupported if there is something to set (R155)."""
    for node in (network.at("classID"), network.at("priorities")):
        if node.number() or len(node):
            raise NotSupported("cgroup v2 has no equivalent", pointer=node.pointer)
