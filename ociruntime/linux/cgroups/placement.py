# SPDX-License-Identifier: Apache-2.0
"""Where is the container placed among the machine's cgroups: which directory in each hierarchy? (R124-R129)

An absolute cgroupsPath is taken below each hierarchy's mount point. A relative one, or the container's
id if there is none, is taken below the cgroup of the calling process in that hierarchy; on cgroup v2
below its parent, because a v2 cgroup with processes in it can't have children with limits. This is
what runc does, so that containers of both runtimes are side by side.

Pure: nothing here looks at the machine.
"""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.linux.cgroups.membership import pointer_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.linux.cgroups.layout import Layout
    from ociruntime.linux.cgroups.systemd.names import Unit

KEYS = ("/linux/cgroupsPath",)

_LONGEST_NAME = 255  # NAME_MAX
# PATH_MAX is 4096 bytes; the mount point and the names of files need some of them.
_LONGEST_PATH = 3800


class Placement:
    """Where one container is placed, and who makes its directories; plain data, made once per plan.

    layout   the machine's hierarchies
    paths    directory per v1 controller ("name=systemd" too), "" for v2; empty if the container gets none
    manager  "cgroupfs": the runtime makes them; "systemd": it does, with a unit; "disabled": no one does, and init
             stays in the caller's cgroup
    pointer  the property that asks for this place, or ""
    unit     the container's unit, if the manager is systemd
    """

    __slots__ = ("layout", "manager", "paths", "pointer", "unit")

    def __init__(
        self,
        layout: Layout,
        paths: dict[str, str],
        manager: str = "cgroupfs",
        pointer: str = "",
        unit: Unit | None = None,
    ) -> None:
        self.layout = layout
        self.paths = paths
        self.manager = manager
        self.pointer = pointer
        self.unit = unit

    def directory(self, controller: str) -> str:
        """Where the files of a controller are."""
        return self.paths["" if self.layout.kind == "v2" else controller]


def place(config: Node, layout: Layout, container_id: str, manager: str) -> Placement:
    """The placement of a new container; `manager` decides how its paths are found."""
    if manager == "systemd":
        return _place_unit(config, layout, container_id)
    paths: dict[str, str] = {}
    if manager != "disabled":
        paths = container_paths(layout, config.at("linux", "cgroupsPath").text(), container_id)
    return Placement(layout, paths, manager, pointer_of(config))


def _place_unit(config: Node, layout: Layout, container_id: str) -> Placement:
    """In the cgroup of its unit, which has the same path in every hierarchy. Raises StepFailed for its name."""
    from ociruntime.linux.cgroups.systemd import names, steps

    unit = names.unit_of(config.at("linux", "cgroupsPath").text(), container_id, layout.user)
    paths = {controller: f"{mount}{unit.path}" for controller, mount in layout.mounts().items()}
    below = steps.subgroup(config, layout)
    if below:
        paths[""] += f"/{below}"
    return Placement(layout, paths, "systemd", pointer_of(config), unit)


def check(config: Node) -> Iterator[Violation]:
    """R128: the values of cgroupsPath that count as invalid."""
    node = config.at("linux", "cgroupsPath")
    path = node.text()
    if not path:
        return
    if len(path.encode("utf-8", "surrogatepass")) > _LONGEST_PATH:
        reason = f"{path[:60]!r}... has more than {_LONGEST_PATH} bytes, which no path of a cgroup's files can have"
        yield Violation(node.pointer, reason, "R128")
        return
    names = components(path)
    if not names:
        yield Violation(
            node.pointer, f"{path[:60]!r} is the root of the hierarchy, which can't be a container's", "R128"
        )
    if ".." in names:
        yield Violation(node.pointer, f"{path[:200]!r} has a component '..'", "R128")
    if any(ord(character) < 32 or ord(character) == 127 for character in path):
        yield Violation(node.pointer, f"{path[:200]!r} has a control character", "R128")
    parts = path.split(":") if "/" not in path and path.count(":") == 2 else names  # slice:prefix:name
    if any(len(name.encode("utf-8", "surrogatepass")) > _LONGEST_NAME for name in parts):
        yield Violation(
            node.pointer, f"{path[:60]!r}... has a component of more than {_LONGEST_NAME} bytes", "R128"
        )


def components(path: str) -> list[str]:
    """The names of a path, without empty ones and "."."""
    return [name for name in path.split("/") if name not in ("", ".")]


def container_paths(layout: Layout, cgroups_path: str, container_id: str) -> dict[str, str]:
    """The container's cgroup directory per v1 controller ("name=systemd" too), "" for v2.

    Controllers that are mounted together share a directory. On a hybrid machine the cgroup2
    hierarchy follows the rule of v1, as no controller with limits is expected in it.
    """
    tail = "/".join(components(cgroups_path)) if cgroups_path else container_id
    absolute = cgroups_path.startswith("/")
    paths: dict[str, str] = {}
    for controller, mount in layout.mounts().items():
        base = [] if absolute else components(layout.own.get(controller, "/"))
        # Outside our cgroup namespace the kernel shows "..": then we take the topmost cgroup that we see.
        base = [] if ".." in base else base
        if layout.kind == "v2":
            base = base[:-1]
        paths[controller] = "/".join([mount, *base, tail])
    return paths
