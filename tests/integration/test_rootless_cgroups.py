# SPDX-License-Identifier: Apache-2.0
"""Which cgroup does an ordinary user's container get where a subtree was delegated, and which cgroups does it see?"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.stage import new_id
from tests.integration.test_rootless import bundle_of
from tests.integration.unprivileged import UID, User, command

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = command()
CGROUPS = Path("/sys/fs/cgroup")
CGROUP2 = CGROUPS / "unified"
pytestmark = [
    pytest.mark.skipif(runtime_under_test() in ("runc", "crun"), reason="its own command is called"),
    pytest.mark.skipif(
        not COMMAND,
        reason="the working tree is in a directory that only root can search: move it, or chmod a+x",
    ),
]


@contextmanager
def delegated(owner: int, *hierarchies: Path) -> Iterator[list[Path]]:
    """A cgroup in each hierarchy that belongs to `owner`, with one below it for the caller; both removed at the end."""
    tops = [hierarchy / new_id() for hierarchy in hierarchies]
    try:
        for top in tops:
            for place in (top, top / "caller"):
                place.mkdir()
                for file in (place, *place.iterdir()):
                    if file.is_dir() or file.name in ("cgroup.procs", "tasks", "cgroup.subtree_control"):
                        os.chown(file, owner, owner)
        yield tops
        left = [
            child for top in tops for child in top.rglob("*") if child.is_dir() and child.name != "caller"
        ]
        assert left == []
    finally:
        for top in tops:
            for place in (*sorted((one for one in top.rglob("*") if one.is_dir()), reverse=True), top):
                place.rmdir()


def enter(tops: list[Path]) -> None:
    """Put the calling process into the caller's cgroups."""
    for top in tops:
        (top / "caller" / "cgroup.procs").write_text("0")


class Owner:
    """A user whose commands run in cgroups of the user's own, with a container that sleeps."""

    def __init__(self, user: User, tops: list[Path], change: Any = None) -> None:
        self.user = user
        self.tops = tops
        self.name = new_id()
        self.bundle = bundle_of(user, "sleep", "1000", change=change)

    def call(self, *words: str) -> Any:
        """A command of the user's, from the delegated cgroups."""
        return self.user.call(COMMAND, *words, preexec_fn=lambda: enter(self.tops))

    def start(self) -> int:
        """Run the container; returns its pid."""
        with open(self.user.files / "said", "w+b") as log:
            words = (COMMAND, "run", "-d", "--bundle", self.bundle, self.name)
            process = self.user.start(*words, stdout=log, stderr=log, preexec_fn=lambda: enter(self.tops))
            assert process.wait(60) == 0, (self.user.files / "said").read_text()
        return int(json.loads(self.call("state", self.name).ok().out)["pid"])


