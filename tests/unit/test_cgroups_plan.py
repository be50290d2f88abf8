# SPDX-License-Identifier: Apache-2.0
"""Which cgroup steps follow from a config, on machines that are not this one?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.config import Node
from ociruntime.errors import NotSupported, StepFailed
from ociruntime.linux import cgroups
from ociruntime.linux.cgroups import membership, planner
from ociruntime.linux.cgroups.convert import cpu_weight
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.linux.cgroups.placement import place

if TYPE_CHECKING:
    from ociruntime.step import HostStep

CG = "/sys/fs/cgroup"
HYBRID = Layout(
    "hybrid",
    {
        "cpu": f"{CG}/cpu,cpuacct",
        "cpuacct": f"{CG}/cpu,cpuacct",
        "cpuset": f"{CG}/cpuset",
        "memory": f"{CG}/memory",
        "devices": f"{CG}/devices",
        "pids": f"{CG}/pids",
    },
    f"{CG}/unified",
    {"cpu": "/", "cpuacct": "/", "cpuset": "/", "memory": "/own", "devices": "/", "pids": "/", "": "/s"},
    [],
)
V2 = Layout("v2", {}, CG, {"": "/user.slice/session-1.scope"}, ["cpu", "cpuset", "io", "memory", "pids"])


def config(resources: dict[str, Any] | None = None, path: str | None = None) -> Node:
    """A config with these resources and this cgroupsPath."""
    linux: dict[str, Any] = {}
    if resources is not None:
        linux["resources"] = resources
    if path is not None:
        linux["cgroupsPath"] = path
    return Node({"ociVersion": "1.3.0", "linux": linux})


def made(node: Node, layout: Layout, manager: str = "cgroupfs") -> list[HostStep]:
    """The steps before there is a process."""
    return list(planner.plan_make(node, place(node, layout, "box", manager)))


def late(node: Node, layout: Layout, manager: str = "cgroupfs") -> list[HostStep]:
    """The steps when there is one."""
    return list(planner.plan_late(node, place(node, layout, "box", manager)))


def paths(node: Node, layout: Layout, manager: str = "cgroupfs") -> dict[str, str]:
    """Where the container is placed."""
    return place(node, layout, "box", manager).paths


def settings(resources: dict[str, Any], layout: Layout) -> list[tuple[str, str]]:
    """(pointer below resources, "file = value") of each limit that is set."""
    node = config(resources)
    steps = [*made(node, layout), *late(node, layout)]
    prefix = "/linux/resources/"
    return [(step.pointer.removeprefix(prefix), step.text) for step in steps if step.name == "set cgroup"]


@pytest.mark.parametrize(
    ("path", "memory", "cpu", "unified"),
    [
        (None, "/own/box", "/box", "/s/box"),
        ("", "/own/box", "/box", "/s/box"),
        ("a/b", "/own/a/b", "/a/b", "/s/a/b"),
        ("/a/b", "/a/b", "/a/b", "/a/b"),
        ("//a/./b/", "/a/b", "/a/b", "/a/b"),
    ],
)
def test_place_on_v1(path: str | None, memory: str, cpu: str, unified: str) -> None:
    """Absolute below the mount (R125), relative and absent below the caller's own cgroup (R126)."""
    found = paths(config(path=path), HYBRID)
    assert found["memory"] == f"{CG}/memory{memory}"
    assert found["cpu"] == found["cpuacct"] == f"{CG}/cpu,cpuacct{cpu}"
    assert found[""] == f"{CG}/unified{unified}"


@pytest.mark.parametrize(
    ("path", "place"), [(None, "/user.slice/box"), ("a", "/user.slice/a"), ("/a/b", "/a/b")]
)
def test_place_on_v2(path: str | None, place: str) -> None:
    """On v2 a relative path is beside the caller's cgroup: one with processes can't have children with limits."""
    assert paths(config(path=path), V2) == {"": f"{CG}{place}"}


def test_outside_of_the_own_namespace() -> None:
    """Where the kernel shows the own cgroup as /.. the visible top is taken."""
    layout = Layout("v2", {}, CG, {"": "/../../x"}, [])
    assert paths(config(path="a"), layout) == {"": f"{CG}/a"}


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/a/../../b", "'..'"),
        ("../x", "'..'"),
        ("/", "root"),
        ("./.", "root"),
        ("/a\nb", "control"),
        ("/" + "x" * 256, "255"),
    ],
)
def test_invalid_paths(path: str, words: str) -> None:
    """A path that leaves its place, or can't be one, is refused (R128)."""
    found = list(cgroups.check(config(path=path)))
    assert [(one.pointer, one.rule, one.severity) for one in found] == [
        ("/linux/cgroupsPath", "R128", "error")
    ]
    assert words in found[0].reason


