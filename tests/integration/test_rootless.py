# SPDX-License-Identifier: Apache-2.0
"""What can an ordinary user do, with sub-ids and without, and root in a user namespace? And what can't they reach?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import default_config
from tests.harness.driver import runtime_under_test
from tests.harness.rootfs import copy_busybox
from tests.harness.stage import new_id
from tests.integration.test_time_namespace import DAY, offsets
from tests.integration.unprivileged import FIRST, UID, User, command

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.driver import Result
    from tests.harness.stage import Stage

COMMAND = command()
pytestmark = [
    pytest.mark.skipif(runtime_under_test() in ("runc", "crun"), reason="its own command is called"),
    pytest.mark.skipif(
        not COMMAND,
        reason="the working tree is in a directory that only root can search: move it, or chmod a+x",
    ),
]
EXAMPLES = Path(__file__).parents[2] / "bundle-examples"


def bundle_of(user: User, *args: str, change: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """A bundle whose config is what `spec --rootless` writes, with this program."""
    directory = user.home / f"bundle-{new_id()}"
    directory.mkdir()
    copy_busybox(directory / "rootfs", own_files=True)
    user.own(directory)
    user.call(COMMAND, "spec", "--rootless", "--bundle", directory).ok()
    path = directory / "config.json"
    config = json.loads(path.read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = list(args)
    if change is not None:
        change(config)
    path.write_text(json.dumps(config))
    return directory


def run(
    user: User,
    *args: str,
    change: Callable[[dict[str, Any]], None] | None = None,
    flags: tuple[str, ...] = (),
) -> Result:
    """Run a program in a container of this user's."""
    directory = bundle_of(user, *args, change=change)
    return user.call(COMMAND, *flags, "run", "--bundle", directory, new_id())


def map_many(config: dict[str, Any]) -> None:
    """Map the user to root, and its sub-ids to the others."""
    for kind in ("uidMappings", "gidMappings"):
        config["linux"][kind] = [
            {"containerID": 0, "hostID": UID, "size": 1},
            {"containerID": 1, "hostID": FIRST, "size": 65536},
        ]


class TestWithoutSubIds:
    """One id is mapped; that needs no program and no file."""

    def test_the_config_of_spec_runs(self, poor: User) -> None:
        """As root of its namespace, with working devices, and nobody's groups."""
        script = "id -u; cat /proc/self/uid_map; echo x >/dev/null; head -c 3 /dev/zero | wc -c; cat /proc/self/setgroups; hostname"
        done = run(poor, "sh", "-c", script).ok()
        assert done.out.split() == ["0", "0", str(UID), "1", "3", "deny", "ociruntime"]
        assert done.err == ""

    def test_its_life(self, poor: User) -> None:
        """Create, start, state, list, ps, exec, kill, delete, by the same user and from other processes."""
        name, directory = new_id(), bundle_of(poor, "sleep", "1000")
        poor.detach(COMMAND, "create", "--bundle", directory, name)
        state = json.loads(poor.call(COMMAND, "state", name).ok().out)
        assert state["status"] == "created"
        assert os.stat(f"/proc/{state['pid']}/cwd").st_uid in (0, UID)
        poor.call(COMMAND, "start", name).ok()
        assert poor.call(COMMAND, "exec", name, "sh", "-c", "id -u; echo $0").ok().out.split() == ["0", "sh"]
        assert name in poor.call(COMMAND, "list", "-q").ok().out.split()
        assert json.loads(poor.call(COMMAND, "ps", "--format", "json", name).ok().out) == [state["pid"]]
        assert (poor.runtime_directory / "ociruntime" / name / "state.json").stat().st_uid == UID
        poor.call(COMMAND, "kill", name, "KILL").ok()
        poor.call(COMMAND, "delete", "--force", name).ok()
        assert poor.call(COMMAND, "list", "-q").ok().out == ""

    def test_groups_can_not_be_given(self, poor: User) -> None:
        """And what gives them is said."""

        def change(config: dict[str, Any]) -> None:
            config["process"]["user"]["additionalGids"] = [0]

        run(poor, "true", change=change).refused(
            "/process/user/additionalGids", "setgroups is denied", "newgidmap"
        )

    def test_sub_ids_are_missing(self, poor: User) -> None:
        """The command that gives them is said."""
        run(poor, "true", change=map_many).refused(
            "/linux/uidMappings", "newuidmap", "/etc/subuid has no range", "usermod"
        )

    def test_ports_and_ping(self, poor: User) -> None:
        """Sysctls of a network namespace of one's own."""

        def change(config: dict[str, Any]) -> None:
            config["linux"]["namespaces"].append({"type": "network"})
            config["linux"]["sysctl"] = {
                "net.ipv4.ip_unprivileged_port_start": "0",
                "net.ipv4.ping_group_range": "0 0",
            }

        script = "cd /proc/sys/net/ipv4; cat ip_unprivileged_port_start ping_group_range"
        assert run(poor, "sh", "-c", script, change=change).ok().out.split() == ["0", "0", "0"]


