# SPDX-License-Identifier: Apache-2.0
"""User namespaces: whose ids are whose, seen from inside and from the host; new, joined, and beside other namespaces."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import (
    Config,
    add_bind,
    add_hook,
    id_maps,
    set_capabilities,
    with_namespace,
    with_users,
    without_namespace,
    writable_root,
)
from tests.harness.driver import ENVIRONMENT, MARK, PATIENCE, runtime_under_test
from tests.harness.peers import PEERS, compare, departure
from tests.harness.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.driver import Result
    from tests.integration.conftest import Compare

MAPS = (0, 100000, 65536)
own = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="this runtime's own: run with RUNTIME=ociruntime"
)

not_runc = pytest.mark.skipif(
    runtime_under_test() == "runc", reason="runc 1.1 refuses some of it: run with RUNTIME=ociruntime or crun"
)


@pytest.fixture
def stage(searchable: Path, nothing_left_behind: None) -> Iterator[Stage]:
    """In a directory that the container's root may search: runc and crun open the rootfs as that."""
    made = Stage(runtime_under_test(), searchable / "stage")
    yield made
    made.close()


for _peer in PEERS:
    departure("owner of /dev/zero", _peer, "R109", "default devices are the container's root's, not nobody's")
departure(
    "closed bundle", "runc", "R012", "the rootfs is opened as the host's root, who may search the way to it"
)
departure("root unmapped", "runc", "R102", "any mapping is one, also without an id 0")
departure("joined user namespace", "runc", "R097", "a joined user namespace has its mappings already")
departure(
    "other mappings", "runc", "R102", "mappings that are not those of the joined namespace are never ignored"
)
departure(
    "other mappings", "crun", "R102", "mappings that are not those of the joined namespace are never ignored"
)
departure("no mappings", "crun", "R102", "which ids of the host are given away is for the config to say")
departure("host network", "crun", "R092", "sysfs can't be mounted: crun shows the host's instead")


def _of(result: Result) -> list[str] | str:
    return result.out.split() if result.code == 0 else "refused"


SHOW = "id -u; id -G; cat /proc/self/uid_map /proc/self/gid_map; stat -c %u /proc/1"


@not_runc
def test_new_user_namespaces_are_as_the_peers_make_them(compare_with_users: Compare) -> None:
    """Many ranges, host id 0, root unmapped, limits and settings beside it; the same values inside and the same refusals."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def show(script: str, *maps: tuple[int, int, int], **more: Any) -> list[str] | str:
            def edit(config: Config) -> None:
                with_users(config, *maps)
                for name, value in more.items():
                    config["linux" if name in ("sysctl", "devices") else "process"][name] = value

            return _of(stage.run("sh", "-c", script, edit=edit))

        def unmapped(config: Config) -> None:
            with_users(config, (1000, 100000, 10))
            config["process"]["user"] = {"uid": 1001, "gid": 1002, "additionalGids": [1003]}
            config["mounts"][2]["options"].remove("gid=5")
            set_capabilities(config, "CAP_CHOWN")

        def hosts_network(config: Config) -> None:
            with_users(config)
            without_namespace(config, "network")

        def other_groups(config: Config) -> None:
            with_users(config, (0, 100000, 10))
            config["linux"]["gidMappings"] = id_maps((0, 200000, 20))

        def no_mappings(config: Config) -> None:
            with_namespace(config, "user")

        limit = {"type": "RLIMIT_NOFILE", "soft": 400, "hard": 512}
        return {
            "one range": show(SHOW, MAPS),
            "three ranges": show(SHOW, (0, 100000, 10), (10, 200000, 5), (1000, 300000, 1)),
            "host id 0": show(SHOW + "; stat -c %u /bin/sh", (0, 0, 1), (1, 100000, 1000)),
            "groups of their own": _of(stage.run("sh", "-c", SHOW, edit=other_groups)),
            "root unmapped": _of(stage.run("sh", "-c", SHOW + "; grep ^Cap /proc/self/status", edit=unmapped)),
            "other user": show(SHOW, MAPS, user={"uid": 7, "gid": 8, "additionalGids": [9]}),
            "files of the host": show("stat -c %u:%g / /bin/sh", MAPS),
            "capabilities": show("grep ^Cap /proc/self/status", MAPS),
            "kernel": show(
                "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax", MAPS,
                sysctl={"net.ipv4.ip_forward": "1", "kernel.msgmax": "9000"},
            ),
            "limits": show(
                "ulimit -n; cat /proc/self/oom_score_adj", MAPS, rlimits=[limit], oomScoreAdj=100
            ),
            "names": show("hostname; ip -o link show up | wc -l; stat -c %u /dev/mqueue /dev/shm /dev/pts", MAPS),
            "masks": show("cat /proc/keys /proc/timer_list; ls /sys/firmware; touch /proc/sys/x 2>&1", MAPS),
            "owner of /dev/zero": show("stat -c %u /dev/zero; head -c 1 /dev/zero | wc -c; echo x > /dev/null", MAPS),
            "unmapped user": show("id -u", (0, 100000, 10), user={"uid": 10, "gid": 0}),
            "unmapped group of a mount": show("id -u", (0, 100000, 3)),
            "overlap": show("id -u", (0, 100000, 10), (5, 200000, 10)),
            "too many": show("id -u", *((number, 100000 + number, 1) for number in range(400))),
            "a user namespace alone": _of(stage.run("id", "-u", edit=no_mappings)),
            "host network": _of(stage.run("id", "-u", edit=hosts_network)),
        }  # fmt: skip

    answers = compare_with_users(scenario)
    assert answers["one range"] == ["0", "0", "0", "100000", "65536", "0", "100000", "65536", "0"]
    assert answers["three ranges"][2:11] == ["0", "100000", "10", "10", "200000", "5", "1000", "300000", "1"]
    assert answers["host id 0"][-1] == "0"
    assert answers["groups of their own"] == ["0", "0", "0", "100000", "10", "0", "200000", "20", "0"]
    assert answers["root unmapped"][:3] == ["1001", "1002", "1003"]
    assert answers["files of the host"] == ["65534:65534"] * 2
    assert answers["owner of /dev/zero"] == ["0", "1"]
    assert answers["kernel"] == ["1", "9000"]
    assert answers["limits"] == ["400", "100"]
    assert answers["names"][-3:] == ["0", "0", "0"]
    for name in (
        "unmapped user",
        "unmapped group of a mount",
        "overlap",
        "too many",
        "a user namespace alone",
        "host network",
    ):
        assert answers[name] == "refused"


def test_without_mappings(compare_with_users: Compare) -> None:
    """Refused, as by runc, in words that say what is missing; crun gives the container's root the host's own id 0."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def edit(config: Config) -> None:
            with_users(config)
            for name in ("uidMappings", "gidMappings"):
                del config["linux"][name]
            config["mounts"][2]["options"].remove("gid=5")

        return {"no mappings": _of(stage.run("cat", "/proc/self/uid_map", edit=edit))}

    if runtime_under_test() != "crun":
        assert compare_with_users(scenario) == {"no mappings": "refused"}