@pytest.mark.parametrize("path", ["/a", "a/b", "", "system.slice:docker:abc", "/a b/ü"])
def test_valid_paths(path: str) -> None:
    """Names that the kernel takes are taken."""
    assert list(cgroups.check(config(path=path))) == []


@pytest.mark.parametrize(
    ("resources", "pointer", "rule", "severity"),
    [
        ({"cpu": {"quota": 1000, "burst": 1001}}, "cpu/burst", "R144", "error"),
        ({"memory": {"limit": 1000, "swap": 999}}, "memory/swap", "R140", "error"),
        ({"memory": {"swap": 999}}, "memory/swap", "R140", "error"),
        (
            {"hugepageLimits": [{"pageSize": "../x", "limit": 0}]},
            "hugepageLimits/0/pageSize",
            "R148",
            "error",
        ),
        ({"hugepageLimits": [{"pageSize": "3MB", "limit": 0}]}, "hugepageLimits/0/pageSize", "R148", "error"),
        (
            {"network": {"priorities": [{"name": "a 1\nb", "priority": 1}]}},
            "network/priorities/0/name",
            "R149",
            "error",
        ),
        ({"rdma": {"a b": {"hcaHandles": 1}}}, "rdma/a b", "R151", "error"),
        ({"unified": {"../x": "1"}}, "unified/..~1x", "R152", "error"),
        ({"unified": {"cgroup.procs": "1"}}, "unified/cgroup.procs", "R152", "error"),
    ],
)
def test_refused(resources: dict[str, Any], pointer: str, rule: str, severity: str) -> None:
    """Limits that contradict each other, and names that lead into other files, are errors."""
    found = [(one.pointer, one.rule, one.severity) for one in cgroups.check(config(resources))]
    assert found == [(f"/linux/resources/{pointer}", rule, severity)]


@pytest.mark.parametrize(
    "resources",
    [
        {"cpu": {"quota": 1000, "burst": 1000}},
        {"cpu": {"quota": -1, "burst": 1000}},
        {"memory": {"limit": 1000, "swap": 1000}},
        {"memory": {"limit": 1000, "swap": -1}},
        {"memory": {"limit": 1000}},
        {"blockIO": {}, "hugepageLimits": [], "network": {"priorities": []}, "rdma": {}, "unified": {}},
        {"blockIO": {"weight": 0, "weightDevice": None}},
    ],
)
def test_accepted(resources: dict[str, Any]) -> None:
    """Values at the limits of the rules, and the empty objects that engines send, are not mistakes."""
    assert list(cgroups.check(config(resources))) == []


def test_limits_on_v1() -> None:
    """Every property becomes its file of v1; -1 and 0 of pids are both limits (R140-R145, R150)."""
    memory = {
        "limit": 1048576,
        "swap": 2097152,
        "reservation": 5,
        "kernel": 6,
        "kernelTCP": 7,
        "swappiness": 0,
    }
    cpu: dict[str, object] = {
        "shares": 100,
        "period": 1000,
        "quota": 2000,
        "burst": 300,
        "realtimePeriod": 10,
        "idle": 1,
    }
    cpu |= {"realtimeRuntime": 9, "cpus": "0-1", "mems": "0"}
    resources = {"memory": {**memory, "disableOOMKiller": True, "useHierarchy": True}, "cpu": cpu}
    assert settings({**resources, "pids": {"limit": 4}}, HYBRID) == [
        ("memory/limit", "memory.limit_in_bytes = 1048576"),
        ("memory/swap", "memory.memsw.limit_in_bytes = 2097152"),
        ("memory/reservation", "memory.soft_limit_in_bytes = 5"),
        ("memory/kernel", "memory.kmem.limit_in_bytes = 6"),
        ("memory/kernelTCP", "memory.kmem.tcp.limit_in_bytes = 7"),
        ("memory/swappiness", "memory.swappiness = 0"),
        ("memory/disableOOMKiller", "memory.oom_control = 1"),
        ("memory/useHierarchy", "memory.use_hierarchy = 1"),
        ("cpu/shares", "cpu.shares = 100"),
        ("cpu/period", "cpu.cfs_period_us = 1000"),
        ("cpu/quota", "cpu.cfs_quota_us = 2000"),
        ("cpu/burst", "cpu.cfs_burst_us = 300"),
        ("cpu/realtimePeriod", "cpu.rt_period_us = 10"),
        ("cpu/realtimeRuntime", "cpu.rt_runtime_us = 9"),
        ("cpu/idle", "cpu.idle = 1"),
        ("cpu/cpus", "cpuset.cpus = 0-1"),
        ("cpu/mems", "cpuset.mems = 0"),
        ("pids/limit", "pids.max = 4"),
    ]
    assert settings({"pids": {"limit": -1}}, HYBRID) == [("pids/limit", "pids.max = max")]