class TestWithSubIds:
    """More ids, by newuidmap and newgidmap."""

    def test_another_user_and_groups(self, user: User) -> None:
        """Of the sub-ids."""

        def change(config: dict[str, Any]) -> None:
            map_many(config)
            config["process"]["user"] = {"uid": 33, "gid": 34, "additionalGids": [44]}

        done = run(
            user,
            "sh",
            "-c",
            "id -u; id -g; grep Groups /proc/self/status; cat /proc/self/gid_map",
            change=change,
        )
        assert done.ok().out.split() == [
            "33",
            "34",
            "Groups:",
            "44",
            "0",
            str(UID),
            "1",
            "1",
            str(FIRST),
            "65536",
        ]

    def test_exec_of_another_user(self, user: User) -> None:
        """It gets groups as well."""
        name, directory = new_id(), bundle_of(user, "sleep", "1000", change=map_many)
        user.detach(COMMAND, "run", "-d", "--bundle", directory, name)
        done = user.call(
            COMMAND,
            "exec",
            "-u",
            "5:6",
            "-g",
            "7",
            name,
            "sh",
            "-c",
            "id -u; id -g; grep Groups /proc/self/status",
        )
        user.call(COMMAND, "delete", "--force", name).ok()
        assert done.ok().out.split() == ["5", "6", "Groups:", "7"]

    def test_a_range_that_is_too_short(self, place: Path) -> None:
        """With the numbers."""
        short = User(place, sub_ids=100)
        run(short, "true", change=map_many).refused(
            "/linux/uidMappings", "100 ids", "65536 are needed", "usermod"
        )

    def test_an_overlay_as_root(self, user: User) -> None:
        """In a user namespace of one's own a native overlay can be mounted (Linux 5.11), and be the root of a container."""
        directory = bundle_of(
            user,
            "sh",
            "-c",
            "echo new >/work/file; cat /work/file",
            change=lambda c: c["root"].update(readonly=False),
        )
        for name in ("upper", "work"):
            (directory / name).mkdir()
        (directory / "rootfs").rename(directory / "lower")
        (directory / "rootfs").mkdir()
        user.own(directory)
        config = json.loads((directory / "config.json").read_text())
        config["linux"]["namespaces"] = [
            one for one in config["linux"]["namespaces"] if one["type"] != "user"
        ]
        for kind in ("uidMappings", "gidMappings"):
            del config["linux"][kind]
        (directory / "config.json").write_text(json.dumps(config))
        script = (
            f"mount -t overlay overlay -o lowerdir={directory}/lower,upperdir={directory}/upper,workdir={directory}/work "
            f"{directory}/rootfs && exec {COMMAND} run --bundle {directory} {new_id()}"
        )
        done = user.call(
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "sh",
            "-c",
            script,
        )
        assert done.ok().out == "new\n"
        assert (directory / "upper" / "work" / "file").read_text() == "new\n"


