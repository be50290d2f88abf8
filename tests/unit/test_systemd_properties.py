# SPDX-License-Identifier: Apache-2.0
"""What is systemd told about limits, devices and annotations?"""

from __future__ import annotations

from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups import devices
from ociruntime.linux.cgroups.resources import settings_v1, settings_v2
from ociruntime.linux.cgroups.systemd.device_list import device_properties
from ociruntime.linux.cgroups.systemd.properties import (
    INFINITY,
    changes,
    of_annotations,
    of_settings,
    of_unit,
)

MIB = 1 << 20


def told(resources: dict[str, Any], *, v2: bool = True) -> dict[str, object]:
    """The properties of the limits by name."""
    settings = list((settings_v2 if v2 else settings_v1)(Node(resources)))
    return {one.name: one.value for one in of_settings(settings, v2)}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"memory": {"limit": 64 * MIB}}, {"MemoryMax": 64 * MIB}),
        ({"memory": {"limit": -1}}, {"MemoryMax": INFINITY, "MemorySwapMax": INFINITY}),
        ({"memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": MIB}},
         {"MemoryMax": 64 * MIB, "MemorySwapMax": 32 * MIB, "MemoryLow": MIB}),
        ({"cpu": {"shares": 1024}}, {"CPUWeight": 100}),
        ({"cpu": {"shares": 1024, "idle": 1}}, {"CPUWeight": 0}),
        ({"cpu": {"shares": 1024, "idle": 0}}, {"CPUWeight": 100}),
        ({"cpu": {"quota": 50000, "period": 100000}}, {"CPUQuotaPerSecUSec": 500000, "CPUQuotaPeriodUSec": 100000}),
        ({"cpu": {"quota": 50000}}, {"CPUQuotaPerSecUSec": 500000, "CPUQuotaPeriodUSec": 100000}),
        ({"cpu": {"quota": 3333, "period": 10000}}, {"CPUQuotaPerSecUSec": 340000, "CPUQuotaPeriodUSec": 10000}),
        ({"cpu": {"quota": -1, "period": 50000}}, {"CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 50000}),
        ({"cpu": {"cpus": "0-2,8", "mems": "0"}}, {"AllowedCPUs": [7, 1], "AllowedMemoryNodes": [1]}),
        ({"cpu": {"cpus": "a-b"}}, {}),
        ({"pids": {"limit": 7}}, {"TasksMax": 7}),
        ({"pids": {"limit": -1}}, {"TasksMax": INFINITY}),
        ({"pids": {"limit": 0}}, {}),
        ({"unified": {"memory.high": "5000", "memory.min": "4096", "cpu.max": "max 20000", "io.max": "8:0 rbps=5"}},
         {"MemoryHigh": 5000, "MemoryMin": 4096, "CPUQuotaPerSecUSec": INFINITY, "CPUQuotaPeriodUSec": 20000}),
        ({"pids": {"limit": 7}, "unified": {"pids.max": "9"}}, {"TasksMax": 9}),
        ({"cpu": {"burst": 1000, "quota": 2000}},
         {"CPUQuotaPerSecUSec": 20000, "CPUQuotaPeriodUSec": 100000}),
    ],
)  # fmt: skip
def test_limits_on_v2(resources: dict[str, Any], expected: dict[str, object]) -> None:
    """What systemd has a property for; the rest is left to the cgroup's files."""
    assert told(resources) == expected


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        ({"memory": {"limit": 64 * MIB, "reservation": MIB}}, {"MemoryLimit": 64 * MIB}),
        ({"cpu": {"shares": 512, "idle": 1}}, {"CPUShares": 512}),
        (
            {"cpu": {"quota": 20000, "period": 40000}},
            {"CPUQuotaPerSecUSec": 500000, "CPUQuotaPeriodUSec": 40000},
        ),
        ({"cpu": {"cpus": "0", "mems": "0"}}, {}),
        ({"pids": {"limit": 7}}, {"TasksMax": 7}),
        ({"blockIO": {"weight": 300}}, {"BlockIOWeight": 300}),
    ],
)
def test_limits_on_v1(resources: dict[str, Any], expected: dict[str, object]) -> None:
    """Under the names that v1 has; systemd has no cpuset there."""
    assert told(resources, v2=False) == expected


def test_every_unit_is_delegated() -> None:
    """And its use is counted, under the names of the version."""
    v2, v1 = ({one.name: one.value for one in of_unit(v2=is_v2)} for is_v2 in (True, False))
    assert v2["Delegate"] is True
    assert v2["DefaultDependencies"] is False
    assert ("IOAccounting" in v2, "IOAccounting" in v1, "BlockIOAccounting" in v1) == (True, False, True)


def test_an_update_tells_only_what_changes() -> None:
    """And what is left out of it now has no limit."""
    before = of_settings(list(settings_v2(Node({"cpu": {"idle": 1}, "pids": {"limit": 7}}))), v2=True)
    after = of_settings(list(settings_v2(Node({"cpu": {"idle": 0}, "pids": {"limit": 9}}))), v2=True)
    found = {one.name: one.value for one in changes(before, after)}
    assert found == {"TasksMax": 9, "CPUWeight": INFINITY}
    assert changes(after, after) == []


def rules(*entries: dict[str, Any], defaults: bool = False) -> list[devices.Rule]:
    """The rules of a config, with or without those of every container."""
    found = devices.rules(Node({"linux": {"resources": {"devices": list(entries)}}}))
    return found if defaults else [rule for rule in found if rule.pointer]


