# SPDX-License-Identifier: Apache-2.0
"""exec into containers with a user namespace or a time namespace: whose the process is, and which clocks it sees."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import (
    Config,
    add_bind,
    add_hook,
    set_capabilities,
    with_namespace,
    with_users,
    without_namespace,
)
from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.stage import new_id
from tests.harness.terminals import Client
from tests.integration.test_exec import _status
from tests.integration.test_idmap import MAPS, user_namespace
from tests.integration.test_time_namespace import DAY, offsets

if TYPE_CHECKING:
    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

_ours = pytest.mark.skipif(runtime_under_test() in PEERS, reason="run with RUNTIME=ociruntime")
FIELDS = ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs")
KINDS = ("user", "pid", "mnt", "net", "ipc", "uts", "cgroup")

departure("exec in a joined user namespace", "runc", "R097", "runc makes no such container")


def _documents(container: Container, stage: Stage) -> dict[str, Any]:
    """What a process is that a whole document describes: root, and a user with groups and one capability."""
    one = {name: ["CAP_CHOWN"] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")}
    groups = {"uid": 3, "gid": 4, "additionalGids": [1, 2]}
    words = ["cat", "/proc/self/status"]
    paths = {
        "root": stage.process_file(args=words, noNewPrivileges=True),
        "user": stage.process_file(args=words, user=groups, noNewPrivileges=False, capabilities=one),
    }
    answers = {}
    for name, path in paths.items():
        lines = [line.split() for line in container.exec(flags=("-p", path)).ok().out.splitlines()]
        answers[name] = {line[0].strip(":"): line[1:] for line in lines if line[0].strip(":") in FIELDS}
    return answers


def _credentials(stage: Stage, edit: Any) -> Any:
    """The processes of a container with and without flags and document; "refused" if there is no container."""
    container = stage.container("sleep", "1000", edit=edit)
    if container.create().code:
        return "refused"
    container.start().ok()
    plain, other = _status(container), _status(container, "-u", "3:5")
    answers = {
        "plain": [plain[name] for name in ("Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
        "-u": [other[name] for name in ("Uid", "Gid", "CapInh", "CapBnd")],
        "maps": container.exec("cat", "/proc/self/uid_map", "/proc/self/gid_map").ok().out.split(),
        "where": _places(container),
        "home": container.exec("sh", "-c", "echo $HOME", flags=("-u", "0")).ok().out,
        "code": container.exec("sh", "-c", "exit 7").code,
        "unmapped": container.exec("true", flags=("-u", "99999")).code != 0,
        "documents": _documents(container, stage),
    }
    container.delete("--force").ok()
    return answers


def _places(container: Container) -> list[bool]:
    """Whether each namespace is init's."""
    links = "".join(f"readlink -f /proc/self/ns/{kind};" for kind in KINDS)
    seen = [Path(line).name for line in container.exec("sh", "-c", links).ok().out.splitlines()]
    pid = container.state()["pid"]
    return [os.readlink(f"/proc/{pid}/ns/{kind}") == link for kind, link in zip(KINDS, seen, strict=True)]