@pytest.mark.parametrize("layout", [HYBRID, V2])
def test_zero_is_not_set(layout: Layout) -> None:
    """0 and "" mean "not set", as in runc; engines send them."""
    resources = {
        "memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": False},
        "cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": " ", "realtimeRuntime": 0},
        "pids": {"limit": 0},
        "blockIO": {"weight": 0, "leafWeight": 0},
    }
    assert settings(resources, layout) == []


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"memory": {"limit": 300, "swap": 500}}, ["memory.swap.max = 200", "memory.max = 300"]),
        ({"memory": {"limit": 300, "swap": 300}}, ["memory.swap.max = 0", "memory.max = 300"]),
        ({"memory": {"limit": -1, "swap": -1}}, ["memory.swap.max = max", "memory.max = max"]),
        ({"memory": {"reservation": 9}}, ["memory.low = 9"]),
        ({"cpu": {"quota": 1000, "period": 5000}}, ["cpu.max = 1000 5000"]),
        ({"cpu": {"quota": -1, "period": 5000}}, ["cpu.max = max 5000"]),
        ({"cpu": {"quota": 1000, "burst": 7}}, ["cpu.max = 1000", "cpu.max.burst = 7"]),
        ({"cpu": {"shares": 1024, "idle": 0}}, ["cpu.weight = 100", "cpu.idle = 0"]),
        ({"cpu": {"cpus": "0", "mems": "0"}}, ["cpuset.cpus = 0", "cpuset.mems = 0"]),
        ({"pids": {"limit": 4}}, ["pids.max = 4"]),
        ({"pids": {"limit": -1}}, ["pids.max = max"]),
    ],
)
def test_limits_on_v2(resources: dict[str, Any], expected: list[str]) -> None:
    """v1's properties become their counterparts of v2 (R155)."""
    assert [text for _, text in settings(resources, V2)] == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory/swappiness", 0),
        ("memory/disableOOMKiller", True),
        ("memory/useHierarchy", False),
        ("cpu/realtimePeriod", 1),
        ("cpu/realtimeRuntime", 1),
    ],
)
def test_without_counterpart_on_v2(name: str, value: object) -> None:
    """What v2 can't express is an error that names the property, never dropped (R155)."""
    group, _, member = name.partition("/")
    with pytest.raises(NotSupported) as failure:
        settings({group: {member: value}}, V2)
    assert failure.value.pointer == f"/linux/resources/{name}"


def test_weight_of_shares() -> None:
    """Minimum, default and maximum of both scales meet, the curve rises, and results are in range."""
    assert [cpu_weight(shares) for shares in (0, 1, 2, 1024, 262144, 10**6)] == [
        1,
        1,
        1,
        100,
        10000,
        10000,
    ]
    weights = [cpu_weight(shares) for shares in range(2, 262145, 97)]
    assert weights == sorted(weights)
    assert 1 <= weights[0] <= weights[-1] <= 10000


@pytest.mark.parametrize(
    ("layout", "place"),
    [
        (Layout("v1", {"pids": f"{CG}/pids"}, own={"pids": "/"}), "pids"),
        (Layout("v2", {}, CG, {"": "/"}, ["pids"]), f"{CG}/cgroup.controllers"),
    ],
)
def test_missing_controller(layout: Layout, place: str) -> None:
    """A limit whose controller the machine lacks fails with both names, before anything is made (R154)."""
    with pytest.raises(StepFailed, match="'memory'") as failure:
        settings({"memory": {"limit": 4096}}, layout)
    assert place in failure.value.reason
    assert failure.value.pointer == "/linux/resources/memory/limit"


def test_without_cgroups() -> None:
    """On a machine without cgroups a config that asks for nothing of them can run; others fail."""
    layout = Layout("none")
    assert made(config({}), layout) == late(config({}), layout) == []
    assert paths(config({}), layout) == {}
    for asking in (
        config({"pids": {"limit": 5}}),
        config(path="/x"),
        config({"devices": [{"allow": False}]}),
    ):
        with pytest.raises(StepFailed, match="no cgroup hierarchy is mounted"):
            made(asking, layout)


