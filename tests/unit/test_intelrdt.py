# SPDX-License-Identifier: Apache-2.0
"""What linux/intelrdt.py refuses, plans and does, on a tree that looks and behaves like resctrl.

There is no such hardware here: directories are made and removed in a temporary one, with the files in them
that the kernel would put there.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.config import Node
from ociruntime.errors import StepFailed
from ociruntime.host import Host
from ociruntime.launch.context import Context
from ociruntime.linux import intelrdt
from ociruntime.linux.cgroups.layout import Layout

if TYPE_CHECKING:
    from ociruntime.step import HostStep

POINTER = "/linux/intelRdt"


class Machine:
    """One container on a host with a resctrl tree."""

    def __init__(self, root: Path, container_id: str = "c1") -> None:
        self.root = root
        self.id = container_id
        self.state = root.parent / f"state-{container_id}"
        self.state.mkdir()
        self.context = Context(container_id, "/b", str(self.state), Node({}))
        self.context.pid = 4711
        self.journal: list[tuple[str, dict[str, object]]] = []

    def plan(self, rdt: dict[str, Any]) -> list[HostStep]:
        config = Node({"linux": {"intelRdt": rdt}})
        host = Host(Layout("none"), resctrl=str(self.root))
        return [*intelrdt.plan_make(config, host, self.id), *intelrdt.plan_join(config, host, self.id)]

    def create(self, rdt: dict[str, Any], *, to_the_end: bool = True) -> None:
        """As launch does: journal first, then the step."""
        for step in self.plan(rdt):
            if step.undoable:
                self.journal.append((step.op, dict(step.args)))
            intelrdt.apply(step, self.context)
        if to_the_end:
            (self.state / "state.json").touch()

    def undo(self) -> None:
        """As delete, and a failed create, do."""
        for name, args in reversed(self.journal):
            intelrdt.undo(name, args, self.context)

    def groups(self) -> list[str]:
        found = (path.relative_to(self.root) for path in self.root.rglob("tasks"))
        return sorted(str(path.parent) for path in found)

    def tasks(self, group: str = ".") -> str:
        return (self.root / group / "tasks").read_text()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A tree with the default group and one that someone else has made."""
    root = tmp_path / "resctrl"

    def mkdir(path: str, mode: int = 0o777) -> None:
        os.mkdir(path, mode)
        if str(path).startswith(str(root)):
            _fill(Path(path))

    def rmdir(path: str) -> None:
        if not os.path.isdir(path):
            raise FileNotFoundError(2, "No such file or directory", path)
        shutil.rmtree(path)

    monkeypatch.setattr(intelrdt, "os", SimpleNamespace(**{**vars(os), "mkdir": mkdir, "rmdir": rmdir}))
    mkdir(str(root))
    mkdir(str(root / "theirs"))
    (root / "theirs/schemata").write_text("    MB:0=100;1= 50\n    L3:0=00ff;1=000f\n")
    (root / "info").mkdir()
    (root / "info/last_cmd_status").write_text("mask 0 has no bits\n")
    return Machine(root)


def _fill(group: Path) -> None:
    """The files that the kernel puts into a group."""
    for name in ("tasks", "schemata"):
        (group / name).touch()
    if group.parent.name != "mon_groups":
        (group / "mon_groups").mkdir(exist_ok=True)


@pytest.mark.parametrize(
    ("rdt", "expected"),
    [
        (None, []),
        ({}, []),
        ({"closID": "guaranteed"}, []),
        ({"closID": "/"}, []),
        ({"closID": ".."}, [(f"{POINTER}/closID", "error")]),
        ({"closID": "../info"}, [(f"{POINTER}/closID", "error")]),
        ({"closID": "info"}, [(f"{POINTER}/closID", "error")]),
        ({"closID": "/mon_groups"}, [(f"{POINTER}/closID", "error")]),
        ({"l3CacheSchema": "L3:0=f"}, []),
        ({"l3CacheSchema": "L3CODE:0=f"}, [(f"{POINTER}/l3CacheSchema", "warning")]),
        ({"l3CacheSchema": "L3:0=f\nMB:0=1"}, [(f"{POINTER}/l3CacheSchema", "error")]),
    ],
)
def test_check(rdt: dict[str, Any] | None, expected: list[tuple[str, str]]) -> None:
    """A closID never leads out of its directory, and a schema is one line (R159, R160)."""
    found = intelrdt.check(Node({"linux": {"intelRdt": rdt}}))
    assert [(one.pointer, one.severity) for one in found] == expected


