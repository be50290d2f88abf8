# SPDX-License-Identifier: Apache-2.0
"""What does an update mean by 0, "" and null, which engines send for all that they don't name, and what by -1?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.config import Node
from ociruntime.linux.cgroups import update
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.linux.cgroups.placement import Placement
from ociruntime.verbs.update import _from_flags
from tests.unit.test_update import given

if TYPE_CHECKING:
    from ociruntime.errors import Violation

CG = "/sys/fs/cgroup"
NAMES = ("blkio", "cpu", "cpuset", "hugetlb", "memory", "net_cls", "net_prio", "pids", "rdma")
V1 = Layout("v1", {name: f"{CG}/{name}" for name in NAMES}, own=dict.fromkeys(NAMES, "/"))
V2 = Layout("v2", {}, CG, {"": "/"}, ["cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma"])
PATHS = {"v1": {name: f"{CG}/{name}/box" for name in NAMES}, "v2": {"": f"{CG}/box"}}
R = "/linux/resources"

# Every limit holds: this is what makes a difference to a 0.
HELD: dict[str, Any] = {
    "memory": {
        "limit": 300, "swap": 500, "reservation": 9, "kernel": 8, "kernelTCP": 7, "swappiness": 10,
        "disableOOMKiller": True, "useHierarchy": True, "checkBeforeUpdate": True,
    },
    "cpu": {
        "shares": 512, "quota": 5000, "period": 10000, "burst": 100, "realtimeRuntime": 3, "realtimePeriod": 4,
        "cpus": "0", "mems": "0", "idle": 1,
    },
    "pids": {"limit": 20},
    "blockIO": {"weight": 100, "leafWeight": 50},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4}],
    "network": {"classID": 1},
}  # fmt: skip
# v2 has no counterpart of these, and a config of a container there does not have them
ONLY_V1 = (
    "kernel",
    "kernelTCP",
    "swappiness",
    "disableOOMKiller",
    "useHierarchy",
    "realtimeRuntime",
    "realtimePeriod",
)
HELD_V2: dict[str, Any] = {
    "memory": {name: value for name, value in HELD["memory"].items() if name not in ONLY_V1},
    "cpu": {name: value for name, value in HELD["cpu"].items() if name not in ONLY_V1},
    "pids": HELD["pids"],
    "blockIO": {"weight": 100},
}
BOTH = [(V1, HELD), (V2, HELD_V2)]


def written(resources: Any, layout: Layout, held: dict[str, Any] | None) -> list[str]:
    """What is written for it, as "file = value"."""
    found = update.plan(Node(resources, R), Node(held), Placement(layout, PATHS[layout.kind]))
    return [str(step.text) for step in found if step.name == "set cgroup"]


def wrong(resources: Any, held: dict[str, Any] | None) -> list[Violation]:
    """What is wrong with it."""
    return list(update.check(Node(resources, R), Node(held)))


# What dockerd 20.10 sends, whatever is asked for.
DOCKER: dict[str, Any] = {
    "memory": {"limit": 0, "reservation": 0, "kernel": 0},
    "cpu": {"shares": 0, "quota": 0, "period": 0},
    "blockIO": {"weight": 0},
}
NOTHING: list[Any] = [
    {}, None, DOCKER,
    {"memory": {"limit": 0}}, {"memory": {"swap": 0}}, {"memory": {"limit": 0, "swap": 0}},
    {"memory": {"reservation": 0}}, {"memory": {"kernel": 0}}, {"memory": {"kernelTCP": 0}},
    {"memory": {"checkBeforeUpdate": False, "limit": 0}},
    {"cpu": {"shares": 0}}, {"cpu": {"quota": 0}}, {"cpu": {"period": 0}}, {"cpu": {"quota": 0, "period": 0}},
    {"cpu": {"realtimeRuntime": 0}}, {"cpu": {"realtimePeriod": 0}},
    {"cpu": {"cpus": ""}}, {"cpu": {"mems": ""}}, {"cpu": {"cpus": " ", "mems": " "}},
    {"pids": {"limit": 0}}, {"pids": {}}, {"pids": None},
    {"blockIO": {"weight": 0}}, {"blockIO": {"leafWeight": 0}},
    {"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 0, "leafWeight": 0}]}},
    {"blockIO": {"throttleReadBpsDevice": [], "weightDevice": None}},
    {"hugepageLimits": []}, {"hugepageLimits": None}, {"network": {"classID": 0, "priorities": []}}, {"rdma": {}},
    {"unified": {}}, {"devices": [{"allow": False, "access": "rwm"}]},
    {"memory": dict.fromkeys(HELD["memory"]), "cpu": dict.fromkeys(HELD["cpu"])},
]  # fmt: skip


@pytest.mark.parametrize(("layout", "held"), BOTH, ids=["v1", "v2"])
@pytest.mark.parametrize("resources", NOTHING, ids=str)
def test_unchanged(resources: Any, layout: Layout, held: dict[str, Any]) -> None:
    """It changes nothing, whether a limit holds or none; what holds afterwards is what held before."""
    assert written(resources, layout, held) == written(resources, layout, None) == []
    assert wrong(resources, held) == wrong(resources, None) == []
    before = {name: group for name, group in held.items() if group}
    after = {name: group for name, group in update.overlaid(held, resources).items() if group}
    before["memory"] = {**before["memory"], "checkBeforeUpdate": after["memory"]["checkBeforeUpdate"]}
    after["blockIO"] = {name: after["blockIO"][name] for name in before["blockIO"]}
    assert after == before


def merged(*documents: dict[str, Any]) -> dict[str, Any]:
    """One document of several, group by group."""
    result: dict[str, Any] = {}
    for document in documents:
        for name, group in document.items():
            result[name] = {**result.get(name, {}), **group} if isinstance(group, dict) else group
    return result


ONE_AMONG_ZEROS: list[tuple[dict[str, Any], list[str], list[str]]] = [
    (
        {"memory": {"limit": 400}},
        ["memory.limit_in_bytes = 400"],
        ["memory.swap.max = 100", "memory.max = 400"],
    ),
    (
        {"memory": {"limit": -1}},
        ["memory.memsw.limit_in_bytes = -1", "memory.limit_in_bytes = -1"],
        ["memory.swap.max = max", "memory.max = max"],
    ),
    ({"memory": {"swap": 800}}, ["memory.memsw.limit_in_bytes = 800"], ["memory.swap.max = 500"]),
    ({"memory": {"swap": -1}}, ["memory.memsw.limit_in_bytes = -1"], ["memory.swap.max = max"]),
    ({"memory": {"reservation": 5}}, ["memory.soft_limit_in_bytes = 5"], ["memory.low = 5"]),
    ({"memory": {"reservation": -1}}, ["memory.soft_limit_in_bytes = -1"], ["memory.low = max"]),
    ({"cpu": {"shares": 1024}}, ["cpu.shares = 1024"], ["cpu.weight = 100"]),
    ({"cpu": {"quota": 7000}}, ["cpu.cfs_quota_us = 7000"], ["cpu.max = 7000"]),
    ({"cpu": {"quota": -1}}, ["cpu.cfs_quota_us = -1"], ["cpu.max = max"]),
    ({"cpu": {"period": 20000}}, ["cpu.cfs_period_us = 20000"], ["cpu.max = 5000 20000"]),
    ({"cpu": {"cpus": "1", "mems": ""}}, ["cpuset.cpus = 1"], ["cpuset.cpus = 1"]),
    ({"pids": {"limit": 33}}, ["pids.max = 33"], ["pids.max = 33"]),
    ({"pids": {"limit": -1}}, ["pids.max = max"], ["pids.max = max"]),
    ({"blockIO": {"weight": 300}}, ["blkio.weight = 300"], ["io.bfq.weight = 300"]),
    # here 0 is a value, with runc's newest as well
    ({"cpu": {"burst": 0}}, ["cpu.cfs_burst_us = 0"], ["cpu.max.burst = 0"]),
    ({"cpu": {"idle": 0}}, ["cpu.idle = 0"], ["cpu.idle = 0"]),
    (
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]},
        ["hugetlb.2MB.rsvd.limit_in_bytes = 0", "hugetlb.2MB.limit_in_bytes = 0"],
        ["hugetlb.2MB.rsvd.max = 0", "hugetlb.2MB.max = 0"],
    ),
    (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 0}]}},
        ["blkio.throttle.read_bps_device = 8:0 0"],
        ["io.max = 8:0 rbps=max"],
    ),
]


@pytest.mark.parametrize(("wish", "on_v1", "on_v2"), ONE_AMONG_ZEROS, ids=str)
def test_one_among_zeros(wish: dict[str, Any], on_v1: list[str], on_v2: list[str]) -> None:
    """What docker names is set, and nothing else, after every limit was set."""
    document = merged(DOCKER, {"memory": {"swap": 0}, "pids": {"limit": 0}}, wish)
    assert written(document, V1, HELD) == on_v1
    assert written(document, V2, HELD_V2) == on_v2


def test_only_v1_has_them() -> None:
    """Swappiness 0 is one, and false takes the OOM killer's switch back only where it is on."""
    assert written({"memory": {"swappiness": 0}}, V1, HELD) == ["memory.swappiness = 0"]
    for document in (
        {"memory": {"disableOOMKiller": False}},
        merged(DOCKER, {"memory": {"disableOOMKiller": False}}),
    ):
        assert written(document, V1, HELD) == ["memory.oom_control = 0"]
        assert written(document, V1, {"memory": {"limit": 5}}) == []
        assert written(document, V2, HELD_V2) == []


