# SPDX-License-Identifier: Apache-2.0
"""Which files do block I/O, huge pages, network, rdma and unified become, on machines that are not this one?"""

from __future__ import annotations

from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.errors import NotSupported, StepFailed
from ociruntime.linux import cgroups
from ociruntime.linux.cgroups import planner
from ociruntime.linux.cgroups.convert import io_weight, swap_alone
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.linux.cgroups.placement import place

CG = "/sys/fs/cgroup"
_NAMES = ("blkio", "cpu", "devices", "hugetlb", "memory", "net_cls", "net_prio", "pids", "rdma")
V1 = Layout("v1", {name: f"{CG}/{name}" for name in _NAMES}, own=dict.fromkeys(_NAMES, "/"))
V2 = Layout("v2", {}, CG, {"": "/"}, ["cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma", "misc"])

BLOCK: dict[str, Any] = {
    "weight": 500,
    "weightDevice": [{"major": 8, "minor": 0, "weight": 10}, {"major": 8, "minor": 16, "weight": 0}],
    "throttleReadBpsDevice": [
        {"major": 8, "minor": 0, "rate": 1048576},
        {"major": 8, "minor": 16, "rate": 0},
    ],
    "throttleWriteBpsDevice": [{"major": 8, "minor": 0, "rate": 2}],
    "throttleReadIOPSDevice": [{"major": 8, "minor": 0, "rate": 3}],
    "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 4}],
}


def planned(resources: dict[str, Any], layout: Layout) -> list[Any]:
    """The steps that set limits."""
    config = Node({"ociVersion": "1.3.0", "linux": {"resources": resources}})
    steps = planner.plan_make(config, place(config, layout, "box", "cgroupfs"))
    return [step for step in steps if step.name == "set cgroup"]


def texts(resources: dict[str, Any], layout: Layout) -> list[tuple[str, str]]:
    """(pointer below resources, "file = value")."""
    return [
        (step.pointer.removeprefix("/linux/resources/"), step.text) for step in planned(resources, layout)
    ]


def test_block_io_on_v1() -> None:
    """Weights, weights of leaves and of devices, and the four throttles: each entry is a step of its own."""
    entry = {"major": 8, "minor": 0, "weight": 10, "leafWeight": 20}
    block = {**BLOCK, "leafWeight": 30, "weightDevice": [entry]}
    assert texts({"blockIO": block}, V1) == [
        ("blockIO/weight", "blkio.weight = 500"),
        ("blockIO/leafWeight", "blkio.leaf_weight = 30"),
        ("blockIO/weightDevice/0/weight", "blkio.weight_device = 8:0 10"),
        ("blockIO/weightDevice/0/leafWeight", "blkio.leaf_weight_device = 8:0 20"),
        ("blockIO/throttleReadBpsDevice/0", "blkio.throttle.read_bps_device = 8:0 1048576"),
        ("blockIO/throttleReadBpsDevice/1", "blkio.throttle.read_bps_device = 8:16 0"),
        ("blockIO/throttleWriteBpsDevice/0", "blkio.throttle.write_bps_device = 8:0 2"),
        ("blockIO/throttleReadIOPSDevice/0", "blkio.throttle.read_iops_device = 8:0 3"),
        ("blockIO/throttleWriteIOPSDevice/0", "blkio.throttle.write_iops_device = 8:0 4"),
    ]


def test_block_io_on_v2() -> None:
    """The throttles become words of io.max; where BFQ is not there the weight is io.weight's, with its scale."""
    assert texts({"blockIO": BLOCK}, V2) == [
        ("blockIO/weight", "io.bfq.weight = 500"),
        ("blockIO/weightDevice/0/weight", "io.bfq.weight = 8:0 10"),
        ("blockIO/throttleReadBpsDevice/0", "io.max = 8:0 rbps=1048576"),
        ("blockIO/throttleReadBpsDevice/1", "io.max = 8:16 rbps=max"),
        ("blockIO/throttleWriteBpsDevice/0", "io.max = 8:0 wbps=2"),
        ("blockIO/throttleReadIOPSDevice/0", "io.max = 8:0 riops=3"),
        ("blockIO/throttleWriteIOPSDevice/0", "io.max = 8:0 wiops=4"),
    ]
    first, second, *_ = planned({"blockIO": BLOCK}, V2)
    assert first.args["instead"] == [[f"{CG}/box/io.weight", "4950"]]
    assert second.args["instead"] == [[f"{CG}/box/io.weight", "8:0 1"]]