def test_without_the_property_resctrl_is_not_touched() -> None:
    """No step at all (R158)."""
    host = Host(Layout("none"), resctrl="/no/such/resctrl")
    for config in (Node({}), Node({"linux": {"intelRdt": None}})):
        assert [*intelrdt.plan_make(config, host, "x"), *intelrdt.plan_join(config, host, "x")] == []


def test_without_resctrl(machine: Machine) -> None:
    """An error that says what to do (R157)."""
    config = Node({"linux": {"intelRdt": {}}})
    check = next(iter(intelrdt.plan_make(config, Host(Layout("none")), "c1")))
    with pytest.raises(StepFailed, match="resctrl is not mounted") as caught:
        intelrdt.apply(check, machine.context)
    assert "mount -t resctrl" in caught.value.hint


def test_a_group_of_its_own(machine: Machine) -> None:
    """Named by the container's id, made, joined and removed with the container (R156, R167, R171)."""
    machine.create({})
    assert machine.groups() == [".", "c1", "theirs"]
    assert (machine.tasks("c1"), machine.tasks(), machine.tasks("theirs")) == ("4711", "", "")
    assert (machine.root / "c1/schemata").read_text() == ""  # R166
    machine.undo()
    machine.undo()  # a second time does no harm
    assert machine.groups() == [".", "theirs"]


def test_order_of_the_lines(machine: Machine) -> None:
    """L3 first, then the bandwidth, then the others, whatever the order in the config (R163, R165)."""
    machine.create({"schemata": ["L2:0=1", "MB:1=10"], "memBwSchema": "MB:0=20", "l3CacheSchema": "L3:0=f"})
    assert (machine.root / "c1/schemata").read_text() == "L3:0=f\nMB:0=20\nL2:0=1\nMB:1=10\n"


@pytest.mark.parametrize(
    ("rdt", "line"), [({"l3CacheSchema": "L3:0=f"}, "L3:0=f\n"), ({"memBwSchema": "MB:0=9"}, "MB:0=9\n")]
)
def test_one_line(machine: Machine, rdt: dict[str, str], line: str) -> None:
    """Only what is set is written (R164)."""
    machine.create(rdt)
    assert (machine.root / "c1/schemata").read_text() == line


def test_an_own_group_that_is_there_already(machine: Machine) -> None:
    """A directory of the container's name that someone else made is neither used nor removed."""
    machine.id = "theirs"
    with pytest.raises(StepFailed, match="theirs already exists"):
        machine.create({})
    machine.undo()
    assert machine.groups() == [".", "theirs"]


