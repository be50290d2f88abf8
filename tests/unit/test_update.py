# SPDX-License-Identifier: Apache-2.0
"""Which steps does an update take, on machines that are not this one, and how are its flags read?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.cli.flags import VERB_FLAGS, Arguments, parse
from ociruntime.config import Node
from ociruntime.errors import StepFailed, UsageError
from ociruntime.linux import intelrdt
from ociruntime.linux.cgroups import update
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.linux.cgroups.placement import Placement
from ociruntime.verbs.update import _from_flags, _named, number_of

if TYPE_CHECKING:
    from pathlib import Path

CG = "/sys/fs/cgroup"
NAMES = ("cpu", "memory", "pids")
V1 = Layout("v1", {name: f"{CG}/{name}" for name in NAMES}, own=dict.fromkeys(NAMES, "/"))
V2 = Layout("v2", {}, CG, {"": "/"}, ["cpu", "io", "memory", "pids"])
PATHS = {"v1": {name: f"{CG}/{name}/box" for name in NAMES}, "v2": {"": f"{CG}/box"}}
R = "/linux/resources"


def steps(resources: dict[str, Any], layout: Layout, held: dict[str, Any] | None = None) -> list[str]:
    """The steps in words."""
    found = update.plan(Node(resources, R), Node(held or {}), Placement(layout, PATHS[layout.kind]))
    return [step.describe() for step in found]


def test_only_what_is_named() -> None:
    """No device rules, no other limits, nothing is made or joined."""
    assert steps({}, V1) == steps({}, V2) == []
    resources = {"pids": {"limit": 5}, "devices": [{"allow": False}], "memory": {"limit": 0}}
    assert steps(resources, V1, {"cpu": {"shares": 7}}) == ["set cgroup pids.max = 5"]
    assert steps(resources, V2) == ["enable controllers pids", "set cgroup pids.max = 5"]


def test_what_holds_already() -> None:
    """On v2 a period needs the quota, and memory+swap the limit of memory, that were set before."""
    held = {"cpu": {"quota": 5000, "period": 10000}, "memory": {"limit": 100, "swap": 150}}
    assert steps({"cpu": {"period": 20000}}, V2, held)[1:] == ["set cgroup cpu.max = 5000 20000"]
    assert steps({"cpu": {"quota": 7000}}, V2, held)[1:] == ["set cgroup cpu.max = 7000"]
    assert steps({"memory": {"swap": 300}}, V2, held)[1:] == ["set cgroup memory.swap.max = 200"]
    assert steps({"memory": {"swap": 300}}, V1, held) == ["set cgroup memory.memsw.limit_in_bytes = 300"]
    assert list(update.check(Node({"memory": {"swap": 300}}, R), Node(held))) == []
    (found,) = update.check(Node({"memory": {"swap": 99}}, R), Node(held))
    assert (found.pointer, found.rule) == (f"{R}/memory/swap", "R140")
    (found,) = update.check(Node({"memory": {"swap": 99}}, R), Node({}))
    assert "has none" in found.reason


@pytest.mark.parametrize("where", ["update", "config"])
def test_check_before_update(where: str) -> None:
    """Asked for by the update or by the config, and only on v2: v1's kernel looks by itself (R143)."""
    wish = {"checkBeforeUpdate": True}
    memory = {"limit": 100, "swap": 150}
    resources = {"memory": {**memory, **(wish if where == "update" else {})}}
    held = {"memory": wish if where == "config" else {}}
    assert steps(resources, V2, held)[:2] == [
        "check memory in use below 100",
        "check memory in use below 150",
    ]
    assert steps(resources, V1, held)[0] == "set cgroup memory.limit_in_bytes = 100"
    no = {"memory": {**memory, "checkBeforeUpdate": False}}
    assert steps(no, V2, {"memory": wish})[0] == "enable controllers memory"


def test_memory_in_use(tmp_path: Path) -> None:
    """More than the new limit is an error, exactly the limit is not; swap that isn't counted is not."""
    (tmp_path / "memory.current").write_text("100\n")
    args = {"files": [f"{tmp_path}/memory.current", f"{tmp_path}/memory.swap.current"], "limit": 100}
    update.check_use(args)
    (tmp_path / "memory.swap.current").write_text("1\n")
    with pytest.raises(StepFailed, match="101 bytes are in use"):
        update.check_use(args)


def test_controllers_that_are_missing() -> None:
    """A controller that the machine lacks, or that came after the container, is named."""
    with pytest.raises(StepFailed, match="'blkio' is not mounted"):
        steps({"blockIO": {"weight": 10}}, V1)
    later = Layout("v1", {**V1.controllers, "blkio": f"{CG}/blkio"}, own=V1.own)
    with pytest.raises(StepFailed, match="no cgroup of the controller 'blkio'"):
        steps({"blockIO": {"weight": 10}}, later)