class TestTimeNamespace:
    """The user namespace owns it, so that its user may set the offsets."""

    CLOCKS = "cat /proc/self/timens_offsets; cut -d . -f 1 /proc/uptime; readlink /proc/self/ns/time"

    @pytest.mark.parametrize("kind", ["poor", "user"])
    def test_run_and_exec(self, kind: str, request: pytest.FixtureRequest) -> None:
        """With one id, and with sub-ids; who comes later is in it too."""
        user: User = request.getfixturevalue(kind)
        both = offsets(monotonic={"secs": DAY, "nanosecs": 5}, boottime={"secs": 2 * DAY})

        def change(config: dict[str, Any]) -> None:
            both(config)
            if kind == "user":
                map_many(config)

        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        name, directory = new_id(), bundle_of(user, "sleep", "1000", change=change)
        user.detach(COMMAND, "run", "-d", "--bundle", directory, name)
        pid = json.loads(user.call(COMMAND, "state", name).ok().out)["pid"]
        namespace = os.readlink(f"/proc/{pid}/ns/time")
        *lines, uptime, own = user.call(COMMAND, "exec", name, "sh", "-c", self.CLOCKS).ok().out.split()
        user.call(COMMAND, "delete", "--force", name).ok()
        assert lines == ["monotonic", str(DAY), "5", "boottime", str(2 * DAY), "0"]
        assert round((int(uptime) - before) / DAY, 1) == 2.0
        assert own == namespace != os.readlink("/proc/self/ns/time")

    def test_an_offset_that_the_kernel_refuses(self, poor: User) -> None:
        """The error is the same as root's."""
        done = run(poor, "true", change=offsets(monotonic={"secs": -(10**9)}))
        done.refused("/linux/timeOffsets: set time offsets monotonic -1000000000 0", "ERANGE")
        assert poor.call(COMMAND, "list", "-q").ok().out == ""

    def test_in_a_user_namespace_that_is_joined(self, poor: User) -> None:
        """It is made there; with offsets, the error says what can be done."""
        name, directory = new_id(), bundle_of(poor, "sleep", "1000")
        poor.detach(COMMAND, "run", "-d", "--bundle", directory, name)
        pid = json.loads(poor.call(COMMAND, "state", name).ok().out)["pid"]

        def joined(*, secs: int) -> Callable[[dict[str, Any]], None]:
            def change(config: dict[str, Any]) -> None:
                offsets(**({"boottime": {"secs": secs}} if secs else {}))(config)
                (user,) = (one for one in config["linux"]["namespaces"] if one["type"] == "user")
                user["path"] = f"/proc/{pid}/ns/user"

            return change

        made = run(poor, "sh", "-c", self.CLOCKS, change=joined(secs=0))
        refused = run(poor, "true", change=joined(secs=5))
        poor.call(COMMAND, "delete", "--force", name).ok()
        assert made.ok().out.split()[-1] != os.readlink("/proc/self/ns/time")
        refused.refused(
            "/linux/timeOffsets: set time offsets boottime 5 0",
            "EACCES",
            "in a user namespace that is joined",
        )


