# SPDX-License-Identifier: Apache-2.0
"""Does the program run with the scheduler, priorities, CPUs, NUMA policy and personality of the config?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import ENVIRONMENT, runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

for _peer in PEERS:
    departure(
        "CPUs of a confined caller", _peer, "R225", "newer runc and crun reset the caller's affinity, too"
    )
departure("machine of LINUX32", "runc", "R198", "runc 1.1 does not know the personality")

_REAL_TIME = "/sys/fs/cgroup/cpu/cpu.rt_runtime_us"
ALL_CPUS = f"0-{(os.cpu_count() or 1) - 1}" if (os.cpu_count() or 1) > 1 else "0"
_KERNEL = tuple(int(number) for number in re.findall(r"[0-9]+", os.uname().release)[:2])
# A caller with a NUMA policy that no case has, which it leaves to what it starts: set_mempolicy(2).
_INTERLEAVE = """
import ctypes, os, sys
number = {"x86_64": 238}.get(os.uname().machine, 237)
nodes = ctypes.c_ulong(1)
if ctypes.CDLL(None, use_errno=True).syscall(number, 3 | 1 << 15, ctypes.byref(nodes), 64):
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""
only_ours = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="Debian's peers lack it: run with RUNTIME=ociruntime"
)


def _process(**properties: Any) -> Any:
    return lambda config: config["process"].update(properties)


def _linux(**properties: Any) -> Any:
    return lambda config: config["linux"].update(properties)


def _scheduled(scheduler: dict[str, Any]) -> Any:
    """A scheduler, and on cgroup v1 the share of real time without which the kernel refuses such a class."""

    def edit(config: Config) -> None:
        config["process"]["scheduler"] = scheduler
        if scheduler["policy"] in ("SCHED_FIFO", "SCHED_RR") and os.path.exists(_REAL_TIME):
            config["linux"]["resources"]["cpu"] = {"realtimeRuntime": 1000, "realtimePeriod": 1000000}

    return edit


@only_ours
@pytest.mark.parametrize(
    ("scheduler", "expected"),
    [
        ({"policy": "SCHED_OTHER", "nice": -5}, ["-5", "0", "0"]),
        ({"policy": "SCHED_FIFO", "priority": 10}, ["0", "10", "1"]),
        ({"policy": "SCHED_RR", "priority": 99}, ["0", "99", "2"]),
        ({"policy": "SCHED_BATCH", "nice": 7}, ["7", "0", "3"]),
        ({"policy": "SCHED_IDLE"}, ["0", "0", "5"]),
    ],
)
def test_scheduler(stage: Stage, scheduler: dict[str, Any], expected: list[str]) -> None:
    """Policy, nice value and priority are in force in the program; without a number it is 0 (R055, R056)."""
    shown = stage.run("cat", "/proc/self/stat", edit=_scheduled(scheduler)).ok().out
    fields = shown.rpartition(")")[2].split()
    assert [fields[number - 3] for number in (19, 40, 41)] == expected  # nice, rt_priority, policy


@only_ours
def test_deadline(stage: Stage) -> None:
    """Run time, deadline and period are the kernel's, even with a flag (R057)."""
    scheduler = {
        "policy": "SCHED_DEADLINE", "runtime": 2_000_000, "deadline": 50_000_000, "period": 100_000_000,
        "flags": ["SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN"],
    }  # fmt: skip
    container = stage.container("cat", "/proc/self/stat", edit=_process(scheduler=scheduler))
    container.create().ok()
    told = subprocess.run(
        ["chrt", "-p", str(container.state()["pid"])], capture_output=True, text=True, check=True
    ).stdout
    assert "SCHED_DEADLINE" in told
    assert "2000000/50000000/100000000" in told
    fields = container.finish().rpartition(")")[2].split()
    assert fields[41 - 3] == "6"


