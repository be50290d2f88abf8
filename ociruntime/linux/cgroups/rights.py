# SPDX-License-Identifier: Apache-2.0
"""In which hierarchies may a runtime without power over the host make the container's cgroup, and by whose systemd?

An ordinary user, or the root of a user namespace, may work in a subtree of cgroup2 that was delegated to it: by its owner, or
by whoever lets it write there. Everywhere else the container gets no cgroup, and stays in the caller's: that is no error as
long as the config has no limits. Device rules are left out, as in runc: they can't be set without the host's root.
"""

from __future__ import annotations

import os

from ociruntime.linux.cgroups.layout import Layout
from ociruntime.linux.cgroups.placement import container_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.config import Node


_SYSTEMD = "/run/systemd/private"  # the socket of the machine's


def usable(layout: Layout, config: Node, container_id: str, *, rootless: bool) -> Layout:
    """The part of the layout in which the container can have a cgroup; `closed` says where the others begin.

    rootless   the runtime has no power over the host; false: it is root, who may set device rules where it has a cgroup

    In a container that got the host's /sys by a recursive bind, the table of mounts has hierarchies that others cover: the
    caller's cgroup is looked for in what is visible.
    """
    for controller, path in layout.own.items():
        point = layout.controllers.get(controller) if controller else layout.v2
        if point and not os.path.isdir(f"{point}{path}"):
            layout.own[controller] = "/"
    paths = container_paths(layout, config.at("linux", "cgroupsPath").text(), container_id)
    closed = {}
    for controller, path in paths.items():
        place = nearest(path)
        if not os.access(place, os.W_OK | os.X_OK) or (not controller and not _may_move(layout, path)):
            closed[controller] = place
    controllers = {name: point for name, point in layout.controllers.items() if name not in closed}
    v2 = "" if "" in closed else layout.v2
    kind = "hybrid" if controllers and v2 else "v1" if controllers else "v2" if v2 else "none"
    found = Layout(kind, controllers, v2, layout.own, layout.v2_controllers if v2 else [], user=layout.user)
    found.rootless = rootless
    found.closed = closed
    return found


def of_systemd(layout: Layout) -> Layout:
    """What a container can have by the systemd of a caller without power over the host: a user's own only makes cgroups of v2."""
    user = systemd_user()
    only_v2 = bool(user and layout.v2)
    kind, controllers = ("v2", {}) if only_v2 else (layout.kind, layout.controllers)
    found = Layout(kind, controllers, layout.v2, layout.own, layout.v2_controllers, user=user)
    found.closed = dict(layout.controllers) if only_v2 else {}
    found.rootless = True
    return found


def systemd_user() -> int:
    """Whose systemd makes the units of a caller without power over the host: 0 is the machine's, another uid that user's own.

    Root of a user namespace has the machine's if that is in its namespace, too, as in an unprivileged container with an init;
    an engine of an ordinary user calls from one in which it is not, and there root is that user.
    """
    uid = os.geteuid()
    if uid or _is_ours(_SYSTEMD):
        return uid
    from ociruntime.linux.refusals import facts

    return next((outside for inside, outside, _ in facts.id_map() if inside == 0), 0)


def _is_ours(path: str) -> bool:
    try:
        return os.stat(path).st_uid == os.geteuid()
    except OSError:
        return False


def nearest(path: str) -> str:
    """The lowest directory on the way to `path` that exists."""
    while path != "/" and not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _may_move(layout: Layout, path: str) -> bool:
    """Cgroup2 wants the right to write to cgroup.procs of the common ancestor, too (cgroups(7), Delegation)."""
    own = f"{layout.v2}{layout.own.get('', '/')}"
    common = os.path.commonpath((own, nearest(path)))
    return os.access(f"{common}/cgroup.procs", os.W_OK)
