# SPDX-License-Identifier: Apache-2.0
"""What is planned for a runtime without power over the host? An ordinary user, or root in a user namespace."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime import stateroot
from ociruntime.config import Node
from ociruntime.errors import StepFailed
from ociruntime.host import Host, probe_for
from ociruntime.linux import credentials, devices, id_ranges, idmap, sub_ids
from ociruntime.linux.cgroups import planner, rights
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.linux.cgroups.placement import place
from ociruntime.linux.refusals import facts
from ociruntime.plan.order import Options
from ociruntime.step import HostStep
from ociruntime.verbs.spec import default_config, without_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONE = [{"containerID": 0, "hostID": 1000, "size": 1}]
MANY = [*ONE, {"containerID": 1, "hostID": 100000, "size": 65536}]


def user(*, capabilities: int = 0, setgroups: bool = True) -> Host:
    """An ordinary user, 1000:1000."""
    return Host(
        Layout("none"), rootless=True, uid=1000, gid=1000, capabilities=capabilities, setgroups=setgroups
    )


def config(maps: list[dict[str, int]] | None, **linux: Any) -> Node:
    """A config with these mappings, or without a user namespace."""
    if maps is not None:
        linux |= {"namespaces": [{"type": "user"}], "uidMappings": maps, "gidMappings": maps}
    return Node({"linux": linux, "process": {"user": {"uid": 0, "gid": 0}}})


def test_one_s_own_id_is_mapped_directly() -> None:
    """user_namespaces(7): anybody may map that, if setgroups is denied first."""
    uids, gids = idmap.plan_write(config(ONE), user())
    assert uids.args == {"file": "uid_map", "ranges": [[0, 1000, 1]]}
    assert gids.args == {"file": "gid_map", "ranges": [[0, 1000, 1]], "deny_setgroups": True}
    assert "setgroups is denied" in gids.text


def test_more_ids_are_mapped_by_the_helpers() -> None:
    """By newuidmap and newgidmap, and not by root or who has the capabilities."""
    assert [step.args.get("program") for step in idmap.plan_write(config(MANY), user())] == [
        "newuidmap",
        "newgidmap",
    ]
    for host in (Host(Layout("none")), user(capabilities=-1)):
        steps = list(idmap.plan_write(config(MANY), host))
        assert [set(step.args) for step in steps] == [{"file", "ranges"}] * 2


@pytest.mark.parametrize(
    ("maps", "host", "denied"),
    [
        (ONE, user(), True),
        (MANY, user(), False),
        (ONE, user(capabilities=-1), False),
        (ONE, user(capabilities=-1, setgroups=False), True),
        (None, user(setgroups=False), True),
        (None, user(), False),
        (ONE, Host(Layout("none"), uid=1000, gid=1000, setgroups=False), False),
    ],
)
def test_where_setgroups_is_denied(maps: list[dict[str, int]] | None, host: Host, denied: bool) -> None:
    """No step calls it there; elsewhere the caller's groups are left."""
    assert id_ranges.setgroups_denied(config(maps), host) is denied
    assert ("groups" in [step.op for step in idmap.plan_root(config(maps), host)]) is not denied
    planned = [step for step in credentials.plan_early(config(maps), host) if step.name == "groups"]
    assert bool(planned) is not denied


def test_groups_that_can_not_be_given() -> None:
    """An error that says what would give them, and not a container without them."""
    node = config(ONE)
    node.value["process"]["user"]["additionalGids"] = [44]  # type: ignore[index]
    with pytest.raises(StepFailed, match=r"setgroups is denied.*newgidmap") as caught:
        list(credentials.plan_early(node, user()))
    assert caught.value.pointer == "/process/user/additionalGids"


def test_devices_are_the_host_s() -> None:
    """Bound by init; a listed one is looked at first, and a FIFO is made."""
    listed = [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}, {"path": "/dev/p", "type": "p"}]
    node = config(None, devices=listed)
    (check,) = devices.plan_nodes(node, user())
    assert (check.op, check.args["path"], check.pointer) == (
        "check_device_node",
        "/dev/fuse",
        "/linux/devices/0",
    )
    steps = list(devices.plan(node, user()))
    assert [step.op for step in steps] == ["bind", "mknod", *["bind"] * 6]
    assert (steps[0].args[0], steps[0].args[9]) == ("/dev/fuse", "/dev/fuse")