def test_bfq_on_v1() -> None:
    """The kernels that have no CFQ any more have BFQ's files, with the same numbers."""
    first, second, *_ = planned({"blockIO": BLOCK}, V1)
    assert first.args["instead"] == [[f"{CG}/blkio/box/blkio.bfq.weight", "500"]]
    assert second.args["instead"] == [[f"{CG}/blkio/box/blkio.bfq.weight_device", "8:0 10"]]


def test_huge_pages() -> None:
    """Reservations first, then pages in use, which kernels without the first have alone (R148)."""
    limits = {"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}, {"pageSize": "1GB", "limit": 0}]}
    for layout, tail in ((V1, "limit_in_bytes"), (V2, "max")):
        assert texts(limits, layout) == [
            ("hugepageLimits/0", f"hugetlb.2MB.rsvd.{tail} = 4194304"),
            ("hugepageLimits/0", f"hugetlb.2MB.{tail} = 4194304"),
            ("hugepageLimits/1", f"hugetlb.1GB.rsvd.{tail} = 0"),
            ("hugepageLimits/1", f"hugetlb.1GB.{tail} = 0"),
        ]
        steps = planned(limits, layout)
        assert steps[0].args["instead"] == [[steps[1].args["file"], "4194304"]]


@pytest.mark.parametrize("size", ["64KB", "2MB", "32MB", "512MB", "1GB", "16GB"])
def test_page_sizes(size: str) -> None:
    """Sizes that kernels have are accepted; others can't become a part of a file's name."""
    resources = {"hugepageLimits": [{"pageSize": size, "limit": 0}]}
    assert list(cgroups.check(Node({"linux": {"resources": resources}}))) == []


@pytest.mark.parametrize(
    "size", ["", "../../memory", "2MB/../x", "3MB", "2MiB", "2mb", "1024MB", "2MB\n", "0MB"]
)
def test_no_page_sizes(size: str) -> None:
    """GHSA-5g49-rx9x-qfc6: the size is taken from a closed set."""
    resources = {"hugepageLimits": [{"pageSize": size, "limit": 0}]}
    (found,) = cgroups.check(Node({"linux": {"resources": resources}}))
    assert (found.pointer, found.rule) == ("/linux/resources/hugepageLimits/0/pageSize", "R148")


def test_network() -> None:
    """A class and priorities on v1; v2 has neither, and says so (R149, R155)."""
    network = {
        "classID": 1048577,
        "priorities": [{"name": "eth0", "priority": 500}, {"name": "lo", "priority": 0}],
    }
    assert texts({"network": network}, V1) == [
        ("network/classID", "net_cls.classid = 1048577"),
        ("network/priorities/0", "net_prio.ifpriomap = eth0 500"),
        ("network/priorities/1", "net_prio.ifpriomap = lo 0"),
    ]
    for name, value in network.items():
        with pytest.raises(NotSupported) as failure:
            planned({"network": {name: value}}, V2)
        assert failure.value.pointer == f"/linux/resources/network/{name}"
    for nothing in ({}, {"classID": 0, "priorities": []}):
        assert texts({"network": nothing}, V1) == texts({"network": nothing}, V2) == []


@pytest.mark.parametrize("layout", [V1, V2])
def test_rdma(layout: Layout) -> None:
    """Handles, objects or both; 0 is a limit (R151)."""
    rdma = {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 0}}
    assert texts({"rdma": rdma}, layout) == [
        ("rdma/mlx5_1", "rdma.max = mlx5_1 hca_handle=3 hca_object=10000"),
        ("rdma/mlx4_0", "rdma.max = mlx4_0 hca_object=0"),
    ]


def test_unified() -> None:
    """Every key is written, after what was converted, and its controller is asked for (R152, R153)."""
    unified = {"memory.high": "5", "cpu.max": "max 1000", "misc.max": "x 1", "cgroup.max.depth": "3"}
    unified |= {"memory.pressure": "some 1 2", "io.max": "8:0 rbps=1\n8:16 rbps=2\n"}
    found = texts({"unified": unified, "memory": {"limit": 4096}}, V2)
    assert found[0] == ("memory/limit", "memory.max = 4096")
    assert found[1:] == [
        ("unified/memory.high", "memory.high = 5"),
        ("unified/cpu.max", "cpu.max = max 1000"),
        ("unified/misc.max", "misc.max = x 1"),
        ("unified/cgroup.max.depth", "cgroup.max.depth = 3"),
        ("unified/memory.pressure", "memory.pressure = some 1 2"),
        ("unified/io.max", "io.max = 8:0 rbps=1; 8:16 rbps=2"),
    ]
    config = Node({"linux": {"resources": {"unified": unified}}})
    _, made, *_ = planner.plan_make(config, place(config, V2, "box", "cgroupfs"))
    assert made.args["controllers"] == ["cpu", "io", "memory", "misc"]