@contextmanager
def user_namespace(*more: str) -> Iterator[int]:
    """The pid of a process in a user namespace that maps 0-999 to 300000-300999, and in new ones that unshare(1) makes."""
    with subprocess.Popen(["unshare", "--user", *more, "sleep", "1000"], stdin=subprocess.DEVNULL) as holder:
        try:
            mine = os.readlink("/proc/self/ns/user")
            end = time.monotonic() + 10 * PATIENCE
            while os.readlink(f"/proc/{holder.pid}/ns/user") == mine or not _sleeps(holder.pid):
                assert time.monotonic() < end
                time.sleep(0.01)
            for file in ("uid_map", "gid_map"):
                Path(f"/proc/{holder.pid}/{file}").write_text("0 300000 1000\n")
            yield holder.pid
        finally:
            holder.kill()


def _sleeps(pid: int) -> bool:
    return Path(f"/proc/{pid}/comm").read_text() == "sleep\n"


@not_runc
def test_joined_user_namespaces_beside_others(compare_with_users: Compare) -> None:
    """R097: joined, beside a new network, one that it owns, and one of the host's; mappings in the config must agree."""

    def scenario(stage: Stage) -> dict[str, Any]:
        with user_namespace("--net", "--uts") as pid:

            def whose(kind: str, link: str) -> str:
                links = {os.readlink(f"/proc/{owner}/ns/{kind}"): owner for owner in (pid, "self")}
                owner = links.get(link.strip("/"), "new")
                return "joined" if owner == pid else str(owner)

            def joined(network: str, *maps: tuple[int, int, int]) -> list[str] | str:
                def edit(config: Config) -> None:
                    with_users(config, *maps, path=f"/proc/{pid}/ns/user")
                    with_namespace(config, "network", network)
                    if network == "/proc/self/ns/net":  # of which it may not mount a sysfs
                        gone = ("/sys", "/sys/fs/cgroup")
                        config["mounts"] = [one for one in config["mounts"] if one["destination"] not in gone]

                links = "; readlink -f /proc/self/ns/user; readlink -f /proc/self/ns/net; echo x > /dev/null"
                found = _of(stage.run("sh", "-c", SHOW + links, edit=edit))
                if isinstance(found, str):
                    return found
                return [*found[:-2], whose("user", found[-2]), whose("net", found[-1])]

            def with_owned(config: Config) -> None:
                with_users(config, path=f"/proc/{pid}/ns/user")
                with_namespace(config, "uts", f"/proc/{pid}/ns/uts")
                del config["hostname"]

            return {
                "joined user namespace": [
                    joined(""),
                    joined(f"/proc/{pid}/ns/net"),
                    joined("/proc/self/ns/net"),
                    _of(stage.run("hostname", edit=with_owned)),
                ],
                "with mappings": joined(f"/proc/{pid}/ns/net", (0, 300000, 1000)),
                "other mappings": joined(f"/proc/{pid}/ns/net", (0, 300000, 999)),
            }

    answers = compare_with_users(scenario)
    maps = ["0", "300000", "1000"]
    assert answers["joined user namespace"] == [
        ["0", "0", *maps, *maps, "0", "joined", "new"],
        ["0", "0", *maps, *maps, "0", "joined", "joined"],
        ["0", "0", *maps, *maps, "0", "joined", "self"],
        [os.uname().nodename],
    ]
    assert answers["with mappings"] == answers["joined user namespace"][1]
    assert answers["other mappings"] == "refused"