@only_ours
def test_reset_on_fork(stage: Stage) -> None:
    """With SCHED_FLAG_RESET_ON_FORK the program's children are ordinary ones (R057)."""
    scheduler = {"policy": "SCHED_RR", "priority": 3, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    script = "cut -d' ' -f40,41 /proc/$$/stat; cat /proc/self/stat | cut -d' ' -f40,41"
    assert stage.show(script, _scheduled(scheduler)) == "3 2\n0 0\n"


@only_ours
def test_scheduler_that_the_kernel_lacks(stage: Stage) -> None:
    """SCHED_ISO is a valid name that no kernel carries out: an error, and nothing is left (R227)."""
    container = stage.container("true", edit=_process(scheduler={"policy": "SCHED_ISO"}))
    container.run().refused("/process/scheduler: set scheduler SCHED_ISO: EINVAL")
    assert stage.runtime.ids() == []


@only_ours
def test_scheduler_that_is_not_allowed(stage: Stage) -> None:
    """Without CAP_SYS_NICE a real-time class is refused at its property; the user may be anybody."""
    container = stage.container("true", edit=_process(scheduler={"policy": "SCHED_FIFO", "priority": 1}))
    argv = stage.runtime.argv("run", "--bundle", str(container.bundle.directory), container.id)
    ended = subprocess.run(
        ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice", *argv],
        env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert "/process/scheduler: set scheduler SCHED_FIFO priority 1: EPERM" in ended.stderr
    assert stage.runtime.ids() == []


@only_ours
@pytest.mark.parametrize(
    ("kind", "level", "told"),
    [
        ("IOPRIO_CLASS_RT", 2, "realtime: prio 2"),
        ("IOPRIO_CLASS_BE", 7, "best-effort: prio 7"),
        ("IOPRIO_CLASS_IDLE", 0, "idle"),
    ],
)
def test_io_priority(stage: Stage, kind: str, level: int, told: str) -> None:
    """Class and level of the program, also of one that is not root (R059)."""
    priority = {"class": kind, "priority": level}
    edit = _process(ioPriority=priority, user={"uid": 1000, "gid": 1000})
    assert stage.run("sh", "-c", "ionice -p $$", edit=edit).ok().out == f"{told}\n"


@only_ours
@pytest.mark.parametrize(
    ("policy", "shown"),
    [
        ({"mode": "MPOL_DEFAULT"}, "default"),
        ({"mode": "MPOL_BIND", "nodes": "0"}, "bind:0"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]}, "bind=static:0"),
        (
            {"mode": "MPOL_INTERLEAVE", "nodes": "0-0", "flags": ["MPOL_F_RELATIVE_NODES"]},
            "interleave=relative:0",
        ),
        ({"mode": "MPOL_PREFERRED", "nodes": "0"}, "prefer:0"),
        ({"mode": "MPOL_PREFERRED_MANY", "nodes": "0"}, "prefer (many):0"),
        ({"mode": "MPOL_WEIGHTED_INTERLEAVE", "nodes": "0"}, "weighted interleave:0"),
        ({"mode": "MPOL_LOCAL"}, "local"),
        ({"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_NUMA_BALANCING"]}, "bind=balancing:0"),
    ],
)
def test_memory_policy(stage: Stage, policy: dict[str, Any], shown: str) -> None:
    """The kernel shows mode, flags and nodes for the memory of the program, in place of the caller's policy (R175)."""
    stage.runtime.command = [sys.executable, "-I", "-S", "-c", _INTERLEAVE, *stage.runtime.command]
    if policy["mode"] == "MPOL_WEIGHTED_INTERLEAVE" and _KERNEL < (6, 9):
        stage.run("true", edit=_linux(memoryPolicy=policy)).refused(
            "/linux/memoryPolicy: set memory policy", "EINVAL"
        )
        return
    before = _policy_of_the_stack(stage, None)
    assert before.startswith("interleave=static:0 ")
    assert _policy_of_the_stack(stage, policy).startswith(f"{shown} ")


def _policy_of_the_stack(stage: Stage, policy: dict[str, Any] | None) -> str:
    edit = None if policy is None else _linux(memoryPolicy=policy)
    lines = stage.run("cat", "/proc/self/numa_maps", edit=edit).ok().out.splitlines()
    (stack,) = [line for line in lines if line.endswith(" stack") or " stack " in line]
    return stack.split(" ", 1)[1]


@only_ours
def test_memory_policy_of_a_node_that_is_not_there(stage: Stage) -> None:
    """An error at the property, in create (R227)."""
    container = stage.container("true", edit=_linux(memoryPolicy={"mode": "MPOL_BIND", "nodes": "1000"}))
    container.create().refused("/linux/memoryPolicy: set memory policy MPOL_BIND 1000", "EINVAL")
    assert stage.runtime.ids() == []


@pytest.mark.parametrize(("domain", "machine"), [("LINUX", "x86_64"), ("LINUX32", "i686")])
def test_personality(compare: Compare, domain: str, machine: str) -> None:
    """What uname(2) says of the machine (R198)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        answer = "machine of LINUX32" if domain == "LINUX32" else "machine"
        return {
            answer: stage.run("uname", "-m", edit=_linux(personality={"domain": domain})).ok().out.strip()
        }

    answers = compare(scenario)
    if runtime_under_test() != "runc":
        assert list(answers.values()) == [machine]


@only_ours
def test_personality_of_the_caller(stage: Stage) -> None:
    """Without the property the caller's personality stays, with LINUX it is not the program's."""
    stage.runtime.command = ["setarch", "i686", *stage.runtime.command]
    assert stage.run("uname", "-m").ok().out == "i686\n"
    edit = _linux(personality={"domain": "LINUX"})
    assert stage.run("uname", "-m", edit=edit).ok().out == "x86_64\n"


def _cpus(stage: Stage, edit: Any = None) -> str:
    return stage.run("grep", "Cpus_allowed_list", "/proc/self/status", edit=edit).ok().out.split()[1]


def test_affinity_is_not_the_callers(compare: Compare) -> None:
    """A runtime that was started on one CPU does not confine its containers to it."""

    def scenario(stage: Stage) -> dict[str, Any]:
        stage.runtime.command = ["taskset", "-c", "0", *stage.runtime.command]
        return {"CPUs of a confined caller": _cpus(stage)}

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        assert answers == {"CPUs of a confined caller": ALL_CPUS}


def test_affinity_is_what_the_cpuset_allows(compare: Compare) -> None:
    """The container's own cpuset counts; execCPUAffinity is not for init (R060)."""

    def edit(config: Config) -> None:
        config["linux"]["resources"]["cpu"] = {"cpus": "0"}
        config["process"]["execCPUAffinity"] = {"initial": "1", "final": "1"}

    assert compare(lambda stage: {"cpus": _cpus(stage, edit)}) == {"cpus": "0"}
