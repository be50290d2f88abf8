# SPDX-License-Identifier: Apache-2.0
"""Which files of cgroup v2 does the config name itself? (/linux/resources/unified; R152-R154)

Every key is written, even one that this runtime does not know. Pure.
"""

from __future__ import annotations

from ociruntime.errors import NotSupported, Violation
from ociruntime.linux.cgroups.setting import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = ("/linux/resources/unified", "/linux/resources/unified/*")

# These are the runtime's own: they decide which processes are in the cgroup, and whether they run.
_OURS = ("cgroup.procs", "cgroup.threads", "cgroup.freeze", "cgroup.kill")


def check(unified: Node) -> Iterator[Violation]:
    """Yield keys that are not a file of the container's cgroup, or not one that holds a limit."""
    for name, node in unified.members():
        if name in ("", ".", "..") or "/" in name:
            yield Violation(node.pointer, f"{name!r} is not a file of a cgroup", "R152")
        elif name in _OURS:
            yield Violation(
                node.pointer,
                f"{name} is not a limit: which processes run in the cgroup is not set this way",
                "R152",
            )


def settings(unified: Node) -> Iterator[Setting]:
    """What to write, in the config's order; each line by itself, as io.max needs it."""
    for name, node in unified.members():
        # files of the core and of pressure stall information need no controller
        own = name.startswith("cgroup.") or name.endswith(".pressure")
        yield Setting(node.pointer, "" if own else name.partition(".")[0], name, node.text().rstrip("\n"))


def refuse_v1(unified: Node) -> None:
    """Raises NotSupported if there is something to set, on a machine with controllers of version 1."""
    for _, node in unified.members():
        raise NotSupported(
            "this machine's controllers are those of cgroup v1, and unified names files of v2",
            pointer=node.pointer,
        )