class TestInAUserNamespace:
    """Root without power over the host: rootless engines call the runtime so."""

    ENTER = ("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--mount-proc")

    def run(
        self, user: User, *enter: str, change: Callable[[dict[str, Any]], None] | None = None, script: str
    ) -> Result:
        """The default config, which has no user namespace."""
        directory = user.home / "plain"
        directory.mkdir()
        copy_busybox(directory / "rootfs", own_files=True)
        config = default_config("sh", "-c", script)
        if change is not None:
            change(config)
        (directory / "config.json").write_text(json.dumps(config))
        user.own(directory)
        return user.call(*enter, COMMAND, "run", "--bundle", directory, new_id())

    def test_the_default_config(self, user: User) -> None:
        """Devices are bound, cgroups and device rules left out."""
        done = self.run(
            user,
            *self.ENTER,
            "--map-auto",
            script="id -u; echo >/dev/null; stat -c %t:%T /dev/zero",
        )
        assert done.ok().out.split() == ["0", "1:5"]

    def test_setgroups_is_denied(self, user: User) -> None:
        """As `unshare -r` leaves it: the kernel denies a terminal's group, too."""

        def change(config: dict[str, Any]) -> None:
            config["mounts"] = [mount for mount in config["mounts"] if mount["type"] != "devpts"]

        assert self.run(
            user, *self.ENTER, change=change, script="id -u; cat /proc/self/setgroups"
        ).ok().out.split() == ["0", "deny"]

    def test_a_device_that_can_not_be_made(self, user: User) -> None:
        """The host's of that path is another one."""

        def change(config: dict[str, Any]) -> None:
            config["linux"]["devices"] = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 5}]

        done = self.run(user, *self.ENTER, "--map-auto", change=change, script="true")
        done.refused("/linux/devices/0", "check device node", "the host's /dev/null is not this device")

    def test_nested(self, user: User) -> None:
        """A user namespace within, whose mappings root of this one writes itself."""

        def change(config: dict[str, Any]) -> None:
            config["linux"]["namespaces"].append({"type": "user"})
            maps = [{"containerID": 0, "hostID": 1, "size": 1000}]
            config["linux"].update(uidMappings=maps, gidMappings=maps)

        done = self.run(
            user,
            *self.ENTER,
            "--map-auto",
            change=change,
            script="cat /proc/self/uid_map; cat /proc/self/setgroups",
        )
        assert done.ok().out.split() == ["0", "1", "1000", "allow"]


class TestCgroups:
    """Without a subtree of one's own."""

    @staticmethod
    def _limit(config: dict[str, Any]) -> None:
        config["linux"]["resources"] = {
            "memory": {"limit": 1 << 25},
            "devices": [{"allow": False, "access": "rwm"}],
        }

    def test_a_limit_is_refused(self, poor: User) -> None:
        """It would have no effect."""
        run(poor, "true", change=self._limit).refused(
            "/linux/resources/memory", "is not writable for this user"
        )

    def test_device_rules_alone_are_left_out(self, poor: User) -> None:
        """As in runc."""

        def change(config: dict[str, Any]) -> None:
            config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}

        run(poor, "true", change=change).ok()

    def test_rootless_false(self, poor: User) -> None:
        """Then what may not be made is an error."""
        done = run(poor, "true", flags=("--rootless", "false"))
        done.refused("make cgroup", "EACCES", "no delegation")

    def test_what_needs_a_cgroup(self, poor: User) -> None:
        """Says so."""
        name, directory = new_id(), bundle_of(poor, "sleep", "1000")
        poor.detach(COMMAND, "run", "-d", "--bundle", directory, name)
        poor.call(COMMAND, "pause", name).refused("no cgroup that can be frozen")
        poor.call(COMMAND, "update", "--memory", "100M", name).refused("no cgroup of its own", "without root")
        poor.call(COMMAND, "events", "--stats", name).refused("no cgroup of its own", "without root")
        poor.call(COMMAND, "delete", "--force", name).ok()


def test_a_plan(poor: User) -> None:
    """For a config with a user namespace it is this user's, for others root's."""
    mine = poor.call(COMMAND, "plan", bundle_of(poor, "true")).ok().out
    assert "bind device /dev/null of the host" in mine
    assert "and setgroups is denied" in mine
    roots = poor.call(COMMAND, "plan", EXAMPLES / "hello").ok().out
    assert "make device /dev/null" in roots