def test_what_holds_afterwards() -> None:
    """The new over the old; what says nothing, and the rules for devices, change nothing."""
    held = {"memory": {"limit": 1, "swap": 2}, "pids": {"limit": 3}, "devices": [1]}
    new = {
        "memory": {"limit": 5, "swap": 0},
        "cpu": {"cpus": "", "idle": 0, "quota": 7},
        "devices": [2],
        "pids": None,
    }
    assert update.overlaid(held, new) == {
        "memory": {"limit": 5, "swap": 2},
        "pids": {"limit": 3},
        "devices": [1],
        "cpu": {"idle": 0, "quota": 7},
    }
    assert update.overlaid(None, {"pids": {"limit": 0}}) == {"pids": {}}
    assert update.overlaid(held, {"pids": {"limit": 0}})["pids"] == {"limit": 3}
    assert update.overlaid(held, {"memory": {"limit": -1}})["memory"] == {"limit": -1, "swap": -1}


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("0", 0), ("-1", -1), ("4096", 4096), ("4k", 4096), ("4K", 4096), ("4kb", 4096), ("4KiB", 4096), ("4 k", 4096),
        ("1.5m", 1572864), ("2G", 1 << 31), ("1t", 1 << 40), ("1P", 1 << 50), ("10b", 10), ("0.5k", 512),
        ("-2", None), ("", None), ("k", None), ("1x", None), ("1.k", None), (".5k", None), ("1e3", None), ("1.2.3", None),
        ("\u0661", None), ("9" * 40, None), ("--1", None), ("4  k", None), ("-1k", None),
    ],
)  # fmt: skip
def test_bytes(word: str, number: int | None) -> None:
    """Units of 1024 as runc's, in any case; -1 is no limit; everything else is refused."""
    assert number_of(word, units=True) == number


@pytest.mark.parametrize(
    ("word", "number"), [("0", 0), ("-1", -1), ("-5", -5), ("7", 7), ("7k", None), ("x", None)]
)
def test_plain_numbers(word: str, number: int | None) -> None:
    """Without units; a quota may be negative."""
    assert number_of(word, units=False) == number


def given(*words: str) -> Arguments:
    """What the command line's parser makes of the words."""
    arguments = Arguments()
    parse(list(words), VERB_FLAGS["update"], arguments)
    return arguments


def test_flags_become_resources() -> None:
    """Each flag is a property, and an error at the property names the flag."""
    words = [
        "id",
        "--memory",
        "10M",
        "--cpu-quota=-1",
        "--cpuset-cpus",
        "0-1",
        "--pids-limit",
        "9",
        "--cpu-idle",
        "1",
    ]
    resources, names = _from_flags(given(*words))
    assert resources == {
        "cpu": {"quota": -1, "idle": 1, "cpus": "0-1"},
        "memory": {"limit": 10485760},
        "pids": {"limit": 9},
    }
    assert _named(f"{R}/memory/limit", names) == "--memory"
    assert _named(f"{R}/cpu/idle", names) == "--cpu-idle"
    assert _named(f"{R}/cpu/shares", {}) == "/cpu/shares"
    assert _named(R, {}) == "/"
    assert _named("--l3-cache-schema", names) == "--l3-cache-schema"


@pytest.mark.parametrize("flag", [row[0] for row in VERB_FLAGS["update"]])
def test_every_flag_is_read(flag: str) -> None:
    """None of the table is forgotten."""
    if flag in ("resources", "l3-cache-schema", "mem-bw-schema"):
        return
    resources, names = _from_flags(given("id", f"--{flag}", "1"))
    assert len(resources) == len(names) == 1
    assert list(names.values()) == [f"--{flag}"]


@pytest.mark.parametrize(
    "words", [["--memory", "x"], ["--pids-limit", "1.5"], ["--cpu-idle", "2"], ["--cpu-share", "1k"]]
)
def test_flags_that_are_no_numbers(words: list[str]) -> None:
    """Refused with the flag's name."""
    with pytest.raises(UsageError, match=words[0]):
        _from_flags(given("id", *words))


def test_shares_of_caches() -> None:
    """Both lines in one write into the container's group of resctrl; without a group it is an error."""
    lines = {"--l3-cache-schema": "L3:0=f", "--mem-bw-schema": "MB:0=50"}
    (step,) = intelrdt.plan_update({"intelrdt": ["/r/box", "/r/box/mon_groups/x"]}, "/r", lines)
    assert step.args == {"root": "/r", "group": "/r/box", "lines": ["L3:0=f", "MB:0=50"]}
    with pytest.raises(StepFailed, match="not in a resctrl group") as failure:
        list(intelrdt.plan_update({}, "", lines))
    assert failure.value.pointer == "--l3-cache-schema and --mem-bw-schema"