def rule(allow: bool, kind: str, major: int | None, minor: int | None, access: str) -> dict[str, Any]:
    """One entry."""
    entry: dict[str, Any] = {"allow": allow, "type": kind, "access": access}
    if major is not None:
        entry["major"] = major
    if minor is not None:
        entry["minor"] = minor
    return entry


DENY_ALL = rule(False, "a", None, None, "rwm")
ALLOW_ALL = rule(True, "a", None, None, "rwm")


@pytest.mark.parametrize(
    ("entries", "policy", "allowed"),
    [
        ([], "strict", []),
        ([DENY_ALL], "strict", []),
        ([ALLOW_ALL], "auto", []),
        ([ALLOW_ALL, DENY_ALL], "strict", []),
        ([DENY_ALL, ALLOW_ALL], "auto", []),
        ([rule(True, "c", 1, 11, "r")], "strict", [["/dev/char/1:11", "r"]]),
        ([rule(True, "b", 8, None, "rw")], "strict", [["block-8", "rw"]]),
        ([rule(True, "c", None, None, "m")], "strict", [["char-*", "m"]]),
        ([rule(True, "c", None, 5, "r")], "strict", [["char-*", "r"]]),
        ([rule(True, "a", 7, None, "r")], "strict", [["block-7", "r"], ["char-7", "r"]]),
        ([rule(True, "c", 1, 11, "r"), rule(True, "c", 1, 11, "w")], "strict", [["/dev/char/1:11", "rw"]]),
        ([rule(True, "c", 1, 11, "rw"), rule(False, "c", 1, None, "w")], "strict", [["/dev/char/1:11", "r"]]),
        ([rule(True, "c", 1, 11, "r"), rule(False, "c", 1, 11, "rwm")], "strict", []),
        # a hole in a wider rule: the unit allows more, and the program of the cgroup has the hole
        ([rule(True, "c", 1, None, "rw"), rule(False, "c", 1, 11, "w")], "strict", [["char-1", "rw"]]),
        ([ALLOW_ALL, rule(False, "c", 1, 11, "w")], "auto", []),
    ],
)  # fmt: skip
def test_device_rules(entries: list[dict[str, Any]], policy: str, allowed: list[list[str]]) -> None:
    """Never less than what the rules allow."""
    assert device_properties(rules(*entries)) == (policy, allowed)


def test_default_devices_are_allowed() -> None:
    """Those of every container, in words that need no file in /dev."""
    policy, allowed = device_properties(rules(DENY_ALL, defaults=True))
    assert policy == "strict"
    assert ["/dev/char/1:3", "rwm"] in allowed
    assert ["char-136", "rwm"] in allowed
    assert ["block-*", "m"] in allowed


def annotated(name: str, value: str) -> Node:
    """A config with one property of systemd's."""
    return Node({"annotations": {f"org.systemd.property.{name}": value, "other": "x"}})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("CollectMode", "'inactive-or-failed'", ("CollectMode", "s", "inactive-or-failed")),
        ("TimeoutStopUSec", "uint64 5000000", ("TimeoutStopUSec", "t", 5000000)),
        ("TimeoutStopSec", "5", ("TimeoutStopUSec", "t", 5000000)),
        ("TimeoutStopSec", "1.5", ("TimeoutStopUSec", "t", 1500000)),
        ("After", "['a.service', 'b.service']", ("After", "as", ["a.service", "b.service"])),
        ("IOWeight", "uint64 7", ("IOWeight", "t", 7)),
    ],
)
def test_annotations(name: str, value: str, expected: tuple[str, str, object]) -> None:
    """A name and a typed value; seconds become microseconds."""
    (one,) = of_annotations(annotated(name, value))
    assert (one.name, one.signature, one.value) == expected


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CollectMode", "inactive", "'inactive' is not a value in GVariant's text format"),
        ("TimeoutStopSec", "'5'", "TimeoutStopSec takes a number of seconds"),
        ("TimeoutStopSec", "-5", "TimeoutStopSec takes a number of seconds"),
        ("TimeoutStopSec", "double inf", "TimeoutStopSec takes a number of seconds"),
        ("TimeoutStopSec", "double nan", "TimeoutStopSec takes a number of seconds"),
        ("TimeoutStopSec", "uint64 18446744073709551615", "TimeoutStopSec takes a number of seconds"),
        ("Slices", "objectpath 'a'", "text format: 'a' is no object path"),
        ("Slices", "signature 'a'", "text format: 'a' is no signature"),
        ("Slices", "()", "text format: '()' is no signature"),
        ("Slices", "@aZ []", "text format: 'aZ' is no signature"),
        ("PIDs", "[uint32 1]", "the runtime itself sets PIDs"),
        ("Slice", "'x.slice'", "the runtime itself sets Slice"),
        ("Delegate", "false", "the runtime itself sets Delegate"),
        ("Description", "'x'", "the runtime itself sets Description"),
        ("a", "true", "'a' is not the name of a systemd property"),
    ],
)
def test_refused_annotations(name: str, value: str, words: str) -> None:
    """The error is at the annotation."""
    with pytest.raises(StepFailed) as caught:
        list(of_annotations(annotated(name, value)))
    assert words in caught.value.reason
    assert caught.value.pointer == f"/annotations/org.systemd.property.{name}"
