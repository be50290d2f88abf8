# SPDX-License-Identifier: Apache-2.0
"""What does a container see of cgroups: at its cgroup mount, in /proc/self/cgroup, and may it write there?

Runs on cgroup v1, hybrid and v2, where the mounts differ; the peers decide what is right.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

V2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
MIB = 1 << 20


def _edit(*options: str, own: bool, limit: bool = False) -> Any:
    """Options of the cgroup mount; own: with a cgroup namespace."""

    def edit(config: Config) -> None:
        if own:
            config["linux"]["namespaces"].append({"type": "cgroup"})
        mount = next(one for one in config["mounts"] if one["type"] == "cgroup")
        mount["options"] = list(options)
        if limit:
            config["linux"]["resources"]["memory"] = {"limit": 16 * MIB}

    return edit


def _mounts(text: str) -> list[list[str]]:
    """(root, mount point, options, type, options of the file system) of each cgroup mount in a mountinfo."""
    found = []
    for line in text.splitlines():
        front, _, back = line.partition(" - ")
        fields, (kind, _, deep) = front.split(), back.split()
        if fields[4].startswith("/sys/fs/cgroup"):
            found.append([fields[3], fields[4], fields[5], kind, deep])
    return sorted(found)


@pytest.mark.parametrize("own", [False, True], ids=["host's namespace", "own namespace"])
@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_cgroup_mount(compare: Compare, mode: str, *, own: bool) -> None:
    """The mounts at /sys/fs/cgroup are those that runc makes: points, roots, flags, and the same cgroups."""
    seen = []

    def scenario(stage: Stage) -> dict[str, Any]:
        edit = _edit("nosuid", "noexec", "nodev", "relatime", mode, own=own)
        mounts = _mounts(stage.show("cat /proc/self/mountinfo", edit=edit))
        seen.append(mounts)
        # runc 1.1 leaves the tmpfs with v1's mount points writable, whatever the options say.
        return {"mounts": [mount for mount in mounts if mount[3] != "tmpfs"]}

    mounts = compare(scenario, only=("runc",))["mounts"]
    assert mounts
    assert [point for _, point, options, _, _ in seen[0] if mode not in options.split(",")] == []
    assert not own or {root for root, *_ in mounts} == {"/"}
    if V2:
        assert [(kind, point) for _, point, _, kind, _ in seen[0]] == [("cgroup2", "/sys/fs/cgroup")]


def test_cgroup_namespace_hides_the_path(compare: Compare) -> None:
    """With a cgroup namespace /proc/self/cgroup shows "/" in every hierarchy that the container has joined."""

    def scenario(stage: Stage) -> dict[str, Any]:
        text = stage.show("cat /proc/self/cgroup", edit=_edit("ro", own=True))
        return {"paths": sorted(line.split(":", 1)[1] for line in text.splitlines())}

    paths = compare(scenario, only=("runc",))["paths"]
    assert paths
    assert [line for line in paths if not line.endswith(":/")] == []


def test_container_sees_its_own_limit(compare: Compare) -> None:
    """The mount shows the container's own cgroup: its memory limit, and its process."""
    file = "memory.max" if V2 else "memory/memory.limit_in_bytes"
    procs = "cgroup.procs" if V2 else "memory/cgroup.procs"

    def scenario(stage: Stage) -> dict[str, Any]:
        script = f"cd /sys/fs/cgroup; cat {file}; grep -c -x $$ {procs}"
        return {"seen": stage.show(script, edit=_edit("ro", own=True, limit=True)).split()}

    assert compare(scenario) == {"seen": [str(16 * MIB), "1"]}


@pytest.mark.parametrize("mode", ["ro", "rw"])
def test_writing_to_the_cgroup_mount(compare: Compare, mode: str) -> None:
    """A cgroup mount that is "ro" refuses a new cgroup, one that is "rw" takes it."""
    directory = "/sys/fs/cgroup" if V2 else "/sys/fs/cgroup/pids"

    def scenario(stage: Stage) -> dict[str, Any]:
        script = f"mkdir {directory}/inner 2>&1 && rmdir {directory}/inner && echo made; true"
        return {"said": stage.show(script, edit=_edit("nosuid", "noexec", "nodev", mode, own=True)).strip()}

    said = compare(scenario, only=("runc",))["said"]
    assert ("Read-only file system" in said, said == "made") == (mode == "ro", mode == "rw")
