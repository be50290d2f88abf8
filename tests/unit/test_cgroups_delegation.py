# SPDX-License-Identifier: Apache-2.0
"""Whom does the container's cgroup belong to, and which of its files? (R130-R137)"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.config import Node
from ociruntime.linux.cgroups import delegation, planner
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.linux.cgroups.placement import place

if TYPE_CHECKING:
    from pathlib import Path

CG = "/sys/fs/cgroup"
V2 = Layout("v2", {}, CG, {"": "/"}, ["pids"])
HYBRID = Layout("hybrid", {"pids": f"{CG}/pids"}, f"{CG}/unified", {"pids": "/", "": "/"})
MOUNT = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["nosuid"]}
OWN = [{"type": "cgroup"}]


def owners(layout: Layout = V2, **changes: Any) -> list[tuple[int, str]]:
    """(uid, pointer) of the steps that give the cgroup away."""
    config: dict[str, Any] = {
        "process": {"user": {"uid": 1000}},
        "mounts": [MOUNT],
        "linux": {"namespaces": OWN},
    }
    node = Node({**config, **changes})
    steps = planner.plan_make(node, place(node, layout, "box", "cgroupfs"))
    return [(step.args["uid"], step.pointer) for step in steps if step.name == "delegate cgroup"]  # type: ignore[misc]


def test_the_user_owns_it() -> None:
    """A cgroup namespace, a writable cgroup mount, v2: the cgroup is given to process.user (R132)."""
    assert owners() == [(1000, "/process/user/uid")]
    assert owners(mounts=[{**MOUNT, "destination": "/sys/fs/cgroup/"}]) == [(1000, "/process/user/uid")]


@pytest.mark.parametrize(
    ("layout", "changes"),
    [
        (HYBRID, {}),
        (V2, {"linux": {"namespaces": []}}),
        (V2, {"linux": {"namespaces": [{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]}}),
        (V2, {"mounts": []}),
        (V2, {"mounts": [{**MOUNT, "options": ["nosuid", "ro"]}]}),
        (V2, {"mounts": [{**MOUNT, "destination": "/cgroup"}]}),
        (V2, {"mounts": [{**MOUNT, "source": "/sys/fs/cgroup", "options": ["bind"]}]}),
        (V2, {"process": {"user": {"uid": 0}}}),
        (V2, {"process": None}),
    ],
    ids=["v1", "no namespace", "joined", "no mount", "ro", "elsewhere", "bind", "root", "no process"],
)
def test_it_stays_the_runtimes(layout: Layout, changes: dict[str, Any]) -> None:
    """One of the conditions is missing, or root has it anyway (R130, R131, R133)."""
    assert owners(layout, **changes) == []


@pytest.mark.parametrize(
    ("uid", "expected"),
    [(0, 100000), (999, 100999), (1000, 5), (1001, -1)],
    ids=["root", "first", "second", "none"],
)
def test_with_a_user_namespace(uid: int, expected: int) -> None:
    """The owner is the host's number of the container's user; nobody's, if it is not mapped."""
    maps = [{"containerID": 0, "hostID": 100000, "size": 1000}, {"containerID": 1000, "hostID": 5, "size": 1}]
    linux = {"namespaces": [*OWN, {"type": "user"}], "uidMappings": maps}
    wanted = [(expected, "/process/user/uid")] if expected > 0 else []
    assert owners(linux=linux, process={"user": {"uid": uid}}) == wanted
    joined = {"namespaces": [*OWN, {"type": "user", "path": "/proc/1/ns/user"}]}
    assert owners(linux=joined) == []


@pytest.mark.parametrize("listed", [True, False])
def test_which_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, listed: bool) -> None:
    """The directory, and of the files that the kernel lists, or of three without a list, those that exist."""
    names = ["cgroup.procs", "cgroup.threads", "memory.oom.group", "memory.max"]
    for name in names:
        (tmp_path / name).touch()
    if listed:
        (tmp_path / "delegate").write_text("cgroup.procs\ncgroup.subtree_control\nmemory.oom.group\n")
    given: list[str] = []

    def chown(path: str, uid: int, gid: int, **_: object) -> None:
        assert (uid, gid) == (1000, -1)
        os.stat(path)
        given.append(os.path.relpath(path, tmp_path))

    monkeypatch.setattr(delegation.os, "chown", chown)
    delegation.give(str(tmp_path), 1000, str(tmp_path / "delegate"))
    assert given == [".", "cgroup.procs", "memory.oom.group" if listed else "cgroup.threads"]
