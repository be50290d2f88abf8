# SPDX-License-Identifier: Apache-2.0
"""What linux/scheduling.py refuses, what it plans, and what it sets on a real process."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.config import Node
from ociruntime.launch.context import Context
from ociruntime.linux import process, scheduling
from ociruntime.step import HostStep, InitStep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.step import Step


def config(process: dict[str, Any] | None = None, linux: dict[str, Any] | None = None) -> Node:
    """A config with these properties."""
    return Node({"process": process, "linux": linux})


def found(process: dict[str, Any] | None = None, linux: dict[str, Any] | None = None) -> list[str]:
    """The pointers of everything that is refused."""
    violations = list(scheduling.check(config(process, linux)))
    assert {one.severity for one in violations} <= {"error"}
    return [one.pointer for one in violations]


def test_nothing_asked_is_nothing_done() -> None:
    """Without these properties, or with null, nothing is refused and nothing is planned."""
    nulls = config({"scheduler": None, "ioPriority": None}, {"personality": None, "memoryPolicy": None})
    for empty in (config(), nulls):
        assert list(scheduling.check(empty)) == []
        assert list(scheduling.plan(empty.at("process"))) == []
        assert list(scheduling.plan_self(empty)) == []
        assert scheduling.exec_affinity(empty.at("process")) == ([], [])


@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"policy": "SCHED_OTHER", "nice": -20}, []),
        ({"policy": "SCHED_OTHER", "nice": 20}, ["nice"]),
        ({"policy": "SCHED_BATCH", "nice": -21}, ["nice"]),
        ({"policy": "SCHED_OTHER", "priority": 1}, ["priority"]),
        ({"policy": "SCHED_FIFO", "priority": 1}, []),
        ({"policy": "SCHED_RR", "priority": 99}, []),
        ({"policy": "SCHED_RR", "priority": 100}, ["priority"]),
        ({"policy": "SCHED_FIFO"}, ["priority"]),
        ({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 2, "period": 3}, []),
        ({"policy": "SCHED_DEADLINE", "runtime": 2, "deadline": 2}, []),
        ({"policy": "SCHED_DEADLINE", "runtime": 3, "deadline": 2}, [""]),
        ({"policy": "SCHED_DEADLINE", "runtime": 1, "deadline": 4, "period": 3}, [""]),
        ({"policy": "SCHED_DEADLINE"}, [""]),
        ({"policy": "SCHED_OTHER", "runtime": 1, "period": 2}, ["runtime", "period"]),
    ],
)
def test_scheduler_rules(scheduler: dict[str, Any], expected: list[str]) -> None:
    """What sched_setattr(2) would refuse is an error at the value."""
    base = "/process/scheduler"
    places = [f"{base}/{name}" if name else base for name in expected]
    assert found({"scheduler": scheduler}) == places


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0-1,3"}, []),
        ({"mode": "MPOL_BIND"}, ["nodes"]),
        ({"mode": "MPOL_INTERLEAVE", "nodes": " "}, ["nodes"]),
        ({"mode": "MPOL_BIND", "nodes": "3-1"}, ["nodes"]),
        ({"mode": "MPOL_BIND", "nodes": "5-0"}, ["nodes"]),
        ({"mode": "MPOL_BIND", "nodes": f"0-1,2-{'9' * 5000}"}, ["nodes"]),
        ({"mode": "MPOL_BIND", "nodes": "0-1023"}, []),
        ({"mode": "MPOL_BIND", "nodes": "1024"}, ["nodes"]),
        ({"mode": "MPOL_BIND", "nodes": "0010-9"}, ["nodes"]),
        ({"mode": "MPOL_PREFERRED"}, []),
        ({"mode": "MPOL_WEIGHTED_INTERLEAVE"}, ["nodes"]),
        ({"mode": "MPOL_NONE"}, []),  # the schema's violation, once
        ({"mode": "MPOL_DEFAULT", "nodes": "0"}, ["nodes"]),
        ({"mode": "MPOL_LOCAL", "flags": ["MPOL_F_STATIC_NODES"]}, ["flags"]),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}, []),
        (
            {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"]},
            ["flags"],
        ),
    ],
)
def test_memory_policy_rules(policy: dict[str, Any], expected: list[str]) -> None:
    """What set_mempolicy(2) would refuse is an error at the value."""
    places = [f"/linux/memoryPolicy/{name}" for name in expected]
    assert found(linux={"memoryPolicy": policy}) == places


@pytest.mark.parametrize(
    ("affinity", "expected"),
    [
        ({"initial": "3-1", "final": "0, 2-4"}, ["initial"]),
        ({"initial": "0-8191"}, []),
        ({"final": "8192"}, ["final"]),
        ({"initial": "", "final": " "}, []),
    ],
)
def test_affinity_lists(affinity: dict[str, str], expected: list[str]) -> None:
    """A range that runs backwards, and a CPU that no kernel has, are errors."""
    assert found({"execCPUAffinity": affinity}) == [f"/process/execCPUAffinity/{name}" for name in expected]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("0", [1, 0]),
        ("0-3, 7", [0x8F, 0]),
        ("31,32", [0x80000000, 1]),
        ("64-65", [0, 0, 3, 0]),
        ("00-001", [3, 0]),
        ("0-63", [0xFFFFFFFF, 0xFFFFFFFF]),
    ],
)
def test_masks(text: str, words: list[int]) -> None:
    """A list becomes the kernel's bit mask, whole longs of it."""
    assert scheduling.mask_words(text) == words