def cgroups_of(pid: int) -> dict[str, str]:
    """Controllers -> path, of a process."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}


@pytest.mark.skipif(not CGROUP2.is_dir(), reason="the machine's cgroup2 is not beside cgroup v1")
def test_a_delegated_subtree_of_cgroup2(poor: User) -> None:
    """The container gets a cgroup there: it can be paused, measured, killed as a whole, and nothing is left."""
    with delegated(UID, CGROUP2) as tops:
        owner = Owner(poor, tops)
        assert cgroups_of(owner.start())[""] == f"/{tops[0].name}/{owner.name}"
        owner.call("pause", owner.name).ok()
        assert json.loads(owner.call("state", owner.name).ok().out)["status"] == "paused"
        assert "frozen 1" in (tops[0] / owner.name / "cgroup.events").read_text()
        owner.call("resume", owner.name).ok()
        assert json.loads(owner.call("state", owner.name).ok().out)["status"] == "running"
        assert (
            json.loads(owner.call("events", "--stats", owner.name).ok().out)["data"]["cpu"]["usage"]["total"]
            > 0
        )
        assert (
            owner.call("exec", owner.name, "sh", "-c", "grep '^0::' /proc/self/cgroup")
            .ok()
            .out.endswith(f"/{owner.name}\n")
        )
        owner.call("kill", "--all", owner.name, "KILL").ok()
        owner.call("delete", "--force", owner.name).ok()


@pytest.mark.skipif(not (CGROUPS / "pids" / "tasks").exists(), reason="the machine has no cgroup v1")
def test_delegated_directories_of_cgroup_v1(poor: User) -> None:
    """By write access: limits take effect and can be changed; hierarchies that were not delegated are left alone."""

    def change(config: dict[str, Any]) -> None:
        config["linux"]["resources"] = {"pids": {"limit": 77}}

    with delegated(UID, CGROUPS / "pids", CGROUPS / "freezer") as tops:
        owner = Owner(poor, tops, change)
        found = cgroups_of(owner.start())
        assert found["pids"] == f"/{tops[0].name}/caller/{owner.name}"
        assert found["cpu"] == cgroups_of(os.getpid())["cpu"]
        limit = tops[0] / "caller" / owner.name / "pids.max"
        assert limit.read_text() == "77\n"
        shown = owner.call("exec", owner.name, "cat", "/sys/fs/cgroup/pids/pids.max").ok().out
        assert shown == "77\n"
        owner.call("update", "--pids-limit", "88", owner.name).ok()
        assert limit.read_text() == "88\n"
        owner.call("pause", owner.name).ok()
        owner.call("resume", owner.name).ok()
        owner.call("delete", "--force", owner.name).ok()


@pytest.mark.skipif(not CGROUP2.is_dir(), reason="the machine's cgroup2 is not beside cgroup v1")
def test_the_subtree_of_another_user(poor: User) -> None:
    """Named in the config: nothing is made there, and the container stays in the caller's cgroup."""
    with delegated(12345, CGROUP2) as tops:
        path = f"/{tops[0].name}/mine"

        def change(config: dict[str, Any]) -> None:
            config["linux"]["cgroupsPath"] = path

        name = new_id()
        poor.detach(COMMAND, "run", "-d", "--bundle", bundle_of(poor, "sleep", "1000", change=change), name)
        pid = int(json.loads(poor.call(COMMAND, "state", name).ok().out)["pid"])
        assert cgroups_of(pid) == cgroups_of(os.getpid())
        assert not (CGROUPS / path[1:]).exists()
        poor.call(COMMAND, "delete", "--force", name).ok()
        done = poor.call(
            COMMAND, "--rootless", "false", "run", "--bundle", bundle_of(poor, "true", change=change), name
        )
        done.refused("make cgroup", "EACCES")


@pytest.mark.skipif(not (CGROUPS / "pids" / "tasks").exists(), reason="the machine has no cgroup v1")
def test_it_sees_the_caller_s_cgroups_read_only(poor: User) -> None:
    """Without a cgroup of its own, as under runc and crun."""
    script = "cat /sys/fs/cgroup/pids/cgroup.clone_children; mkdir /sys/fs/cgroup/pids/new 2>&1"
    done = poor.call(COMMAND, "run", "--bundle", bundle_of(poor, "sh", "-c", script), new_id())
    assert done.out.startswith("0\n")
    assert "Read-only file system" in done.out


ONLY_CGROUP2 = "umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup"


@pytest.mark.parametrize("who", ["user", "root of a user namespace"])
@pytest.mark.parametrize("namespace", [True, False], ids=["own namespace", "caller's namespace"])
def test_where_cgroup2_is_the_only_hierarchy(poor: User, who: str, namespace: bool) -> None:
    """With a cgroup namespace a new mount, otherwise a bind of the host's; read-only, as the entry says."""

    def change(config: dict[str, Any]) -> None:
        linux = config["linux"]
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "cgroup"]
        if namespace:
            linux["namespaces"].append({"type": "cgroup"})
        if who != "user":
            linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "user"]
            del linux["uidMappings"], linux["gidMappings"]

    script = "ls /sys/fs/cgroup/cgroup.procs; mkdir /sys/fs/cgroup/new 2>&1"
    directory = bundle_of(poor, "sh", "-c", script, change=change)
    inner = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc"]
    words = [*(inner if who != "user" else []), COMMAND, "run", "--bundle", directory, new_id()]
    done = poor.call(*words, before=ONLY_CGROUP2)
    assert done.out.splitlines()[0] == "/sys/fs/cgroup/cgroup.procs", done.err
    assert "Read-only file system" in done.out