@not_runc
def test_a_bundle_that_only_root_may_search(searchable: Path, nothing_left_behind: None) -> None:
    """The rootfs is opened before init becomes the container's root, to whom the directories above it are closed."""

    def scenario(stage: Stage) -> dict[str, Any]:
        stage.directory.chmod(0o700)
        return {"closed bundle": _of(stage.run("id", "-u", edit=with_users))}

    assert compare(scenario, searchable)["closed bundle"] == ["0"]


def test_the_life_of_a_container_in_a_user_namespace(stage: Stage) -> None:
    """create, state, start, kill and delete; what its root makes belongs to the mapped id on the host, as does it itself."""
    directory = stage.directory / "shared"
    directory.mkdir()
    directory.chmod(0o777)

    def edit(config: Config) -> None:
        with_users(config)
        add_bind(config, str(directory), "/mnt")

    container = stage.container("sh", "-c", "touch /mnt/made; echo ready; sleep 100", edit=edit)
    container.create().ok()
    pid = container.state()["pid"]
    assert os.stat(f"/proc/{pid}/ns").st_uid == 0  # only the host's root may look into a waiting init
    assert container.status() == "created"
    container.start().ok()
    container.wait_for_output("ready")
    assert os.stat(f"/proc/{pid}").st_uid == 100000
    made = os.stat(directory / "made")
    assert (made.st_uid, made.st_gid) == (100000, 100000)
    assert container.status() == "running"
    container.kill("KILL").ok()
    container.wait_for("stopped")
    container.delete().ok()
    other = stage.container("sleep", "100", edit=edit)
    other.create().ok()
    other.kill("TERM").ok()
    other.wait_for("stopped")
    other.delete().ok()
    forced = stage.container("sleep", "100", edit=edit)
    forced.create().ok()
    forced.start().ok()
    forced.delete("--force").ok()
    assert stage.runtime.ids() == []


@own
def test_devices_have_the_owner_and_mode_of_the_config(stage: Stage) -> None:
    """R109, even where no node can be made: ids are the container's, and the node is there whatever the host has."""
    listed = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 5, "gid": 6},
        {"path": "/dev/below/disk", "type": "b", "major": 7, "minor": 250},
        {"path": "/dev/pipe", "type": "p", "uid": 3, "gid": 4},
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o622},
    ]

    def edit(config: Config) -> None:
        with_users(config)
        config["linux"]["devices"] = listed

    script = "stat -c '%n %F %a %u:%g %t:%T' /dev/fuse /dev/below/disk /dev/pipe /dev/null /dev/tty; echo x > /dev/null"
    assert stage.show(script, edit=edit).splitlines() == [
        "/dev/fuse character special file 640 5:6 a:e5",
        "/dev/below/disk block special file 666 0:0 7:fa",
        "/dev/pipe fifo 666 3:4 0:0",
        "/dev/null character special file 622 0:0 1:3",
        "/dev/tty character special file 666 0:0 5:0",
    ]


@own
def test_a_dev_in_the_image_serves_twice(stage: Stage) -> None:
    """Without a mount on /dev, devices are mounted on empty files in the root, which the next container finds there."""

    def edit(config: Config) -> None:
        with_users(config)
        writable_root(config)
        config["mounts"] = [one for one in config["mounts"] if not one["destination"].startswith("/dev")]
        config["process"]["args"] = ["sh", "-c", "echo x > /dev/null && stat -c %t:%T /dev/null /dev/zero"]

    bundle = stage.bundle(edit=edit)
    (bundle.rootfs / "dev").chmod(0o777)
    for _ in range(2):
        assert stage.container(bundle=bundle).run().ok().out.split() == ["1:3", "1:5"]
    assert os.stat(bundle.rootfs / "dev/null").st_size == 0
    (bundle.rootfs / "dev/zero").write_text("not a device")
    stage.container(bundle=bundle).run().refused("/dev/zero", "another file is there")


