# SPDX-License-Identifier: Apache-2.0
"""Which properties that the specification requires may be missing, and which empty strings are not values?"""

from __future__ import annotations

from typing import Any

import pytest

from ociruntime.check import check
from ociruntime.config import Node
from ociruntime.linux import namespace_entries, namespaces, scheduling
from ociruntime.linux.cgroups import devices
from ociruntime.operations import exec_document

START: dict[str, Any] = {"ociVersion": "1.3.0", "root": {"path": "rootfs"}}
_PROCESS: dict[str, Any] = {"args": ["/bin/true"], "cwd": "/", "user": {"uid": 0, "gid": 0}}
_IDS = ["/process/user/gid", "/process/user/uid"]


def of_process(**members: Any) -> dict[str, Any]:
    """A config whose process has these members."""
    return {**START, "process": {**_PROCESS, **members}}


def of_linux(**members: Any) -> dict[str, Any]:
    """A config whose linux has these members."""
    names = [{"type": name} for name in ("mount", "uts", "ipc")]
    return {**START, "linux": {"namespaces": names, **members}}


def rule(**members: Any) -> dict[str, Any]:
    """A config with one rule for devices."""
    return of_linux(resources={"devices": [members]})


WARNED: list[tuple[dict[str, Any], list[str], str]] = [
    (of_process(user={}), _IDS, "R062"),
    (of_process(user={"uid": None, "gid": None}), _IDS, "R062"),
    (of_process(user={"uid": 5}), _IDS[:1], "R062"),
    (of_process(user={"gid": 5, "umask": None}), _IDS[1:], "R062"),
    (of_process(ioPriority={"class": "IOPRIO_CLASS_RT"}), ["/process/ioPriority/priority"], "R059"),
    (
        of_process(ioPriority={"class": "IOPRIO_CLASS_RT", "priority": None}),
        ["/process/ioPriority/priority"],
        "R059",
    ),
    (
        of_process(terminal=True, consoleSize={"width": None}),
        ["/process/consoleSize/height", "/process/consoleSize/width"],
        "R040",
    ),
    (rule(access="rwm"), ["/linux/resources/devices/0/allow"], "R139"),
    (rule(access="rwm", allow=None), ["/linux/resources/devices/0/allow"], "R139"),
    (
        of_linux(resources={"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": None}]}}),
        ["/linux/resources/blockIO/weightDevice/0"],
        "R146",
    ),
    (of_linux(resources={"pids": {"limit": 0}}), ["/linux/resources/pids/limit"], "R150"),
]


@pytest.mark.parametrize(("config", "pointers", "number"), WARNED, ids=str)
def test_warned(config: dict[str, Any], pointers: list[str], number: str) -> None:
    """It is accepted, and each missing property has a warning that names its requirement."""
    found = check.require(Node(config))
    assert [(one.pointer, one.rule, one.severity) for one in found] == [
        (pointer, number, "warning") for pointer in pointers
    ]


SILENT: list[dict[str, Any]] = [
    {**START, "process": {"args": ["/bin/true"], "cwd": "/"}},
    of_process(user=None),
    of_process(consoleSize={}),
    of_process(consoleSize=None, ioPriority=None, scheduler=None),
    of_linux(namespaces=[{"type": "mount"}, {"type": "ipc", "path": ""}, {"type": "uts", "path": None}]),
    of_linux(rootfsPropagation=""),
    of_linux(intelRdt={"memBwSchema": "", "l3CacheSchema": "", "closID": ""}),
    rule(access="rwm", allow=False, type=""),
    of_linux(resources={"blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 0}]}}),
]


@pytest.mark.parametrize("config", SILENT, ids=str)
def test_nothing_to_say(config: dict[str, Any]) -> None:
    """Empty text, null and what is optional need no warning."""
    assert check.require(Node(config)) == []


def test_what_they_mean() -> None:
    """An empty path is a new namespace, an empty type all devices, a missing level the first, a missing allow no."""
    config = Node(of_linux(namespaces=[{"type": "ipc", "path": ""}]))
    assert namespace_entries.is_new(config, "ipc")
    assert not namespaces.forks(config)
    assert namespaces.clone_flags(config) == namespace_entries.CLONE_NEWIPC
    assert str(devices.rules(Node(rule(type="")))[0]) == "deny a *:* rwm"
    (step,) = scheduling.plan(Node({"ioPriority": {"class": "IOPRIO_CLASS_BE"}}))
    assert step.args == {"class": "IOPRIO_CLASS_BE", "priority": 0}


@pytest.mark.parametrize("user", [{}, {"uid": 5}, {"gid": None, "uid": 5}], ids=str)
def test_in_a_document_of_exec(user: dict[str, Any]) -> None:
    """The same holds for exec's document: what it lacks is 0, and not the container's."""
    config = Node(of_process(user={"uid": 8, "gid": 9}))
    document = {"args": ["/bin/true"], "cwd": "/", "user": user}
    made = exec_document.with_process(config, exec_document.Request(document=document))
    found = exec_document.require(made)
    assert {one.severity for one in found} == {"warning"}
    assert sorted(one.pointer for one in found) == [
        f"/process/user/{name}" for name in ("gid", "uid") if user.get(name) is None
    ]
    assert made.at("process", "user", "gid").number() == 0
