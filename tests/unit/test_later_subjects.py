# SPDX-License-Identifier: Apache-2.0
"""The subjects that are checked but not carried out yet: refused by name exactly if they would have an effect."""

from __future__ import annotations

from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.linux import console, intelrdt, lsm, scheduling, seccomp

Found = list[tuple[str, str]]


def found(subject: Any, process: dict[str, Any] | None = None, linux: dict[str, Any] | None = None) -> Found:
    """(pointer, severity) of everything that the subject's check yields."""
    return [(one.pointer, one.severity) for one in subject.check(Node({"process": process, "linux": linux}))]


def errors(violations: Found) -> list[str]:
    """The pointers of errors alone."""
    return [pointer for pointer, severity in violations if severity == "error"]


@pytest.mark.parametrize("subject", [console, intelrdt, lsm, scheduling, seccomp])
def test_nothing_asked_is_nothing_refused(subject: Any) -> None:
    """A config without these properties, or with nulls and empty texts, passes."""
    assert found(subject) == []
    process = {"terminal": False, "consoleSize": {"height": 1 << 40, "width": 1}, "apparmorProfile": ""}
    nulls = {"scheduler": None, "ioPriority": None, "selinuxLabel": "", "execCPUAffinity": {"initial": "0-3"}}
    linux = {
        "personality": {"domain": "LINUX"},
        "memoryPolicy": {"mode": "MPOL_DEFAULT"},
        "seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []},
        "mountLabel": "",
        "intelRdt": None,
    }
    assert found(subject, {**process, **nulls}, linux) == []


@pytest.mark.parametrize(
    ("subject", "process", "linux", "pointer"),
    [
        (console, {"terminal": True}, {}, "/process/terminal"),
        (lsm, {"apparmorProfile": "docker-default"}, {}, "/process/apparmorProfile"),
        (lsm, {"selinuxLabel": "u:r:t:s0"}, {}, "/process/selinuxLabel"),
        (lsm, {}, {"mountLabel": "u:r:t:s0"}, "/linux/mountLabel"),
        (scheduling, {"scheduler": {"policy": "SCHED_IDLE"}}, {}, "/process/scheduler"),
        (scheduling, {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4}}, {}, "/process/ioPriority"),
        (scheduling, {}, {"personality": {"domain": "LINUX32"}}, "/linux/personality"),
        (scheduling, {}, {"memoryPolicy": {"mode": "MPOL_LOCAL"}}, "/linux/memoryPolicy"),
        (seccomp, {}, {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}, "/linux/seccomp"),
        (
            seccomp,
            {},
            {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"]}]}},
            "/linux/seccomp",
        ),
        (intelrdt, {}, {"intelRdt": {}}, "/linux/intelRdt"),
        (intelrdt, {}, {"intelRdt": {"closID": "/"}}, "/linux/intelRdt"),
    ],
)
def test_what_would_have_an_effect_is_refused_by_name(
    subject: Any, process: dict[str, Any], linux: dict[str, Any], pointer: str
) -> None:
    """Exactly one violation, "unsupported", at the property: it is never ignored."""
    assert found(subject, process, linux) == [(pointer, "unsupported")]
    (violation,) = subject.check(Node({"process": process, "linux": linux}))
    assert violation.reason.endswith("not supported yet")


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
    assert errors(found(scheduling, {"scheduler": scheduler})) == places


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"mode": "MPOL_BIND", "nodes": "0-1,3"}, []),
        ({"mode": "MPOL_BIND"}, ["nodes"]),
        ({"mode": "MPOL_INTERLEAVE", "nodes": " "}, ["nodes"]),
        ({"mode": "MPOL_BIND", "nodes": "3-1"}, ["nodes"]),
        ({"mode": "MPOL_BIND", "nodes": "5-0"}, ["nodes"]),
        ({"mode": "MPOL_BIND", "nodes": f"0-1,2-{'9' * 5000}"}, []),
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
    assert errors(found(scheduling, linux={"memoryPolicy": policy})) == places


def test_affinity_lists() -> None:
    """An execCPUAffinity is not for init (R060), but a range that runs backwards is an error."""
    affinity = {"initial": "3-1", "final": "0, 2-4"}
    assert found(scheduling, {"execCPUAffinity": affinity}) == [("/process/execCPUAffinity/initial", "error")]


NOTIFY = {"names": ["openat"], "action": "SCMP_ACT_NOTIFY"}


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s"}, ["defaultAction"]),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [NOTIFY]}, ["syscalls/0/action"]),
        ({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s", "syscalls": [NOTIFY]}, []),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": "/s",
                "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}],
            },
            ["syscalls/0/names"],
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"names": ["a"], "action": "SCMP_ACT_LOG", "args": [{"index": 5}, {"index": 6}]}
                ],
            },
            ["syscalls/0/args/1/index"],
        ),
    ],
)
def test_seccomp_rules(filter_: dict[str, Any], expected: list[str]) -> None:
    """What no filter can be made of is an error at the value."""
    assert errors(found(seccomp, linux={"seccomp": filter_})) == [f"/linux/seccomp/{one}" for one in expected]


@pytest.mark.parametrize(
    ("rdt", "expected"),
    [
        ({"closID": "guaranteed"}, []),
        ({"closID": ".."}, [("/linux/intelRdt/closID", "error")]),
        ({"closID": "../info"}, [("/linux/intelRdt/closID", "error")]),
        ({"l3CacheSchema": "L3:0=f"}, []),
        ({"l3CacheSchema": "L3CODE:0=f"}, [("/linux/intelRdt/l3CacheSchema", "warning")]),
        ({"l3CacheSchema": "L3:0=f\nMB:0=1"}, [("/linux/intelRdt/l3CacheSchema", "error")]),
    ],
)
def test_intelrdt_rules(rdt: dict[str, Any], expected: Found) -> None:
    """A closID never leads out of its directory, and a schema is one line."""
    assert found(intelrdt, linux={"intelRdt": rdt}) == [*expected, ("/linux/intelRdt", "unsupported")]


def test_console_size() -> None:
    """With a terminal the size must fit struct winsize; without one it is ignored (R039, R040)."""
    size = {"height": 70000, "width": 65535}
    assert errors(found(console, {"terminal": True, "consoleSize": size})) == ["/process/consoleSize/height"]
    assert found(console, {"consoleSize": size}) == []
