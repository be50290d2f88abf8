# SPDX-License-Identifier: Apache-2.0
"""Does the kernel's file of each resource say what it says under runc and crun, and does the limit bite?

Memory's, CPU's and pids' plain limits are in test_cgroups.py. Runs on cgroup v1, hybrid and v2.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.cgroup_files import MIB, ROOT, V2, WITH_NET_HIERARCHIES, at, resources, value
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

departure("swappiness on v2", "runc", "R155", "what v2 can't express is an error")
departure("OOM killer on v2", "runc", "R155", "what v2 can't express is an error")
departure("network on v2", "runc", "R155", "what v2 can't express is an error")
departure("rsvd. on v2", "runc", "R148", "runc 1.1 limits pages in use alone; newer ones do as we do")
for peer in PEERS:
    departure("rsvd. on v1", peer, "R148", "these versions limit pages in use alone; newer ones do as we do")

only_v1 = pytest.mark.skipif(V2, reason="cgroup v2 has no equivalent")


def disk() -> str:
    """Numbers of a block device that can be limited: a loop device, which every machine has."""
    with open("/sys/block/loop0/dev", encoding="ascii") as file:
        return file.read().strip()


def of_disk(**members: int) -> dict[str, int]:
    """An entry of blockIO for it."""
    major, minor = disk().split(":")
    return {"major": int(major), "minor": int(minor), **members}


# property, its value, controller, v1's file, v2's file, how what is read begins on v1 and on v2 ("": v2 has none)
Case = tuple[str, Any, str, str, str, str, str]
BOTH_PEERS: list[Case] = [
    ("cpu/realtimeRuntime", 2000, "cpu", "cpu.rt_runtime_us", "", "2000", ""),
    ("cpu/realtimePeriod", 500000, "cpu", "cpu.rt_period_us", "", "500000", ""),
    ("memory/swappiness", 7, "memory", "memory.swappiness", "", "7", ""),
    ("memory/disableOOMKiller", True, "memory", "memory.oom_control", "", "oom_kill_disable 1", ""),
    (
        "memory/reservation",
        4 * MIB,
        "memory",
        "memory.soft_limit_in_bytes",
        "memory.low",
        "4194304",
        "4194304",
    ),
]
ONLY_RUNC: list[Case] = [
    ("memory/limit", -1, "memory", "memory.memsw.limit_in_bytes", "memory.max", "9223372036854771712", "max"),
    ("blockIO/weight", 500, "blkio", "blkio.bfq.weight", "io.weight", "500", "default 4950"),
]
ONLY_CRUN: list[Case] = [
    ("memory/kernelTCP", MIB, "memory", "memory.kmem.tcp.limit_in_bytes", "", str(MIB), "")
]
NO_PEER: list[Case] = [  # those of Debian 12 have neither
    ("cpu/burst", 1000, "cpu", "cpu.cfs_burst_us", "cpu.max.burst", "1000", "1000"),
    ("cpu/idle", 1, "cpu", "cpu.idle", "cpu.idle", "1", "1"),
]


@pytest.mark.parametrize(
    ("cases", "peers"),
    [(BOTH_PEERS, PEERS), (ONLY_RUNC, ("runc",)), (ONLY_CRUN, ("crun",)), (NO_PEER, ())],
    ids=["runc and crun", "runc", "crun", "none"],
)
def test_property(compare: Compare, cases: list[Case], peers: tuple[str, ...]) -> None:
    """The kernel's file has what the config says, and the peers write the same."""
    held = [case for case in cases if case[4] or not V2]
    groups: dict[str, dict[str, Any]] = {}
    for name, wish, *_ in held:
        group, _, member = name.partition("/")
        groups.setdefault(group, {})[member] = wish

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sleep", "100", edit=resources(**groups))
        container.create().ok()
        answers = {name: value(container, controller, v1, v2) for name, _, controller, v1, v2, *_ in held}
        container.delete("--force").ok()
        return answers

    answers = compare(scenario, only=peers)
    for name, *_, on_v1, on_v2 in held:
        assert answers[name].startswith(on_v2 if V2 else on_v1)


THROTTLES = (
    ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps"),
    ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps"),
    ("throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops"),
    ("throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops"),
)


def test_throttles(compare: Compare) -> None:
    """The four rates of a device (R147)."""
    block = {name: [of_disk(rate=MIB + number)] for number, (name, _, _) in enumerate(THROTTLES)}

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sleep", "100", edit=resources(blockIO=block))
        container.create().ok()
        answers = {v1: value(container, "blkio", v1, "io.max") for _, v1, _ in THROTTLES}
        container.delete("--force").ok()
        return answers

    answers = compare(scenario)
    for number, (_, v1, word) in enumerate(THROTTLES):
        assert (f"{word}={MIB + number}" if V2 else f"{disk()} {MIB + number}") in answers[v1]


@only_v1
def test_weight_of_a_device_without_a_scheduler(compare: Compare) -> None:
    """Only the scheduler BFQ knows weights of devices: elsewhere the kernel's refusal is an error, as with runc."""

    def scenario(stage: Stage) -> dict[str, Any]:
        block = {"weightDevice": [of_disk(weight=200)]}
        result = stage.container("true", edit=resources(blockIO=block)).create()
        return {"code": result.code, "which": "weight" in result.err}

    with open("/sys/block/loop0/queue/scheduler", encoding="ascii") as file:
        used = "[bfq]" in file.read()
    assert compare(scenario, only=("runc",)) == {"code": 0 if used else 1, "which": not used}


