# SPDX-License-Identifier: Apache-2.0
"""What only cgroup v2 has: files by name, and a cgroup that belongs to the container's user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.cgroup_files import V2, place, resources
from tests.harness.configuration import with_namespace
from tests.harness.driver import DRIVER
from tests.harness.peers import departure

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

if DRIVER != "systemd":  # with it, runc 1.1 does as we do
    departure(
        "owner with rw",
        "runc",
        "R132",
        "runc 1.1 gives it away with a user namespace alone; newer ones do as we do",
    )

pytestmark = pytest.mark.skipif(not V2, reason="this machine's controllers are those of cgroup v1")

# A loop device, which every machine has.
DISK = "7:0"
UNIFIED = {
    "memory.high": "104857600",
    "memory.low": "1048576",
    "pids.max": "17",
    "cgroup.max.depth": "5",
    "cpu.max": "50000 100000",
}


def test_unified(compare: Compare) -> None:
    """Every key is written to its file, and its controller enabled (R152, R153)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sleep", "100", edit=resources(unified=UNIFIED, pids={"limit": 9}))
        container.create().ok()
        directory = place(container.state()["pid"], "")
        answers = {name: _text(f"{directory}/{name}") for name in UNIFIED}
        container.delete("--force").ok()
        return answers

    assert compare(scenario) == UNIFIED


def test_unified_with_several_lines(stage: Stage) -> None:
    """Each line is a write of its own, as io.max wants it."""
    lines = f"{DISK} rbps=1048576\n{DISK} wiops=7"
    container = stage.container("sleep", "100", edit=resources(unified={"io.max": lines}))
    container.create().ok()
    found = _text(f"{place(container.state()['pid'], '')}/io.max")
    container.delete("--force").ok()
    assert found.split()[1:] == ["rbps=1048576", "wbps=max", "riops=max", "wiops=7"]


@pytest.mark.parametrize("name", ["nonesuch.max", "memory.nonesuch"])
def test_unified_without_such_a_file(compare: Compare, name: str) -> None:
    """A controller, or a file, that isn't there is an error that names the key (R154)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.container("true", edit=resources(unified={name: "1"})).create()
        return {"code": result.code, "named": name.partition(".")[0] in result.err}

    assert compare(scenario, only=("runc",)) == {"code": 1, "named": True}


def _text(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


@pytest.mark.parametrize("options", [["rw"], ["ro"]])
def test_owner_of_the_cgroup(compare: Compare, options: list[str]) -> None:
    """The user who may write in the container's cgroup mount owns the cgroup, and no limit of it (R130-R137)."""

    def edit(config: Config) -> None:
        with_namespace(config, "cgroup")
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
        for mount in config["mounts"]:
            if mount["destination"] == "/sys/fs/cgroup":
                mount["options"] = ["nosuid", "noexec", "nodev", *options]

    script = (
        "cd /sys/fs/cgroup; stat -c '%n %u' . cgroup.procs cgroup.subtree_control cgroup.threads memory.max pids.max;"
        " mkdir mine 2>/dev/null && echo 0 > mine/cgroup.procs && cat /proc/self/cgroup; true"
    )

    def scenario(stage: Stage) -> dict[str, Any]:
        return {f"owner with {options[0]}": stage.run("sh", "-c", script, edit=edit).ok().out.splitlines()}

    seen = compare(scenario, only=("runc",))[f"owner with {options[0]}"]
    owner = 1000 if options == ["rw"] else 0
    own = (".", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
    assert seen[:6] == [*(f"{name} {owner}" for name in own), "memory.max 0", "pids.max 0"]
    assert seen[6:] == (["0::/mine"] if owner else [])
