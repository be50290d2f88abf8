# SPDX-License-Identifier: Apache-2.0
"""ociruntime/container.py: what can be said of a container from files alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ociruntime.container import ALLOWED, Container
from ociruntime.identity import start_time_of
from ociruntime.statedir import Record, StateDir

if TYPE_CHECKING:
    from pathlib import Path


def _of_this_process(tmp_path: Path, facts: dict[str, object]) -> Container:
    members: dict[str, object] = {
        "id": "x",
        "pid": os.getpid(),
        "start_time": start_time_of(os.getpid()),
        "bundle": "/b",
        "rootfs": "/b/rootfs",
        "facts": facts,
        "hooks": [],
        "options": {},
    }
    return Container(StateDir(str(tmp_path), "x"), Record(members))


@pytest.mark.parametrize(
    ("controller", "name", "content", "expected"),
    [
        ("freezer", "freezer.state", "FROZEN\n", True),
        ("freezer", "freezer.state", "FREEZING\n", True),
        ("freezer", "freezer.state", "THAWED\n", False),
        ("freezer", "another", "FROZEN\n", False),
        ("", "cgroup.freeze", "1\n", True),
        ("", "cgroup.freeze", "0\n", False),
        ("memory", "freezer.state", "FROZEN\n", False),
    ],
)
def test_paused_is_what_the_freezer_says(
    tmp_path: Path, controller: str, name: str, content: str, expected: bool
) -> None:
    """One file of the freezer decides; what is about to be frozen counts as frozen."""
    (tmp_path / name).write_text(content)
    paths = {controller: str(tmp_path)}
    assert (_of_this_process(tmp_path, {"cgroups": {"paths": paths}}).status() == "paused") is expected


def test_without_a_cgroup_nothing_is_paused(tmp_path: Path) -> None:
    """--cgroup-manager disabled leaves no cgroup, and one that is gone is not frozen."""
    gone = {"freezer": str(tmp_path / "gone")}
    for facts in ({}, {"cgroups": {"paths": {}}}, {"cgroups": {"paths": gone}}):
        assert _of_this_process(tmp_path, facts).status() == "running"


def test_there_is_a_word_for_each_operation(tmp_path: Path) -> None:
    """ALLOWED knows every state but "creating", in which nothing is allowed."""
    assert {status for allowed in ALLOWED.values() for status in allowed} == {
        "created", "running", "paused", "stopped",
    }  # fmt: skip
    nothing = Container(StateDir(str(tmp_path), "x"), Record())
    assert (nothing.status(), nothing.pid, nothing.state()["bundle"]) == ("creating", 0, "")