@pytest.mark.parametrize("name", ["hello", "terminal", "time-namespace"])
def test_an_example_of_root_s(name: str, user: User) -> None:
    """One line says what only the host's root may, and nothing is left; test_rootless_examples.py has a user's."""
    directory = user.home / name
    shutil.copytree(EXAMPLES / name, directory, ignore=shutil.ignore_patterns("rootfs"), symlinks=True)
    copy_busybox(directory / "rootfs", own_files=True)
    user.own(directory)
    done = user.call("script", "-qec", f"{COMMAND} run --bundle {directory} {new_id()}", "/dev/null")
    assert done.code != 0
    assert (
        f"uid {UID} has no CAP_SYS_ADMIN: call it with sudo, or use a config with a user namespace"
        in done.out
    )
    assert user.call(COMMAND, "list", "-q").ok().out == ""


class TestOutOfReach:
    """What belongs to root, or to another user."""

    def test_root_s_containers(self, stage: Stage, poor: User) -> None:
        """Neither seen nor touched: their directory is root's alone."""
        container = stage.running()
        root = stage.runtime.root
        before = json.loads(container.runtime.call("state", container.id).ok().out)
        for words in (
            ["state"],
            ["kill"],
            ["exec", "-e", "A=b"],
            ["delete", "--force"],
            ["pause"],
            ["inspect"],
        ):
            done = poor.call(
                COMMAND, "--root", root, *words, container.id, *(["true"] if words[0] == "exec" else [])
            )
            assert done.code != 0, words
            assert (
                "EACCES" in done.err
                or "another user could change" in done.err
                or "belongs to uid 0" in done.err
            ), done.err
        poor.call(COMMAND, "--root", root, "list").refused("list: read state directory", "EACCES")
        assert json.loads(container.runtime.call("state", container.id).ok().out) == before

    def test_a_root_of_somebody_else_s(self, poor: User) -> None:
        """A directory, and a link, that another user has put in place."""
        theirs = poor.home.parent / "theirs"
        theirs.mkdir(mode=0o777)
        theirs.chmod(0o777)
        os.chown(theirs, 12345, 12345)
        directory = bundle_of(poor, "true")
        done = poor.call(COMMAND, "--root", theirs / "state", "run", "--bundle", directory, new_id())
        done.refused("belongs to uid 12345")
        link = poor.home.parent / "link"
        link.symlink_to(poor.runtime_directory)
        os.chown(link, 12345, 12345, follow_symlinks=False)
        done = poor.call(COMMAND, "run", "--bundle", directory, new_id(), env={"XDG_RUNTIME_DIR": str(link)})
        done.refused("belongs to uid 12345")

    def test_root_s_cgroups(self, poor: User) -> None:
        """A path of root's in the config makes nothing there."""

        def change(config: dict[str, Any]) -> None:
            config["linux"]["cgroupsPath"] = "/system.slice/of-root"

        run(poor, "true", change=change).ok()
        assert list(Path("/sys/fs/cgroup").glob("*/system.slice/of-root")) == []

    def test_another_user_s_container(self, place: Path) -> None:
        """Two users, the same id: two containers."""
        (place / "one").mkdir()
        first = User(place / "one", sub_ids=0)
        name, directory = new_id(), bundle_of(first, "sleep", "1000")
        first.detach(COMMAND, "run", "-d", "--bundle", directory, name)
        words = ["setpriv", "--reuid", "54322", "--regid", "54322", "--clear-groups", COMMAND]
        root = str(first.runtime_directory / "ociruntime")
        for verb in ("state", "kill", "delete"):
            done = subprocess.run(
                [*words, "--root", root, verb, name], capture_output=True, text=True, check=False
            )
            assert done.returncode == 1
            assert "EACCES" in done.stderr or "belongs to uid" in done.stderr, done.stderr
        assert json.loads(first.call(COMMAND, "state", name).ok().out)["status"] == "running"
        first.call(COMMAND, "delete", "--force", name).ok()
