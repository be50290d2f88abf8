# SPDX-License-Identifier: Apache-2.0
"""Who owns the container's cgroup? (R130-R137, config-linux.md "Cgroup ownership")

The user of process.user as the host sees it, if the container sees its cgroup (v2, a cgroup namespace of its own) and
may write there. Then systemd, or a runtime, can work in the container. Must not import config or another subject.
"""

from __future__ import annotations

import os
import posixpath

from ociruntime.linux import namespace_entries
from ociruntime.step import HostStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.linux.cgroups.layout import Layout

DELEGATE = "/sys/kernel/cgroup/delegate"
# cgroups(7), for kernels without that file (before 4.15); R136.
_WITHOUT_LIST = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def plan(config: Node, layout: Layout, directory: str) -> Iterator[HostStep]:
    """The step that gives the cgroup away, if the config asks for it in all three ways."""
    if layout.kind != "v2" or not namespace_entries.is_new(config, "cgroup") or not _shown_writable(config):
        return
    user = config.at("process", "user", "uid")
    owner = host_uid(config, user.number())
    if owner > 0:  # the host's root has made it, and owns it already; -1: no id of the host
        yield HostStep(
            "delegate_cgroup",
            {"directory": directory, "uid": owner},
            pointer=user.pointer if user else "/linux/namespaces",
            text=f"to uid {owner}",
        )


def host_uid(config: Node, uid: int) -> int:
    """The container's user as an id of the host; -1 if it is not mapped, or can't be known."""
    if not namespace_entries.has(config, "user"):
        return uid
    if namespace_entries.is_joined(config, "user"):
        return -1
    for entry in config.at("linux", "uidMappings"):
        offset = uid - entry.at("containerID").number()
        if 0 <= offset < entry.at("size").number():
            return entry.at("hostID").number() + offset
    return -1


def _shown_writable(config: Node) -> bool:
    return any(
        entry.at("source").text() == "cgroup"
        and posixpath.normpath(entry.at("destination").text()) == "/sys/fs/cgroup"
        and "ro" not in entry.at("options").texts()
        for entry in config.at("mounts")
    )


def give(directory: str, uid: int, list_file: str = DELEGATE) -> None:
    """Change the owner of the directory and of the files that the kernel names, those that exist (R134, R135)."""
    try:
        with open(list_file, encoding="ascii") as file:
            names: tuple[str, ...] = tuple(file.read().split())
    except FileNotFoundError:
        names = _WITHOUT_LIST
    os.chown(directory, uid, -1)
    for name in names:
        try:
            os.chown(f"{directory}/{name}", uid, -1, follow_symlinks=False)
        except FileNotFoundError:
            continue
