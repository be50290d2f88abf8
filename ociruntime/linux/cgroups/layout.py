# SPDX-License-Identifier: Apache-2.0
"""Which cgroup hierarchies does this machine have, where are they mounted, and where are we in them?

It reads two files of procfs, needs no privilege, and is on the path of every verb that makes a
container. Must import nothing of this package but mountinfo.py, and that only where the mount table is read.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ociruntime.linux.mountinfo import Mount

_ROOT = "/sys/fs/cgroup"
_CHUNK = 65536


class Layout:
    """The cgroup hierarchies as plans see them; plain data.

    kind            "v1" (controllers of version 1 only), "hybrid" (the same, and a cgroup2
                    hierarchy as well), "v2" (cgroup2 alone) or "none" (nothing is mounted)
    controllers     v1 controller name -> mount point; named hierarchies as "name=systemd"
    v2              mount point of the cgroup2 hierarchy, or ""
    own             this process's cgroup per v1 controller, and "" for v2: an absolute path
                    as seen below the mount point ("/" is the mount point itself)
    v2_controllers  what cgroup.controllers says at the v2 mount point
    user            whose systemd makes units: 0 is the machine's, another uid that user's own
    rootless        for a runtime without power over the host: only what it may use (rights.py); no device rules
    closed          then: controller -> the directory in which it may not make a cgroup
    """

    __slots__ = ("closed", "controllers", "kind", "own", "rootless", "user", "v2", "v2_controllers")

    def __init__(
        self,
        kind: str,
        controllers: dict[str, str] | None = None,
        v2: str = "",
        own: dict[str, str] | None = None,
        v2_controllers: list[str] | None = None,
        *,
        user: int = 0,
    ) -> None:
        self.kind = kind
        self.controllers = controllers or {}
        self.v2 = v2
        self.own = own or {}
        self.v2_controllers = v2_controllers or []
        self.user = user
        self.rootless = False
        self.closed: dict[str, str] = {}

    def __repr__(self) -> str:
        return (
            f"Layout({self.kind!r}, {self.controllers!r}, {self.v2!r}, {self.own!r}, {self.v2_controllers!r})"
        )

    def mounts(self) -> dict[str, str]:
        """Mount point per v1 controller, "" for v2."""
        return {**self.controllers, "": self.v2} if self.v2 else dict(self.controllers)

    def hierarchies(self) -> dict[str, list[str]]:
        """v1 mount point -> the controllers mounted together there, each hierarchy once."""
        found: dict[str, list[str]] = {}
        for controller, mount in self.controllers.items():
            found.setdefault(mount, []).append(controller)
        return found


def probe_layout() -> Layout:
    """The Layout of the machine this process runs on.

    A file cgroup.controllers directly in /sys/fs/cgroup means that cgroup2 is mounted there; then
    the mount table, which is long where many containers run, isn't read at all, unless the mount
    shows a subtree only (cgroup.type exists everywhere but in the root).
    """
    own = _read("/proc/self/cgroup")
    controllers = _read(f"{_ROOT}/cgroup.controllers")
    if controllers is not None and not os.path.exists(f"{_ROOT}/cgroup.type"):
        own_of = own_paths(own or b"")
        return Layout(
            "v2", v2=_ROOT, own=own_of, v2_controllers=controllers.decode().split(), user=os.geteuid()
        )
    if own is None:
        return Layout("none")
    paths = own_paths(own)
    layout = _layout(_read_mounts(paths), paths)
    layout.user = os.geteuid()
    if layout.v2:
        layout.v2_controllers = (_read(f"{layout.v2}/cgroup.controllers") or b"").decode().split()
    return layout


def own_paths(data: bytes) -> dict[str, str]:
    """/proc/self/cgroup as {v1 controller or "name=...": path, "": path in the v2 hierarchy}."""
    paths: dict[str, str] = {}
    for line in os.fsdecode(data).splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            paths[name] = path
    return paths


def _layout(found: Iterable[Mount], wanted: dict[str, str]) -> Layout:
    """The Layout of these mounts for these hierarchies; v2_controllers stays empty.

    Of several mounts of one hierarchy the first below /sys/fs/cgroup counts, else the first:
    engines bind cgroup directories into containers' roots, which may be visible here.
    """
    mounts: dict[str, Mount] = {}
    for mount in found:
        for name in _names(mount):
            if name in wanted and (
                name not in mounts or (_standard(mount.point) and not _standard(mounts[name].point))
            ):
                mounts[name] = mount
    v2 = mounts[""].point if "" in mounts else ""
    controllers = {name: mount.point for name, mount in mounts.items() if name}
    own = {name: _below(mount.root, wanted[name]) for name, mount in mounts.items()}
    kind = "hybrid" if controllers and v2 else "v1" if controllers else "v2" if v2 else "none"
    return Layout(kind, controllers, v2, own)


def _cgroup_mounts(table: bytes) -> Iterator[Mount]:
    """The mounts of cgroup hierarchies in the table, or in the first part of it: a line that is cut is left out."""
    from ociruntime.linux.mountinfo import Mount

    start = table.find(b" - cgroup")
    while start >= 0:
        end = table.find(b"\n", start)
        if end < 0:
            return
        yield Mount(os.fsdecode(table[table.rfind(b"\n", 0, start) + 1 : end]))
        start = table.find(b" - cgroup", end)


def _names(mount: Mount) -> list[str]:
    """What the hierarchy is called: "" for v2, else its controllers or "name=systemd", among other options."""
    return [""] if mount.kind == "cgroup2" else mount.superblock.split(",")


def _standard(point: str) -> bool:
    return point == _ROOT or point.startswith(f"{_ROOT}/")


def _below(root: str, path: str) -> str:
    """`path`, a cgroup, as seen below a mount that shows the subtree `root` of its hierarchy."""
    if root == "/":
        return path
    if path == root or path.startswith(f"{root}/"):
        return path[len(root) :] or "/"
    # Not visible in this mount (another cgroup namespace, or we have been moved out of it).
    return "/"


def _read_mounts(own: dict[str, str]) -> list[Mount]:
    """The cgroup mounts of mountinfo, as far as needed: they come early in it, and it can be megabytes long."""
    table = b""
    mounts: list[Mount] = []
    try:
        with open("/proc/self/mountinfo", "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                table += chunk
                mounts = list(_cgroup_mounts(table))
                names = {name for mount in mounts if _standard(mount.point) for name in _names(mount)}
                if names >= own.keys():
                    break
    except FileNotFoundError:
        return []
    return mounts


def _read(path: str) -> bytes | None:
    """The file's bytes, or None if it doesn't exist or we may not read it."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(_CHUNK)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