def test_device_rules_need_a_place() -> None:
    """Without the v1 controller and without cgroup2, rules of the config fail, the defaults alone don't."""
    layout = Layout("v1", {"pids": f"{CG}/pids"}, own={"pids": "/"})
    names = [step.name for step in made(config(), layout)]
    assert names == ["check cgroup", "make cgroup"]
    with pytest.raises(StepFailed, match="'devices'"):
        made(config({"devices": [{"allow": False}]}), layout)


def test_disabled() -> None:
    """With --cgroup-manager disabled nothing is planned."""
    full = config({"pids": {"limit": 5}}, "/x")
    for layout in (HYBRID, V2, Layout("none")):
        assert made(full, layout, "disabled") == late(full, layout, "disabled") == []
        assert paths(full, layout, "disabled") == {}
    assert [*membership.plan_open({}, ""), *membership.plan_join_self({}, "")] == []


@pytest.mark.parametrize("layout", [HYBRID, V2])
def test_order_and_journal(layout: Layout) -> None:
    """Check, make, limits, devices; only "make" is undone, and its args are JSON and shared with the check."""
    resources = {"pids": {"limit": 5}, "devices": [{"allow": False, "access": "rwm"}]}
    steps = made(config(resources, "/x"), layout)
    names = [step.name for step in steps]
    assert names[:3] == ["check cgroup", "make cgroup", "set cgroup"]
    assert set(names[3:]) == {"load device program" if layout is V2 else "set device rules"}
    assert [step.name for step in steps if step.undoable] == ["make cgroup"]
    assert steps[0].args is steps[1].args
    assert json.loads(json.dumps([step.args for step in steps])) == [step.args for step in steps]


@pytest.mark.parametrize(("limit", "is_late"), [(0, True), (1, True), (2, False), (-1, False)])
def test_few_processes_on_v2(limit: int, *, is_late: bool) -> None:
    """A clone into a cgroup2 directory counts against pids.max: 0 and 1 are set when init is in it."""
    text = f"pids.max = {'max' if limit < 0 else limit}"
    for resources in ({"pids": {"limit": limit}}, {"unified": {"pids.max": text.rpartition(" ")[2]}}):
        if not limit and "pids" in resources:
            continue  # 0 means no limit
        first = [step.text for step in made(config(resources), V2) if step.name == "set cgroup"]
        then = [step.text for step in late(config(resources), V2)]
        assert (first, then) == (([], [text]) if is_late else ([text], []))


def test_no_limit_of_processes_is_said() -> None:
    """pids.limit 0 means no limit, with a warning (R150); an update's 0 needs none."""
    (found,) = cgroups.check(Node({"linux": {"resources": {"pids": {"limit": 0}}}}))
    assert (found.pointer, found.rule, found.severity) == ("/linux/resources/pids/limit", "R150", "warning")
    for pids in ({}, {"limit": None}, {"limit": -1}, {"limit": 1}):
        assert list(cgroups.check(Node({"linux": {"resources": {"pids": pids}}}))) == []


def test_no_late_limits_on_v1() -> None:
    """On v1 init moves itself into its cgroup, which pids.max does not count: all limits come first."""
    node = config({"pids": {"limit": 1}})
    assert late(node, HYBRID) == []
    assert "pids.max = 1" in [step.text for step in made(node, HYBRID)]


def test_entering_by_itself() -> None:
    """Init gets one descriptor for each v1 hierarchy, and the clone the cgroup2 directory."""
    placement = place(config(path="/x"), HYBRID, "box", "cgroupfs")
    (opened,) = membership.plan_open(placement.paths, placement.pointer)
    assert opened.pointer == "/linux/cgroupsPath"
    slots = opened.args["slots"]
    assert isinstance(slots, dict)
    assert slots == {
        "cgroup cpu": f"{CG}/cpu,cpuacct/x/tasks",
        "cgroup cpuset": f"{CG}/cpuset/x/tasks",
        "cgroup memory": f"{CG}/memory/x/tasks",
        "cgroup devices": f"{CG}/devices/x/tasks",
        "cgroup pids": f"{CG}/pids/x/tasks",
        membership.CLONE_SLOT: f"{CG}/unified/x",
    }
    joins = list(membership.plan_join_self(placement.paths, placement.pointer))
    assert {step.op for step in joins} == {"join_cgroup"}
    assert [step.as_dict()["args"] for step in joins] == [
        [key] for key in slots if key != membership.CLONE_SLOT
    ]