def test_credentials(compare_with_users: Compare) -> None:
    """One range, many, host id 0, no root: ids, groups, capability sets and namespaces inside, as the peers' exec gives them."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def mapped(*maps: tuple[int, int, int]) -> Any:
            def edit(config: Config) -> None:
                with_users(config, *maps)
                with_namespace(config, "cgroup")

            return _credentials(stage, edit)

        return {
            "exec with one range": mapped(MAPS),
            "exec with three ranges": mapped((0, 100000, 10), (10, 200000, 5), (1000, 300000, 1)),
            "exec with host id 0": mapped((0, 0, 1), (1, 100000, 1000)),
        }

    answers = compare_with_users(scenario)
    one = answers["exec with one range"]
    assert one["plain"] == ["0 0 0 0"] * 2 + ["0" * 16] + ["0000000020000420"] * 3 + ["0" * 16]
    assert one["-u"] == ["3 3 3 3", "5 5 5 5", "0" * 16, "0000000020000420"]
    assert one["maps"] == [str(number) for number in MAPS * 2]
    assert one["where"] == [True] * len(KINDS)
    assert (one["home"], one["code"], one["unmapped"]) == ("/root\n", 7, True)
    assert one["documents"]["user"]["Groups"] == ["1", "2"]
    assert one["documents"]["user"]["CapAmb"] == [f"{1:016x}"]


@_ours
def test_root_that_is_not_mapped(stage: Stage) -> None:
    """The process is its user from the first moment on, with the config's capabilities; and it is never root."""

    def unmapped(config: Config) -> None:
        with_users(config, (1000, 100000, 10), (5, 300000, 2))
        config["process"]["user"] = {"uid": 1001, "gid": 1002, "additionalGids": [1003]}
        config["mounts"][2]["options"].remove("gid=5")
        set_capabilities(config, "CAP_CHOWN")

    container = stage.running(unmapped)
    status = _status(container)
    assert status["Uid"] == "1001 1001 1001 1001"
    assert (status["Gid"], status["Groups"]) == ("1002 1002 1002 1002", "1003")
    assert [status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")] == [f"{1:016x}"] * 5
    assert _status(container, "-u", "5:6")["Uid"] == "5 5 5 5"
    assert _places(container) == [True] * len(KINDS)
    container.exec("true", flags=("-u", "0")).refused("/process/user/uid", "0 is not mapped")
    container.delete("--force").ok()


def test_files_that_it_makes(compare_with_users: Compare) -> None:
    """On the host they belong to the ids that its user and group are mapped to."""

    def scenario(stage: Stage) -> dict[str, Any]:
        shared = stage.directory / "shared"
        shared.mkdir()
        shared.chmod(0o777)

        def edit(config: Config) -> None:
            with_users(config, (0, 100000, 10), (10, 200000, 5))
            add_bind(config, str(shared), "/mnt")

        container = stage.running(edit)
        container.exec("touch", "/mnt/root").ok()
        container.exec("touch", "/mnt/user", flags=("-u", "12:4")).ok()
        document = stage.process_file(args=["touch", "/mnt/document"], user={"uid": 1, "gid": 14})
        container.exec(flags=("-p", document)).ok()
        container.delete("--force").ok()
        owners = {one.name: (one.stat().st_uid, one.stat().st_gid) for one in shared.iterdir()}
        return {"owners of files of exec": owners}

    assert compare_with_users(scenario)["owners of files of exec"] == {
        "root": [100000, 100000],
        "user": [200002, 100004],
        "document": [100001, 200004],
    }


def test_joined_user_namespace(compare_with_users: Compare) -> None:
    """R097: beside a namespace that it owns, and the host's network, of which it owns nothing."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def one(edit: Any) -> Any:
            found = _credentials(stage, edit)
            if found != "refused":
                del found["unmapped"]  # runc and crun know the mappings by the config only
            return found

        with user_namespace("--uts") as pid:

            def edit(config: Config) -> None:
                with_users(config, path=f"/proc/{pid}/ns/user")
                with_namespace(config, "uts", f"/proc/{pid}/ns/uts")
                del config["hostname"]

            def with_host_network(config: Config) -> None:
                with_users(config, path=f"/proc/{pid}/ns/user")
                without_namespace(config, "network")
                gone = ("/sys", "/sys/fs/cgroup")
                config["mounts"] = [one for one in config["mounts"] if one["destination"] not in gone]

            return {"exec in a joined user namespace": [one(edit), one(with_host_network)]}

    for answer in compare_with_users(scenario)["exec in a joined user namespace"]:
        if runtime_under_test() != "runc":
            assert answer["maps"] == ["0", "300000", "1000"] * 2
            assert answer["where"] == [True] * len(KINDS)
            assert answer["plain"][0] == "0 0 0 0"


@_ours
def test_what_else_is_the_container_s(stage: Stage) -> None:
    """Filter, network, cgroup, limits, keyring, oom_score_adj, and a terminal of its devpts, also before start."""

    def edit(config: Config) -> None:
        with_users(config)
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
        config["linux"]["maskedPaths"].remove("/proc/keys")
        config["process"].update(noNewPrivileges=False, oomScoreAdj=9)

    identity = new_id()  # /proc/keys shows those of all containers with the same mappings
    show = f"grep ' _ses.{identity}:' /proc/keys | cut -d ' ' -f 1"
    bundle = stage.bundle("sh", "-c", f"{show}; echo ready; sleep 1000", edit=edit)
    container = stage.container(bundle=bundle, container_id=identity)
    container.create().ok()
    script = (
        "mkdir /dev/shm/x 2>&1; grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status; ip -o link | wc -l;"
        f"cat /proc/self/oom_score_adj; ulimit -n; {show}"
    )
    created = container.exec("sh", "-c", script).ok().out.splitlines()
    container.start().ok()
    container.wait_for_output("ready")
    running = container.exec("sh", "-c", script).ok().out.splitlines()
    assert created == running
    assert "No space left on device" in running[0]
    assert running[1:] == ["NoNewPrivs:\t0", "Seccomp:\t2", "1", "9", "1024", container.output().split()[0]]
    assert container.id in container.exec("cat", "/proc/self/cgroup").ok().out
    words = ("sh", "-c", "tty; stat -c %u:%g $(tty); (: < /dev/tty) && echo controlling; exit 5")
    client = Client(container.runtime.argv("exec", "--tty", "-u", "7:8", container.id, *words))
    try:
        assert client.wait() == 5
        assert client.text.split() == ["/dev/pts/0", "7:5", "controlling"]
    finally:
        client.close()
    container.delete("--force").ok()


@_ours
def test_ids_that_are_not_mapped(stage: Stage) -> None:
    """They are named, with the property or with what the kernel says; and nothing has run."""
    container = stage.running(with_users)
    container.exec("true", flags=("-u", "70000")).refused(
        "/process/user/uid", "70000 is not mapped", "uidMappings"
    )
    container.exec("true", flags=("-g", "70000")).refused("/process/user/additionalGids/0", "gidMappings")
    document = stage.process_file(args=["true"], user={"uid": 0, "gid": 70000})
    container.exec(flags=("-p", document)).refused("exec: /user/gid", "70000")
    container.delete("--force").ok()
    with user_namespace() as pid:
        joined = stage.running(lambda config: with_users(config, path=f"/proc/{pid}/ns/user"))
        result = joined.exec("true", flags=("-u", "1000"))
        assert result.code == 255
        result.refused("/process/user: user uid 1000", "EINVAL")
        joined.delete("--force").ok()


_CLOCKS = "cut -d . -f 1 /proc/uptime; readlink -f /proc/self/ns/time; cat /proc/self/timens_offsets"


@_ours
def test_clocks(stage: Stage) -> None:
    """R104: of the time namespace, new, beside a user namespace, or joined; of a startContainer hook as well."""
    monotonic, boottime = {"secs": DAY, "nanosecs": 5}, {"secs": 2 * DAY}
    first = stage.running(offsets(monotonic=monotonic, boottime=boottime))
    namespace = os.readlink(f"/proc/{first.state()['pid']}/ns/time")
    assert namespace != os.readlink("/proc/self/ns/time")
    assert _clocks(first) == [2.0, namespace, "monotonic", str(DAY), "5", "boottime", str(2 * DAY), "0"]

    def joined(config: Config) -> None:
        offsets(path=f"/proc/{first.state()['pid']}/ns/time")(config)
        add_hook(config, "startContainer", "/bin/sh", "-c", f"{{ {_CLOCKS}; }} > /dev/shm/hook")

    second = stage.running(joined)
    assert _clocks(second) == _clocks(first)
    hook = second.exec("cat", "/dev/shm/hook").ok().out.split()
    assert (Path(hook[1]).name, hook[2:]) == (namespace, _clocks(first)[2:])
    assert int(hook[0]) > 2 * DAY
    second.delete("--force").ok()
    first.delete("--force").ok()
    third = stage.running(offsets(users=True, monotonic=monotonic, boottime=boottime))
    own = os.readlink(f"/proc/{third.state()['pid']}/ns/time")
    assert _clocks(third) == [2.0, own, "monotonic", str(DAY), "5", "boottime", str(2 * DAY), "0"]
    third.delete("--force").ok()


def _clocks(container: Container) -> list[Any]:
    """By how many days an exec'd process was started before the host, its time namespace, and the offsets there."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    uptime, link, *lines = container.exec("sh", "-c", _CLOCKS).ok().out.split()
    return [round((int(uptime) - before) / DAY, 1), Path(link).name, *lines]
