# SPDX-License-Identifier: Apache-2.0
"""How much of each RDMA device may the container use? (/linux/resources/rdma; R151) The same file on v1 and v2. Pure."""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.linux.cgroups.setting import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = tuple(f"/linux/resources/rdma{tail}" for tail in ("", "/*", "/*/hcaHandles", "/*/hcaObjects"))


def check(rdma: Node) -> Iterator[Violation]:
    """Yield device names that the kernel's file would take for other words."""
    for name, node in rdma.members():
        if name.split() != [name]:
            yield Violation(node.pointer, f"{name!r} is not the name of a device", "R151")


def settings(rdma: Node) -> Iterator[Setting]:
    """What to write; 0 is a limit, and one that is not given stays as it is."""
    for name, node in rdma.members():
        words = [
            f"{word}={node.at(member).number()}"
            for member, word in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object"))
            if node.at(member)
        ]
        if words:
            unset = " ".join(f"{word.partition('=')[0]}=max" for word in words)
            yield Setting(node.pointer, "rdma", "rdma.max", " ".join([name, *words]), unset=f"{name} {unset}")