@pytest.mark.parametrize(
    ("path", "numbers", "fits"),
    [("/dev/null", (1, 3), True), ("/dev/null", (1, 5), False), ("/etc", (1, 3), False)],
)
def test_a_device_of_another_kind_is_refused(path: str, numbers: tuple[int, int], fits: bool) -> None:
    """What the host has at that path must be what the config says."""
    entry = {"path": path, "type": "c", "major": numbers[0], "minor": numbers[1]}
    (step,) = devices.plan_nodes(config(None, devices=[entry]), user())
    if fits:
        devices.apply(step, None)  # type: ignore[arg-type]
        return
    with pytest.raises(StepFailed, match=f"the host's {path} is not this device"):
        devices.apply(step, None)  # type: ignore[arg-type]


def _v2(tmp_path: os.PathLike[str], own: str = "/session") -> Layout:
    return Layout("v2", v2=str(tmp_path), own={"": own}, v2_controllers=["memory"])


class TestSystemd:
    """rights.of_systemd: whose systemd makes the scope, and what is in it?"""

    @pytest.fixture
    def root_of(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int, bool], None]:
        """This process as root of a user namespace: the id outside, and whether the machine's systemd is in it."""

        def change(outside: int, machines: bool) -> None:
            monkeypatch.setattr(rights, "_SYSTEMD", str(tmp_path if machines else tmp_path / "none"))
            monkeypatch.setattr(facts, "id_map", lambda: [(1, 100000, 65536), (0, outside, 1)])
            monkeypatch.setattr(os, "geteuid", lambda: 0)
            monkeypatch.setattr(os, "stat", lambda _path, stat=os.stat: _of_root(stat(_path)))

        return change

    def test_the_user_s_own(self, root_of: Callable[[int, bool], None]) -> None:
        """As podman calls: root is a user outside, and only cgroup2 is that user's. Device rules are left out."""
        root_of(1000, False)
        hybrid = Layout("hybrid", {"memory": "/cg/memory"}, "/cg/unified", {"memory": "/", "": "/"})
        found = rights.of_systemd(hybrid)
        assert (found.kind, found.user, found.controllers) == ("v2", 1000, {})
        assert (found.rootless, found.closed) == (True, {"memory": "/cg/memory"})
        node = config(None, resources={"devices": [{"allow": False, "access": "rwm"}]})
        (start,) = planner.plan_make(node, place(node, found, "box", "systemd"))
        assert (
            start.args["path"]
            == "/user.slice/user-1000.slice/user@1000.service/user.slice/ociruntime-box.scope"
        )  # type: ignore[index]
        assert "Device" not in start.text
        node = config(None, resources={"memory": {"limit": 1 << 20}})
        with pytest.raises(StepFailed, match="gets no cgroup that could have this limit: /cg/memory"):
            list(planner.plan_make(node, place(node, found, "box", "systemd")))

    def test_the_machine_s(self, root_of: Callable[[int, bool], None]) -> None:
        """A container with an init and a user namespace: its systemd belongs to its root."""
        root_of(1000, True)
        host = Layout("v2", v2="/cg", own={"": "/"}, user=1000)
        found = rights.of_systemd(host)
        assert (found.kind, found.user, found.rootless) == ("v2", 0, True)
        assert (host.user, host.rootless) == (1000, False)  # `plan` shows what root would do there

    def test_of_a_user(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On the command line: nothing has to be looked at."""
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        monkeypatch.setattr(facts, "id_map", list)
        assert rights.systemd_user() == 1000

    def test_it_is_asked_for_both_drivers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """probe_for finds the hierarchies by the driver."""
        monkeypatch.setattr("ociruntime.host.is_rootless", lambda: True)
        monkeypatch.setattr(rights, "systemd_user", lambda: 4321)
        assert probe_for(config(None), Options("box", cgroup_manager="systemd")).groups.user == 4321


def _of_root(found: os.stat_result) -> os.stat_result:
    """What stat says, with uid 0."""
    fields = list(found)
    fields[stat.ST_UID] = 0
    return os.stat_result(fields)


class TestCgroups:
    """rights.usable: where may a cgroup be made?"""

    def test_a_delegated_subtree(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """By the right to write to the directory, and to cgroup.procs of the common ancestor."""
        (tmp_path / "mine" / "session").mkdir(parents=True)
        (tmp_path / "mine" / "cgroup.procs").touch()
        layout, node = _v2(tmp_path, "/mine/session"), config(None)
        assert rights.usable(layout, node, "id", rootless=True).kind == "v2"
        monkeypatch.setattr(os, "access", lambda path, _mode: not path.endswith("/mine/cgroup.procs"))
        found = rights.usable(layout, node, "id", rootless=True)
        assert (found.kind, found.closed) == ("none", {"": f"{tmp_path}/mine"})
        monkeypatch.setattr(os, "access", lambda path, _mode: not path.endswith("/mine"))
        assert rights.usable(layout, node, "id", rootless=True).kind == "none"

    def test_some_hierarchies_of_v1(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """The others are left out."""
        for name in ("pids", "memory"):
            (tmp_path / name).mkdir()
        points = {name: str(tmp_path / name) for name in ("pids", "memory")}
        layout = Layout("v1", points, own={"pids": "/", "memory": "/"})
        monkeypatch.setattr(os, "access", lambda path, _mode: not path.endswith("memory"))
        found = rights.usable(layout, config(None), "id", rootless=True)
        assert (found.kind, list(found.controllers)) == ("v1", ["pids"])
        assert found.closed == {"memory": points["memory"]}

    @pytest.mark.parametrize(
        ("resources", "pointer"),
        [
            ({}, ""),
            ({"devices": [{"allow": False, "access": "rwm"}]}, ""),
            ({"memory": {"limit": 1 << 20}}, "/linux/resources/memory"),
        ],
    )
    def test_only_limits_are_refused(self, resources: dict[str, Any], pointer: str) -> None:
        """A config without any runs, in the caller's cgroup; device rules are left out, as in runc."""
        layout = Layout("none", user=1000)
        layout.rootless, layout.closed = True, {"": "/sys/fs/cgroup/x"}
        node = config(None, resources=resources)
        placement = place(node, layout, "id", "cgroupfs")
        if not pointer:
            assert list(planner.plan_make(node, placement)) == []
            return
        with pytest.raises(
            StepFailed, match=r"/sys/fs/cgroup/x is not writable for this user.*Delegate=yes"
        ) as caught:
            list(planner.plan_make(node, placement))
        assert caught.value.pointer == pointer
        assert "or as root: chown 1000 /sys/fs/cgroup/x /sys/fs/cgroup/x/cgroup.procs " in caught.value.hint

    def test_root_of_a_user_namespace_is_another_outside(self) -> None:
        """Its uid is 0 only there: no one is told to give the cgroup to the host's root."""
        layout = Layout("none", user=0)
        layout.rootless, layout.closed = True, {"": "/sys/fs/cgroup/x"}
        node = config(None, resources={"memory": {"limit": 1 << 20}})
        with pytest.raises(
            StepFailed, match=r"as root: chown USER /sys/fs/cgroup/x /sys/fs/cgroup/x/cgroup\.procs "
        ):
            list(planner.plan_make(node, place(node, layout, "id", "cgroupfs")))

    def test_no_device_rules(self, tmp_path: Any) -> None:
        """In a delegated cgroup, too: attaching a program takes the host's root."""
        layout = _v2(tmp_path)
        node = config(None, resources={"devices": [{"allow": False, "access": "rwm"}]})
        assert "load_device_program" in [
            step.op for step in planner.plan_make(node, place(node, layout, "id", "cgroupfs"))
        ]
        layout.rootless = True
        assert "load_device_program" not in [
            step.op for step in planner.plan_make(node, place(node, layout, "id", "cgroupfs"))
        ]

    @pytest.mark.parametrize(("rootless", "rules"), [(True, False), (False, True)])
    def test_root_keeps_its_device_rules(self, rootless: bool, rules: bool, tmp_path: Any) -> None:
        """With --rootless true, too: what may not be made is left out, and nothing else."""
        layout = Layout("v1", {"devices": str(tmp_path)}, own={"devices": "/"})
        node = config(None, resources={"devices": [{"allow": False, "access": "rwm"}]})
        found = rights.usable(layout, node, "id", rootless=rootless)
        steps = [step.op for step in planner.plan_make(node, place(node, found, "id", "cgroupfs"))]
        assert ("set_device_rules" in steps) is rules

    @pytest.mark.parametrize(("flag", "kind"), [("true", "none"), ("auto", ""), ("false", "")])
    def test_the_flag(self, flag: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """True: root goes on without them as well."""
        monkeypatch.setattr("ociruntime.host.is_rootless", lambda: False)
        monkeypatch.setattr(os, "access", lambda _path, _mode: False)
        machine = probe_for(config(None), Options("id", rootless=flag))
        assert machine.groups.kind == (kind or machine.cgroups.kind)


def test_the_config_of_spec() -> None:
    """Runs as it is: one id, the host's network, no limits, no group that is not mapped."""
    made = default_config(False)
    without_root(made, 1000, 1001)
    kinds = [entry["type"] for entry in made["linux"]["namespaces"]]
    assert "user" in kinds
    assert "network" not in kinds
    assert "resources" not in made["linux"]
    assert made["linux"]["uidMappings"] == [{"containerID": 0, "hostID": 1000, "size": 1}]
    assert made["linux"]["gidMappings"] == [{"containerID": 0, "hostID": 1001, "size": 1}]
    mounts = {mount["destination"]: mount for mount in made["mounts"]}
    assert "gid=5" not in mounts["/dev/pts"]["options"]
    assert mounts["/sys"]["options"][0] == "rbind"
    assert default_config(False)["mounts"][2]["options"][-1] == "gid=5"


@pytest.mark.parametrize(
    ("euid", "rootless", "environment", "root"),
    [
        (0, False, {"XDG_RUNTIME_DIR": "/x"}, "/run/ociruntime"),
        (0, True, {"XDG_RUNTIME_DIR": "/x"}, "/x/ociruntime"),
        (0, True, {"XDG_RUNTIME_DIR": "/x", "USER": "root"}, "/run/ociruntime"),
        (0, True, {}, "/run/ociruntime"),
        (1000, True, {"XDG_RUNTIME_DIR": "/x", "USER": "root"}, "/x/ociruntime"),
        (1000, True, {}, "/run/user/1000/ociruntime"),
    ],
)
def test_the_default_root(
    euid: int, rootless: bool, environment: dict[str, str], root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in runc: root of a user namespace keeps its containers where its user does."""
    for name in ("XDG_RUNTIME_DIR", "USER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    monkeypatch.setattr(os, "getuid", lambda: euid)
    monkeypatch.setattr(stateroot, "is_rootless", lambda: rootless)
    assert stateroot.default_root() == root


class TestTheHelpers:
    """sub_ids.write_by: newuidmap and newgidmap."""

    STEP = HostStep("write_id_map", {}, pointer="/linux/uidMappings")

    @pytest.fixture
    def program(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A newuidmap of the test's own."""
        monkeypatch.setenv("PATH", str(tmp_path))
        path = tmp_path / "newuidmap"
        path.write_text(
            f"#!/bin/sh\necho $* >{tmp_path}/given\necho 'newuidmap: no' >&2\nexit $(/bin/cat {tmp_path}/code)\n"
        )
        path.chmod(0o755)
        (tmp_path / "code").write_text("0")
        return tmp_path

    def test_its_words(self, program: Any) -> None:
        """The pid, then three numbers for each range."""
        sub_ids.write_by("newuidmap", 42, [[0, 1000, 1], [1, 100000, 65536]], self.STEP)
        assert (program / "given").read_text() == "42 0 1000 1 1 100000 65536\n"

    def test_a_refusal(self, program: Any) -> None:
        """What the program says, and what this user lacks."""
        (program / "code").write_text("1")
        with pytest.raises(StepFailed, match=r"newuidmap: no \(.*neither the set-uid bit") as caught:
            sub_ids.write_by("newuidmap", 42, [[0, 100000, 65536]], self.STEP)
        assert caught.value.pointer == "/linux/uidMappings"

    def test_it_is_not_there(self, program: Any) -> None:
        """The package that has it is named."""
        (program / "newuidmap").unlink()
        with pytest.raises(StepFailed, match=r"newuidmap: ENOENT.*apt-get install uidmap"):
            sub_ids.write_by("newuidmap", 42, [[0, 100000, 65536]], self.STEP)


def test_options_of_an_older_state() -> None:
    """A container that an earlier version created has no such option."""
    assert Options("id", cgroup_manager="cgroupfs").rootless == "auto"


def test_hierarchies_that_others_cover(tmp_path: Path) -> None:
    """The caller's cgroup isn't in what is mounted there now: its top is shown and used instead."""
    (tmp_path / "there").mkdir()
    own = {"cpu": "/there", "pids": "/hidden", "": "/gone"}
    point = str(tmp_path)
    layout = Layout("hybrid", {"cpu": point, "pids": point}, v2=point, own=own)
    rights.usable(layout, config(None), "one", rootless=True)
    assert layout.own == {"cpu": "/there", "pids": "/", "": "/"}


@pytest.mark.parametrize(("value", "left"), [("1", False), (None, True)])
def test_the_caller_s_groups_are_kept(value: str | None, left: bool) -> None:
    """Where the annotation wants them they are not left on the way to root of the user namespace, either."""
    wanted = Node(
        {**config(MANY).value, "annotations": {"run.oci.keep_original_groups": value} if value else {}}
    )
    for host in (user(), Host(Layout("none"))):
        assert ("groups" in [step.op for step in idmap.plan_root(wanted, host)]) is left