def test_huge_pages(compare: Compare) -> None:
    """Both accounts, reservations and pages in use, have the limit (R148)."""
    if not V2 and not os.path.ismount(f"{ROOT}/hugetlb"):
        pytest.skip(
            "the hierarchy hugetlb is not mounted: tests/harness/peers.py does it where crun is installed"
        )
    limits = [{"pageSize": "2MB", "limit": 6 * MIB}]

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sleep", "100", edit=resources(hugepageLimits=limits))
        container.create().ok()
        answers = {}
        for kind in ("", "rsvd."):
            answers[f"{kind} on v{1 + V2}"] = value(
                container, "hugetlb", f"hugetlb.2MB.{kind}limit_in_bytes", f"hugetlb.2MB.{kind}max"
            )
        container.delete("--force").ok()
        return answers

    assert set(compare(scenario, only=("runc",) if V2 else PEERS).values()) == {str(6 * MIB)}


@only_v1
def test_network(compare: Compare, tmp_path: Path) -> None:
    """Class and priorities, in hierarchies that are mounted for this test and seen by its commands alone (R149)."""
    network = {"classID": 0x100001, "priorities": [{"name": "lo", "priority": 9}]}
    script = "cd /sys/fs/cgroup; cat net_cls/net_cls.classid net_prio/net_prio.ifpriomap"

    def scenario(stage: Stage) -> dict[str, Any]:
        place_for_mounts = tmp_path / f"on-{stage.runtime.name}-mounts"
        place_for_mounts.mkdir()
        stage.runtime.command = [WITH_NET_HIERARCHIES, str(place_for_mounts), *stage.runtime.command]
        return {
            "network": stage.run("sh", "-c", script, edit=resources(network=network)).ok().out.splitlines()
        }

    found = compare(scenario, only=("runc",))["network"]
    assert found[0] == str(0x100001)
    assert "lo 9" in found


@pytest.mark.parametrize(
    ("what", "groups", "refused_on", "told"),
    [
        (
            "swappiness",
            {"memory": {"swappiness": 7}},
            "v2",
            "memory/swappiness: cgroup v2 has no equivalent",
        ),
        (
            "OOM killer",
            {"memory": {"disableOOMKiller": True}},
            "v2",
            "disableOOMKiller: cgroup v2 has no equivalent",
        ),
        # on v1 its hierarchy is not mounted
        ("network", {"network": {"classID": 1}}, "v1 v2", "/linux/resources/network/classID: "),
        (
            "unified",
            {"unified": {"memory.high": "1048576000"}},
            "v1",
            "unified/memory.high: this machine's controllers",
        ),
        # the kernel would quietly make 2 of it
        ("shares of 1", {"cpu": {"shares": 1}}, "v1", "/linux/resources/cpu/shares: "),
    ],
)
def test_what_can_not_be_set(
    compare: Compare, what: str, groups: dict[str, Any], refused_on: str, told: str
) -> None:
    """What this machine's version of cgroups can't express is an error, and never dropped (R154, R155)."""
    version = "v2" if V2 else "v1"
    answer = f"{what} on {version}"
    # crun 1.8 leaves its cgroup on v1 when create fails; runc 1.1 makes 0 of the weight for 1 share
    peers = ("runc",) if not V2 else () if what == "shares of 1" else PEERS

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("true", edit=resources(**groups))
        result = container.create()
        if result.code:
            result.refused(told)
        answers = {answer: result.code != 0}
        if container.created:
            container.delete("--force").ok()
        return answers

    assert compare(scenario, only=peers)[answer] is (version in refused_on.split())


def test_oom_is_counted(stage: Stage) -> None:
    """A program beyond its memory limit is killed, and the kernel's counter says so."""
    limits = {"limit": 16 * MIB, "swap": 16 * MIB}
    script = "dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo $?; sleep 100"
    container = stage.container("sh", "-c", script, edit=resources(memory=limits))
    container.create().ok()
    container.start().ok()
    container.wait_for_output("\n")
    words = value(container, "memory", "memory.oom_control", "memory.events").split()
    container.delete("--force").ok()
    assert container.output() == "137\n"
    assert int(words[words.index("oom_kill") + 1]) == 1


def test_limits_of_a_cgroup_that_was_there(compare: Compare) -> None:
    """A cgroup that already has other limits gets the config's, whichever has to be written first."""
    limits = {"limit": 64 * MIB, "swap": 64 * MIB}

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sleep", "100", edit=resources(memory=limits))
        group = f"{container.id}-there"
        at(f"/{group}")(container.bundle.config)
        container.bundle.write()
        directory = f"{ROOT}/{group}" if V2 else f"{ROOT}/memory/{group}"
        os.mkdir(directory)
        for file in ["memory.max"] if V2 else ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]:
            with open(f"{directory}/{file}", "w", encoding="ascii") as there:
                there.write(str(32 * MIB))
        container.create().ok()
        answers = {
            "memory": value(container, "memory", "memory.limit_in_bytes", "memory.max"),
            "swap": value(container, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
        }
        container.delete("--force").ok()
        if os.path.isdir(directory):
            os.rmdir(directory)
        return answers

    assert compare(scenario, only=("runc",)) == {
        "memory": str(64 * MIB),
        "swap": "0" if V2 else str(64 * MIB),
    }


def test_features_say_so(stage: Stage) -> None:
    """Both versions, rdma and both systemds are claimed."""
    if stage.runtime.name in PEERS:
        pytest.skip("the document is this runtime's")
    said = json.loads(stage.runtime.call("features").ok().out)["linux"]["cgroup"]
    assert said == {"v1": True, "v2": True, "rdma": True, "systemd": True, "systemdUser": True}