def test_limit_after_limit() -> None:
    """Each update counts from what all before it have left."""
    held: dict[str, Any] = HELD_V2
    seen = []
    for wish in (
        {"memory": {"limit": 400}},
        {"cpu": {"period": 20000}},
        {"memory": {"swap": 700}},
        {"cpu": {"quota": 8000}},
        {"cpu": {"period": 50000}},
        {"memory": {"limit": 600}},
        {"memory": {"limit": -1}},
        {"memory": {"limit": 100}},
    ):
        document = merged(DOCKER, wish)
        assert wrong(document, held) == []
        seen.append(written(document, V2, held))
        held = update.overlaid(held, document)
    assert seen == [
        ["memory.swap.max = 100", "memory.max = 400"],
        ["cpu.max = 5000 20000"],
        ["memory.swap.max = 300"],
        ["cpu.max = 8000"],
        ["cpu.max = 8000 50000"],
        ["memory.swap.max = 100", "memory.max = 600"],
        ["memory.swap.max = max", "memory.max = max"],
        ["memory.swap.max = max", "memory.max = 100"],
    ]


@pytest.mark.parametrize("swap", [{}, {"swap": 0}, {"swap": None}])
def test_memory_above_the_sum_that_stays(swap: dict[str, Any]) -> None:
    """Memory above the old sum of memory and swap is refused, at memory: v1's kernel refuses it, v2 has no sum (R140)."""
    (found,) = wrong({"memory": {"limit": 600, **swap}}, HELD)
    assert (found.pointer, found.rule, found.severity) == (f"{R}/memory/limit", "R140", "error")
    assert "500 of memory+swap" in found.reason
    assert wrong({"memory": {"limit": 600, "swap": 600}}, HELD) == []
    assert wrong({"memory": {"limit": 600, **swap}}, {"memory": {"limit": 300, "swap": -1}}) == []