@pytest.mark.parametrize("name", ["dmem.max", "nonesuch.max", "plain"])
def test_unified_without_its_controller(name: str) -> None:
    """A controller that the machine lacks is an error that names it (R154)."""
    with pytest.raises(StepFailed, match=name.partition(".")[0]) as failure:
        planned({"unified": {name: "1"}}, V2)
    assert failure.value.pointer == f"/linux/resources/unified/{name}"


def test_unified_on_v1() -> None:
    """Files of v2 can't be written on a machine with v1's controllers: refused by name."""
    with pytest.raises(NotSupported, match="v1") as failure:
        planned({"unified": {"memory.high": "1"}}, V1)
    assert failure.value.pointer == "/linux/resources/unified/memory.high"
    assert texts({"unified": {}}, V1) == []


def test_weights_of_leaves_on_v2() -> None:
    """v2 has no such weights (R155)."""
    device = {"major": 8, "minor": 0, "leafWeight": 20}
    for block, where in (
        ({"leafWeight": 20}, "leafWeight"),
        ({"weightDevice": [device]}, "weightDevice/0/leafWeight"),
    ):
        with pytest.raises(NotSupported) as failure:
            planned({"blockIO": block}, V2)
        assert failure.value.pointer == f"/linux/resources/blockIO/{where}"


@pytest.mark.parametrize(
    ("name", "resources"),
    [
        ("blkio", {"blockIO": {"weight": 10}}),
        ("hugetlb", {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}),
        ("net_cls", {"network": {"classID": 1}}),
        ("net_prio", {"network": {"priorities": [{"name": "lo", "priority": 1}]}}),
        ("rdma", {"rdma": {"x": {"hcaObjects": 1}}}),
    ],
)
def test_missing_controller_on_v1(name: str, resources: dict[str, Any]) -> None:
    """A limit whose hierarchy is not mounted fails, and names the controller."""
    with pytest.raises(StepFailed, match=f"'{name}' is not mounted"):
        planned(resources, Layout("v1", {"pids": f"{CG}/pids"}, own={"pids": "/"}))


def test_what_holds_a_limit_up() -> None:
    """The kernel refuses a limit above the old memory+swap: the step knows what to write before it."""
    limit, swap = planned({"memory": {"limit": 4096, "swap": 8192}}, V1)
    assert limit.args["first"] == [[f"{CG}/memory/box/memory.memsw.limit_in_bytes", "8192"]]
    assert "first" not in swap.args
    period, quota, _ = planned({"cpu": {"period": 1000, "quota": 500, "burst": 100}}, V1)
    assert [file.rpartition("/")[2] for file, _ in period.args["first"]] == [
        "cpu.cfs_burst_us",
        "cpu.cfs_quota_us",
    ]
    assert [file.rpartition("/")[2] for file, _ in quota.args["first"]] == ["cpu.cfs_burst_us"]


def test_unlimited_memory_is_unlimited_swap() -> None:
    """A limit of -1 alone takes the limit of memory and swap away too, as with runc."""
    assert texts({"memory": {"limit": -1}}, V1) == [
        ("memory/limit", "memory.memsw.limit_in_bytes = -1"),
        ("memory/limit", "memory.limit_in_bytes = -1"),
    ]
    assert [text for _, text in texts({"memory": {"limit": -1}}, V2)] == [
        "memory.swap.max = max",
        "memory.max = max",
    ]


def test_conversions() -> None:
    """The ends of the scales meet; swap is what the sum has more than memory."""
    assert [io_weight(weight) for weight in (1, 10, 100, 500, 1000, 65535)] == [1, 1, 910, 4950, 10000, 10000]
    assert [swap_alone(*pair) for pair in ((0, 5), (-1, 5), (0, -1), (9, 5), (5, 5))] == [
        "",
        "max",
        "max",
        "4",
        "0",
    ]
