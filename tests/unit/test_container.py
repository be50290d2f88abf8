# SPDX-License-Identifier: Apache-2.0
"""ociruntime/container.py: what can be said of a container from files alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ociruntime.container import Container
from ociruntime.statedir import StateDir

if TYPE_CHECKING:
    from pathlib import Path


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
    container = Container(StateDir(str(tmp_path), "x"), {"facts": {"cgroups": {"paths": paths}}})
    assert container._frozen() is expected


def test_without_a_cgroup_nothing_is_paused(tmp_path: Path) -> None:
    """--cgroup-manager disabled leaves no cgroup, and one that is gone is not frozen."""
    for facts in ({}, {"cgroups": None}, {"cgroups": {"paths": {"freezer": str(tmp_path / "gone")}}}):
        assert not Container(StateDir(str(tmp_path), "x"), {"facts": facts})._frozen()