def test_closid_alone(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group must be there (R170); it is joined, and stays (R172); no schemata are written (R166)."""
    write, written = intelrdt._write, []

    def note(path: str, value: str) -> None:
        written.append(path)
        write(path, value)

    monkeypatch.setattr(intelrdt, "_write", note)
    machine.create({"closID": "theirs"})
    assert written == [f"{machine.root}/theirs/tasks"]
    assert machine.tasks("theirs") == "4711"
    machine.undo()
    assert machine.groups() == [".", "theirs"]
    with pytest.raises(StepFailed, match="no such group"):
        machine.create({"closID": "nobody's"})
    assert machine.groups() == [".", "theirs"]


def test_default_group(machine: Machine) -> None:
    """`/` is the default group: the mount point itself (R159)."""
    machine.create({"closID": "/", "enableMonitoring": True})
    assert (machine.tasks(), machine.tasks("mon_groups/c1")) == ("4711", "4711")
    machine.undo()
    assert machine.groups() == [".", "theirs"]


def test_closid_with_a_schema_makes_the_group(machine: Machine) -> None:
    """Made and written if it is missing (R168), and not removed with the container (R172)."""
    machine.create({"closID": "shared", "memBwSchema": "MB:0=20"})
    assert (machine.root / "shared/schemata").read_text() == "MB:0=20\n"
    (machine.root / "shared/tasks").write_text("")  # it has ended: that is no reason to remove the group
    os.rename(machine.state / "state.json", machine.state / "deleted.json")
    machine.undo()
    assert machine.groups() == [".", "shared", "theirs"]


@pytest.mark.parametrize("others", ["", "99\n"])
def test_a_shared_group_of_a_container_that_never_was(machine: Machine, others: str) -> None:
    """After a failed create what it made goes, unless another container has come into the group."""
    machine.create({"closID": "shared", "memBwSchema": "MB:0=20"}, to_the_end=False)
    (machine.root / "shared/tasks").write_text(others)  # init has been killed
    machine.undo()
    assert machine.groups() == [".", *(["shared"] if others else []), "theirs"]


@pytest.mark.parametrize(
    ("rdt", "fits"),
    [
        ({"l3CacheSchema": "L3:0=ff;1=f"}, True),
        ({"l3CacheSchema": "L3:1=0xF"}, True),
        ({"memBwSchema": "MB:0=100; 1=50", "schemata": ["L3:0=0FF"]}, True),
        ({"l3CacheSchema": "L3:0=f"}, False),
        ({"memBwSchema": "MB:0=100;2=50"}, False),
        ({"schemata": ["L2:0=f"]}, False),
        ({"schemata": ["L3:0=ff", "MB:1=60"]}, False),
    ],
)
def test_a_group_that_exists_is_compared(machine: Machine, rdt: dict[str, Any], fits: bool) -> None:
    """A schema that differs is an error, one that would change nothing is fine; it is not written (R169)."""
    before = (machine.root / "theirs/schemata").read_text()
    if fits:
        machine.create({"closID": "theirs", **rdt})
    else:
        with pytest.raises(StepFailed, match="theirs/schemata has a value other than"):
            machine.create({"closID": "theirs", **rdt})
    assert (machine.root / "theirs/schemata").read_text() == before


def test_monitoring(machine: Machine) -> None:
    """A group below the group, joined too, and removed after delete (R173, R174)."""
    machine.create({"closID": "theirs", "enableMonitoring": True})
    assert machine.tasks("theirs/mon_groups/c1") == machine.tasks("theirs") == "4711"
    assert machine.context.facts["intelrdt"] == [
        str(machine.root / "theirs"),
        str(machine.root / "theirs/mon_groups/c1"),
    ]
    machine.undo()
    assert machine.groups() == [".", "theirs"]


def test_monitoring_that_cannot_be(machine: Machine) -> None:
    """A monitoring group that can't be made is an error (R173), and the group goes again."""
    shutil.rmtree(machine.root / "theirs/mon_groups")
    with pytest.raises(FileNotFoundError):
        machine.create({"closID": "theirs", "enableMonitoring": True})
    machine.undo()
    (machine.root / "mon_groups/c1").mkdir()
    with pytest.raises(StepFailed, match="mon_groups/c1 already exists"):
        machine.create({"closID": "/", "enableMonitoring": True})
    assert machine.groups() == [".", "theirs"]


def test_the_kernel_says_what_is_wrong_with_a_line(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refused schema is reported in the words of info/last_cmd_status, and the group goes."""

    def refuse(descriptor: int, data: bytes) -> int:
        if b"L3" in data:
            raise OSError(22, "Invalid argument")
        return os.write(descriptor, data)

    monkeypatch.setattr(intelrdt.os, "write", refuse)  # type: ignore[attr-defined]
    with pytest.raises(StepFailed, match="c1/schemata: mask 0 has no bits") as caught:
        machine.create({"l3CacheSchema": "L3:0=0"}, to_the_end=False)
    assert caught.value.errno == 22
    machine.undo()
    assert machine.groups() == [".", "theirs"]


def test_exec_joins_the_same_groups(machine: Machine) -> None:
    """What `exec` plans is what create does with init: a process that comes later enters the same groups."""
    rdt = {"enableMonitoring": True}
    machine.create(rdt)
    machine.context.pid = 5
    host = Host(Layout("none"), resctrl=str(machine.root))
    for step in intelrdt.plan_join(Node({"linux": {"intelRdt": rdt}}), host, machine.id):
        intelrdt.apply(step, machine.context)
    assert machine.tasks("c1") == machine.tasks("c1/mon_groups/c1")
    assert machine.tasks("c1").startswith("5")
    assert list(intelrdt.plan_join(Node({}), host, machine.id)) == []


def test_other_shares_for_a_container_that_exists(tmp_path: Path) -> None:
    """An update writes its lines into the group that the container is in."""
    root = tmp_path / "resctrl"
    (root / "c1").mkdir(parents=True)
    (root / "c1" / "schemata").touch()
    machine = Machine(root)
    for step in intelrdt.plan_update(
        {"intelrdt": [str(root / "c1")]}, str(root), {"--l3-cache-schema": "L3:0=f"}
    ):
        intelrdt.apply(step, machine.context)
    assert (root / "c1" / "schemata").read_text() == "L3:0=f\n"