def test_hooks_in_a_user_namespace(stage: Stage, searchable: Path) -> None:
    """CreateContainer and startContainer hooks are its root's, with its capabilities; the others are the host's."""
    log = searchable / "log"
    log.write_text("")
    log.chmod(0o666)

    def edit(config: Config) -> None:
        with_users(config)
        script = (
            "echo $(id -u) $(readlink /proc/self/ns/user | tr -d user:[]) $(grep CapEff /proc/self/status)"
        )
        for kind in ("createRuntime", "createContainer", "poststart", "poststop"):
            add_hook(config, kind, "/bin/sh", "-c", f"{{ echo {kind}; {script}; }} >> {log}; cat > /dev/null")
        add_hook(
            config,
            "startContainer",
            "/bin/sh",
            "-c",
            "{ id -u; grep CapEff /proc/self/status; } > /dev/shm/hook",
        )

    out = stage.show("readlink -f /proc/self/ns/user | tr -d /user:[]; cat /dev/shm/hook", edit=edit).split()
    host = os.readlink("/proc/self/ns/user").strip("user:[]")
    lines = log.read_text().splitlines()
    assert lines[0::2] == ["createRuntime", "createContainer", "poststart", "poststop"]
    assert [line.split()[:2] for line in lines[1::2]] == [
        ["0", host],
        ["0", out[0]],
        ["0", host],
        ["0", host],
    ]
    assert lines[3].endswith(" CapEff: 000001ffffffffff")
    assert out[1:] == ["0", "CapEff:", "0000000020000420"]


@own
def test_a_failure_leaves_nothing(stage: Stage) -> None:
    """70 kB of mappings (CVE-2021-43784) and ids that a file system does not take: one line, and everything undone."""

    def many(config: Config) -> None:
        with_users(config, *((number, 100000 + number, 1) for number in range(4000)))

    result = stage.container("true", edit=many).create()
    result.refused("/linux/gidMappings: 4000 ranges, and the kernel takes up to 340")

    def without_network(config: Config) -> None:
        with_users(config)
        without_namespace(config, "network")

    stage.container("true", edit=without_network).create().refused(
        "/mounts/5", "sysfs", "EPERM", "its own pid"
    )
    own_one = stage.container("true", edit=lambda config: with_users(config, path="/proc/self/ns/user"))
    own_one.create().refused("/linux/namespaces/5", "join user namespace", "EINVAL", "the runtime's own")
    wrong = stage.container("true", edit=lambda config: with_users(config, path="/proc/self/ns/uts"))
    wrong.create().refused("/linux/namespaces/5/path", "is a uts namespace")
    assert stage.runtime.ids() == []


_HUNDRED = """
import json, os, sys
import ociruntime
from ociruntime import Options, bundle

root, mark, *directories = sys.argv[1:]
null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
made = []
for number, directory in enumerate(directories):
    reader, writer = os.pipe2(os.O_CLOEXEC)
    one = ociruntime.create(root, bundle.load(directory), Options(f"{mark}-{number}"), stdio=(null, writer, null))
    os.close(writer)
    made.append((one, os.fdopen(reader)))
for one, _ in made:
    one.start()
found = []
for one, output in made:
    with output:
        told = output.readline().split()
    pid = one.state()["pid"]
    found.append([*told, os.stat(f"/proc/{pid}").st_uid, os.stat(f"/proc/{pid}/ns/user").st_ino])
for one, _ in made:
    one.kill(9)
    one.wait()
    one.delete()
assert os.listdir(root) == []
print(json.dumps(found))
"""


@own
def test_a_hundred_containers_with_ranges_of_their_own(stage: Stage, tmp_path: Path) -> None:
    """All at once: each is root inside, and another id on the host."""
    bundles = []
    first = stage.bundle("sh", "-c", "echo $(id -u) $(cat /proc/self/uid_map); exec sleep 1000")
    for number in range(100):
        directory = tmp_path / f"user-{number}"
        directory.mkdir()
        config = json.loads(json.dumps(first.config))
        config["root"]["path"] = str(first.rootfs)
        with_users(config, (0, 200000 + number * 1000, 1000))
        (directory / "config.json").write_text(json.dumps(config))
        bundles.append(str(directory))
    done = subprocess.run(
        [sys.executable, "-c", _HUNDRED, str(tmp_path / "state"), f"{MARK}-user", *bundles],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=120 * PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [one[:5] for one in found] == [
        ["0", "0", str(200000 + number * 1000), "1000", 200000 + number * 1000] for number in range(100)
    ]
    assert len({one[5] for one in found}) == 100