def test_shares_of_an_idle_cgroup() -> None:
    """The kernel refuses shares while the cgroup is idle: `idle` is then written before them."""
    document = {"cpu": {"shares": 512, "idle": 0}}
    for layout, held, file in ((V1, HELD, f"{CG}/cpu/box/cpu.idle"), (V2, HELD_V2, f"{CG}/box/cpu.idle")):
        steps = [
            step
            for step in update.plan(Node(document, R), Node(held), Placement(layout, PATHS[layout.kind]))
            if step.name == "set cgroup"
        ]
        assert steps[0].args["first"] == [[file, "0"]]


@pytest.mark.parametrize(
    "flag",
    [
        "blkio-weight", "cpu-period", "cpu-quota", "cpu-share", "cpu-rt-period", "cpu-rt-runtime", "kernel-memory",
        "kernel-memory-tcp", "memory", "memory-reservation", "memory-swap", "pids-limit",
    ],
)  # fmt: skip
def test_flags(flag: str) -> None:
    """A flag of 0 is the document's 0."""
    resources, names = _from_flags(given("id", f"--{flag}", "0"))
    assert list(names.values()) == [f"--{flag}"]
    assert written(resources, V1, HELD) == written(resources, V2, HELD_V2) == []


@pytest.mark.parametrize("flag", ["cpuset-cpus", "cpuset-mems", "memory", "cpu-quota", "pids-limit"])
def test_empty_flags(flag: str) -> None:
    """An empty flag counts as not given."""
    assert _from_flags(given("id", f"--{flag}", "")) == ({}, {})
