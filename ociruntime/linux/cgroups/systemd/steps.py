# SPDX-License-Identifier: Apache-2.0
"""Which steps make the container's unit, and change it? Pure; scope.py does them.

The unit is started before init is cloned, with a process in it that only holds the place (holder.py), because systemd
makes no scope without one. So everything after it is as with the cgroupfs driver: limits and device rules are set
before anything of the container runs, and init is born in its cgroup.
"""

from __future__ import annotations

from ociruntime.linux.annotations import SUBGROUP
from ociruntime.linux.cgroups import devices
from ociruntime.linux.cgroups.systemd import properties
from ociruntime.step import HostStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.linux.cgroups.devices import Rule
    from ociruntime.linux.cgroups.layout import Layout
    from ociruntime.linux.cgroups.placement import Placement
    from ociruntime.linux.cgroups.setting import Setting
    from ociruntime.linux.cgroups.systemd.properties import Property

# The holder, a helper that enters namespaces, and init: with a smaller limit they could not be made.
FEWEST_TASKS = 3


def plan_start(
    config: Node, placement: Placement, settings: list[Setting], rules: list[Rule], controllers: list[str]
) -> Iterator[HostStep]:
    """Start the unit, and make of its cgroup what systemd does not make. Raises StepFailed for an annotation."""
    unit = placement.unit
    assert unit is not None
    v2 = placement.layout.kind == "v2"
    listed = config.at("linux", "resources", "devices")
    told = [
        *properties.of_unit(v2),
        *_no_limit_of_tasks(config.at("linux", "resources", "pids", "limit")),
        *(one for one in properties.of_settings(settings, v2) if not too_few(one)),
        *(
            []
            if placement.layout.rootless
            else properties.of_devices(rules, listed.pointer if listed else "")
        ),
        *properties.of_annotations(config),
    ]
    args: dict[str, object] = {
        "unit": unit.name,
        "slice": unit.slice,
        "user": placement.layout.user,
        "path": unit.path,
        "properties": [one.as_list() for one in told],
        "kind": placement.layout.kind,
        "paths": placement.paths,
        "mounts": placement.layout.mounts(),
        "controllers": controllers,
    }
    text = f"{unit.name} in {unit.slice}: {', '.join(str(one) for one in told)}"
    yield HostStep("start_scope", args, pointer=placement.pointer, text=text, undoable=True)


def _no_limit_of_tasks(limit: Node) -> list[Property]:
    """A limit of 0, which engines write for none: else systemd's own default for units would be one."""
    if not limit or limit.number():
        return []
    return [properties.Property("TasksMax", "t", properties.INFINITY, limit.pointer)]


def too_few(one: Property) -> bool:
    """A limit of processes under which init could not be made is set once it is."""
    return one.name == "TasksMax" and isinstance(one.value, int) and one.value < FEWEST_TASKS


def plan_release(placement: Placement) -> Iterator[HostStep]:
    """Init is in the scope: nothing else has to be."""
    if placement.unit is not None:
        yield HostStep("release_scope", {}, text="init is in it, and the process that held its place ends")


def plan_tasks(placement: Placement, settings: list[Setting]) -> Iterator[HostStep]:
    """The limit that plan_start has left out."""
    v2 = placement.layout.kind == "v2"
    yield from _plan_set(placement, [one for one in properties.of_settings(settings, v2) if too_few(one)])


def plan_update(
    placement: Placement, before: list[Setting], after: list[Setting], rules: list[Rule]
) -> Iterator[HostStep]:
    """Tell systemd what an update changes, of the limits that were and will be in force.

    rules   the container's device rules: on v1 systemd sets the unit's list again, whatever the update is about
    """
    v2 = placement.layout.kind == "v2"
    changed = properties.changes(properties.of_settings(before, v2), properties.of_settings(after, v2))
    lines = [] if v2 else [line for _, found in devices.writes_v1(rules) for line in found]
    yield from _plan_set(placement, changed, lines)


def _plan_set(
    placement: Placement, changed: list[Property], lines: list[list[str]] | None = None
) -> Iterator[HostStep]:
    if not changed:
        return
    unit = placement.unit
    assert unit is not None
    args: dict[str, object] = {
        "unit": unit.name,
        "user": placement.layout.user,
        "properties": [one.as_list() for one in changed],
        "before": [],
    }
    if lines and "devices" in placement.paths:
        freezer = placement.paths.get("freezer", "")
        args["devices"] = {"directory": placement.paths["devices"], "lines": lines, "freezer": freezer}
    text = f"{unit.name}: {', '.join(str(one) for one in changed)}"
    yield HostStep("set_unit_properties", args, pointer=changed[0].pointer, text=text)


def subgroup(config: Node, layout: Layout) -> str:
    """run.oci.systemd.subgroup: the cgroup below the unit's that the container is in, or "". Raises StepFailed."""
    node = config.at("annotations", SUBGROUP)
    name = node.text()
    if name and layout.kind == "v2":
        from ociruntime.linux.cgroups.systemd.names import check_subgroup

        check_subgroup(name, node.pointer)
        return name
    return ""