def test_affinity_of_exec() -> None:
    """Initial goes before the cgroup, final after it; without a final one nothing is done there (R060, R061)."""

    def words(affinity: dict[str, str]) -> list[list[object]]:
        sides = scheduling.exec_affinity(Node({"execCPUAffinity": affinity}))
        assert all(isinstance(step, InitStep) and step.op == "affinity" for side in sides for step in side)
        return [[step.args[0] for step in side if isinstance(step, InitStep)] for side in sides]

    assert words({"initial": "0", "final": "0-1"}) == [[[1, 0]], [[3, 0]]]
    assert words({"initial": "1"}) == [[[2, 0]], []]
    assert words({"final": "2", "initial": " "}) == [[], [[4, 0]]]


def test_the_reset_covers_every_cpu() -> None:
    """As many bits as the host may have CPUs, whole longs of them; a refusal by an outer filter is not a failure."""
    from ociruntime.host import Host
    from ociruntime.linux.cgroups.layout import Layout

    for cpus, size in ((1, 2), (64, 2), (65, 4), (8192, 256)):
        (step,) = process.plan_affinity(Host(Layout("none"), cpus=cpus))
        assert step.args == ([0xFFFFFFFF] * size,)
        assert step.ignore == 1


@pytest.mark.parametrize(
    ("policy", "number", "words"),
    [
        ({"mode": "MPOL_DEFAULT"}, 0, []),
        ({"mode": "MPOL_PREFERRED", "nodes": "1"}, 1, [2, 0]),
        ({"mode": "MPOL_PREFERRED"}, 1, []),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, 2 | 1 << 15, [1, 0]),
        ({"mode": "MPOL_INTERLEAVE", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES"]}, 3 | 1 << 14, [1, 0]),
        ({"mode": "MPOL_LOCAL"}, 4, []),
        (
            {"mode": "MPOL_PREFERRED_MANY", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"] * 2},
            5 | 1 << 13,
            [1, 0],
        ),
        ({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}, 6, [1, 0]),
    ],
)
def test_memory_policy_steps(policy: dict[str, Any], number: int, words: list[int]) -> None:
    """Mode, flags and nodes are the numbers of linux/mempolicy.h (R175)."""
    (step,) = scheduling.plan_self(config(linux={"memoryPolicy": policy}))
    assert (step.op, step.args, step.pointer) == ("memory_policy", (number, words), "/linux/memoryPolicy")


@pytest.mark.parametrize(("domain", "number"), [("LINUX", 0), ("LINUX32", 8)])
def test_personality_steps(domain: str, number: int) -> None:
    """Both domains are set: the caller's need not be LINUX (R198)."""
    (step,) = scheduling.plan_self(config(linux={"personality": {"domain": domain}}))
    assert (step.op, step.args) == ("personality", (number,))


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process to set priorities of."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process
        process.kill()


def carry_out(steps: Iterator[Step], pid: int) -> None:
    """Apply host steps to a process."""
    context = Context("x", "/", "/", Node({}))
    context.pid = pid
    for step in steps:
        assert isinstance(step, HostStep)
        scheduling.apply(step, context)


def test_scheduler_of_a_process(child: subprocess.Popen[bytes]) -> None:
    """What is not given is 0, and what is given arrives (R055, R056)."""
    batch = Node({"scheduler": {"policy": "SCHED_BATCH", "nice": 5}})
    carry_out(scheduling.plan(batch), child.pid)
    assert os.sched_getscheduler(child.pid) == os.SCHED_BATCH
    assert os.getpriority(os.PRIO_PROCESS, child.pid) == 5
    flag = {"policy": "SCHED_IDLE", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    carry_out(scheduling.plan(Node({"scheduler": flag})), child.pid)
    assert os.sched_getscheduler(child.pid) == os.SCHED_IDLE | os.SCHED_RESET_ON_FORK
    keep = {
        "policy": "SCHED_OTHER",
        "nice": 7,
        "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_KEEP_POLICY"],
    }
    carry_out(scheduling.plan(Node({"scheduler": keep})), child.pid)
    assert os.sched_getscheduler(child.pid) == os.SCHED_IDLE | os.SCHED_RESET_ON_FORK


def test_io_priority_of_a_process(child: subprocess.Popen[bytes]) -> None:
    """Class and level arrive, as ionice(1) tells them (R059)."""
    priority = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    carry_out(scheduling.plan(Node({"ioPriority": priority})), child.pid)
    told = subprocess.run(["ionice", "-p", str(child.pid)], capture_output=True, text=True, check=True)
    assert told.stdout == "best-effort: prio 6\n"


@pytest.mark.parametrize(
    "process",
    [{"scheduler": {"policy": "SCHED_ISO"}}, {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}}],
)
def test_what_the_kernel_refuses(process: dict[str, Any]) -> None:
    """Its errno is raised: of a policy that it lacks, of a process that is not there."""
    with pytest.raises(OSError, match=r"Invalid argument|No such process"):
        carry_out(scheduling.plan(Node(process)), os.getpid() if "scheduler" in process else 1 << 22)
