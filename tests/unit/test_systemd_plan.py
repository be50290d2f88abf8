# SPDX-License-Identifier: Apache-2.0
"""Which steps does the systemd driver plan, in which order, and what do they say?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.config import Node
from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups import planner, update
from ociruntime.linux.cgroups.placement import Placement, place
from ociruntime.linux.cgroups.planner import settings_of
from ociruntime.linux.cgroups.systemd import steps
from ociruntime.operations.update import after_checks
from tests.unit.test_cgroups_plan import CG, HYBRID, V2

if TYPE_CHECKING:
    from ociruntime.linux.cgroups.layout import Layout

UNIT = "/machine.slice/libpod-1f.scope"


def config(resources: dict[str, Any] | None = None, **annotations: str) -> Node:
    """A config as podman writes it."""
    return Node(
        {
            "ociVersion": "1.3.0",
            "linux": {"cgroupsPath": "machine.slice:libpod:1f", "resources": resources or {}},
            "annotations": {name.replace("__", "."): value for name, value in annotations.items()},
        }
    )


def placed(node: Node, layout: Layout) -> Placement:
    """Where it is."""
    return place(node, layout, "box", "systemd")


def made(node: Node, layout: Layout) -> list[Any]:
    """The steps before there is a process."""
    return list(planner.plan_make(node, placed(node, layout)))


def test_the_unit_comes_first() -> None:
    """Then the files, which have the exact values, and the program for devices."""
    found = made(config({"memory": {"limit": 4096}, "cpu": {"burst": 5}}), V2)
    assert [step.op for step in found] == ["start_scope", "set_cgroup", "set_cgroup", "load_device_program"]
    start = found[0]
    assert start.undoable
    assert start.args["unit"] == "libpod-1f.scope"
    assert ["MemoryMax", "t", 4096, "/linux/resources/memory/limit", 0] in start.args["properties"]
    assert "MemoryMax=4096" in start.text
    assert "libpod-1f.scope in machine.slice: Delegate=yes" in start.text
    assert json.loads(json.dumps(start.args)) == start.args
    assert found[1].args["file"] == f"{CG}{UNIT}/memory.max"


def test_places_on_v1() -> None:
    """The same path in each hierarchy, whatever cgroup the caller is in."""
    assert placed(config(), HYBRID).paths == {
        controller: f"{mount}{UNIT}" for controller, mount in HYBRID.mounts().items()
    }


def test_a_subgroup_is_below_the_unit() -> None:
    """On v2; on v1 crun's annotation has no effect either."""
    node = config(run__oci__systemd__subgroup="inner")
    assert placed(node, V2).paths == {"": f"{CG}{UNIT}/inner"}
    assert placed(node, HYBRID).paths["memory"].endswith(UNIT)
    assert placed(config(run__oci__systemd__subgroup=""), V2).paths == {"": f"{CG}{UNIT}"}


@pytest.mark.parametrize(("limit", "late"), [(1, True), (2, True), (3, False), (50, False)])
def test_few_processes(limit: int, late: bool) -> None:
    """A limit under which init could not be made is set once it is there, in the unit and in the file."""
    node = config({"pids": {"limit": limit}})
    before, after = made(node, V2), list(planner.plan_late(node, placed(node, V2)))
    assert ("TasksMax" in before[0].text) is not late
    assert [step.op for step in after] == (["set_unit_properties", "set_cgroup"] if late else [])
    assert all(f"TasksMax={limit}" in step.text or f"pids.max = {limit}" in step.text for step in after)


def test_when_the_place_is_given_up() -> None:
    """On v2 init is born in its cgroup; on v1 it joins, and until then the scope must not be empty."""
    for layout, joins in ((V2, False), (HYBRID, True)):
        found = {
            itself: [step.op for step in planner.plan_release(placed(config(), layout), joins_itself=itself)]
            for itself in (True, False)
        }
        assert found == {joins: ["release_scope"], not joins: []}
    other = place(Node({"linux": {"cgroupsPath": "/x"}}), V2, "box", "cgroupfs")
    assert not list(planner.plan_release(other, joins_itself=False))


def test_a_missing_controller_is_refused() -> None:
    """Before a unit is made: systemd would take the property, and nothing would hold the limit."""
    with pytest.raises(StepFailed, match="'hugetlb' is not in") as caught:
        made(config({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}), V2)
    assert caught.value.pointer.startswith("/linux/resources/hugepageLimits/0")


def test_update() -> None:
    """One call for what changes; nothing if systemd has no property for it."""
    placement = placed(config(), V2)

    def told(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
        old, new = (list(planner.settings_of(Node(one), V2)) for one in (before, after))
        return [step.text for step in steps.plan_update(placement, old, new, [])]

    quota = {"cpu": {"quota": 50000, "period": 100000}}
    assert told({}, quota) == ["libpod-1f.scope: CPUQuotaPeriodUSec=100000, CPUQuotaPerSecUSec=500000"]
    assert told(quota, {"cpu": {"quota": 20000, "period": 100000}}) == [
        "libpod-1f.scope: CPUQuotaPerSecUSec=200000"
    ]
    assert told(quota, {"cpu": {"quota": 50000, "period": 100000, "burst": 100}}) == []


def test_a_check_comes_before_the_unit() -> None:
    """Or systemd sets the limit, and the kernel kills what the check would have kept (R143)."""
    limits = {"memory": {"limit": 4096, "checkBeforeUpdate": True}}
    node = config({"memory": {"limit": 8192}})
    held, after = node.at("linux", "resources"), Node(limits)
    of_unit = steps.plan_update(
        placed(node, V2), list(settings_of(held, V2)), list(settings_of(after, V2)), []
    )
    ordered = after_checks(list(update.plan(after, held, placed(node, V2))), of_unit)
    assert [step.op for step in ordered][:2] == ["check_memory_in_use", "set_unit_properties"]
