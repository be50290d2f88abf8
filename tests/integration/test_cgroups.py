# SPDX-License-Identifier: Apache-2.0
"""Is the container in the cgroup that its config names, with the limits that it names, and do they bite?

Runs on cgroup v1, hybrid and v2; where the kernel's files differ, both names stand here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.cgroup_files import MIB, ROOT, V2, at, directories, place, remove, resources, value
from tests.harness.configuration import Config, set_capabilities, with_namespace, without_namespace
from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.stage import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare


for _peer in PEERS:
    departure(
        "KILL of what is left",
        _peer,
        "R234",
        "newest runc ends it; runc 1.1 wants --all, crun 1.8 says it is gone",
    )


@pytest.fixture
def group() -> Iterator[str]:
    """A name for a cgroup of this test; what is left of it goes away afterwards."""
    name = f"{new_id()}-group"
    yield name
    remove(name)


def test_place(compare: Compare, group: str) -> None:
    """Absolute, relative and missing cgroupsPath lead where runc's lead, in every hierarchy (R124-R129)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        answers = {}
        for name, path in (("absolute", f"/{group}/a"), ("relative", f"{group}/r"), ("missing", "")):
            container = stage.container("sleep", "100", edit=at(path) if path else None)
            container.create().ok()
            with open(f"/proc/{container.state()['pid']}/cgroup", encoding="utf-8") as file:
                answers[name] = sorted(line.split(":", 1)[1] for line in file.read().splitlines())
            container.delete("--force").ok()
            remove(group)
        return answers

    answers = compare(scenario, only=("runc",))
    # a hierarchy that is not mounted may live on, as long as there are cgroups in it
    mounted = [
        line for line in answers["absolute"] if not line.startswith(("hugetlb", "net_cls", "net_prio"))
    ]
    assert all(line.endswith(f":/{group}/a") for line in mounted)


# (property, value, v1's file, v2's file)
LIMITS = [
    ("memory/limit", 8 * MIB, "memory.limit_in_bytes", "memory.max"),
    ("memory/reservation", 4 * MIB, "memory.soft_limit_in_bytes", "memory.low"),
    ("cpu/shares", 512, "cpu.shares", "cpu.weight"),
    ("cpu/quota", 20000, "cpu.cfs_quota_us", "cpu.max"),
    ("cpu/period", 50000, "cpu.cfs_period_us", "cpu.max"),
    ("cpu/cpus", "0", "cpuset.cpus", "cpuset.cpus"),
    ("cpu/mems", "0", "cpuset.mems", "cpuset.mems"),
    ("pids/limit", 7, "pids.max", "pids.max"),
    ("pids/limit", -1, "pids.max", "pids.max"),
]


@pytest.mark.parametrize(("name", "number", "v1", "v2"), LIMITS)
def test_limit_is_set(compare: Compare, name: str, number: object, v1: str, v2: str) -> None:
    """The kernel's file of each limit says what it says under runc and crun."""
    controller = v1.split(".", maxsplit=1)[0]
    holder, _, member = name.partition("/")
    peers: tuple[str, ...] = PEERS
    if V2 and member == "shares":
        peers = ()  # the map of shares to v2's weights has changed since the peers of Debian 12
    elif number == -1:
        peers = ("runc",)  # crun 1.8 writes -1 as it is, which v1's file refuses

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sleep", "100", edit=resources(**{holder: {member: number}}))
        container.create().ok()
        answer = {member: value(container, controller, v1, v2)}
        container.delete("--force").ok()
        return answer

    answer = compare(scenario, only=peers)[member]
    shown = "max" if number == -1 else "59" if V2 and member == "shares" else str(number)
    assert shown in answer.split()


def test_memory_and_swap(compare: Compare) -> None:
    """Swap is memory and swap together (R140)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        limits = {"limit": 8 * MIB, "swap": 12 * MIB, **({} if V2 else {"swappiness": 7})}
        container = stage.container("sleep", "100", edit=resources(memory=limits))
        container.create().ok()
        answers = {"swap": value(container, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max")}
        if not V2:
            answers["swappiness"] = value(container, "memory", "memory.swappiness", "")
        container.delete("--force").ok()
        return answers

    assert compare(scenario)["swap"] == str((4 if V2 else 12) * MIB)


def test_no_process_beyond_the_limit(compare: Compare) -> None:
    """With pids.limit 3 the shell can't start a fourth process."""
    script = "sleep 2 & sleep 2 & sleep 2 & sleep 2 & echo all"

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.run("sh", "-c", script, edit=resources(pids={"limit": 3}))
        return {"refused": "can't fork" in result.err, "all": "all" in result.out}

    assert compare(scenario) == {"refused": True, "all": False}


def test_pids_zero(compare: Compare) -> None:
    """pids.limit 0 means no limit: podman writes it for `--pids-limit -1`. It departs from R150, and a warning says so."""

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.run(
            "sh", "-c", "true & true & wait; echo three", edit=resources(pids={"limit": 0})
        ).ok()
        if stage.runtime.name not in PEERS:
            assert "/linux/resources/pids/limit: 0 is treated as no limit" in result.err
        return {"out": result.out}

    assert compare(scenario) == {"out": "three\n"}


def test_pids_one(stage: Stage) -> None:
    """The smallest limit: the program runs, but can't fork."""
    result = stage.run("sh", "-c", "echo alone; true & echo two", edit=resources(pids={"limit": 1}))
    assert (result.out, "can't fork" in result.err) == ("alone\n", True)


def test_memory_beyond_the_limit(compare: Compare) -> None:
    """A program that takes more memory than memory.limit is killed."""
    limits = {"limit": 8 * MIB, "swap": 8 * MIB}
    command = ("dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"code": stage.run(*command, edit=resources(memory=limits)).code}

    assert compare(scenario, only=("runc",)) == {"code": 137}


@pytest.mark.parametrize("kib", [256, 512, 1024])
def test_small_memory_limits(stage: Stage, kib: int) -> None:
    """A limit of 1 MiB or less is enough for /bin/true: nothing of the runtime is charged to it."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc 1.1 needs 2 MiB, crun more than 256 KiB")
    stage.run("true", edit=resources(memory={"limit": kib * 1024})).ok()


def test_cpu_quota_slows_down(stage: Stage) -> None:
    """With 5 % of a CPU the scheduler has throttled a busy program."""
    spin = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; sleep 100"
    container = stage.container("sh", "-c", spin, edit=resources(cpu={"quota": 5000, "period": 100000}))
    container.create().ok()
    container.start().ok()
    end = time.monotonic() + 20 * PATIENCE
    throttled = 0
    while not throttled and time.monotonic() < end:
        time.sleep(0.1)
        words = value(container, "cpu", "cpu.stat", "cpu.stat").split()
        throttled = int(words[words.index("nr_throttled") + 1])
    container.delete("--force").ok()
    assert throttled > 0


def device_rules(*rules: dict[str, Any]) -> Callable[[Config], None]:
    """All is denied but the defaults and these; the program may make nodes."""

    def edit(config: Config) -> None:
        config["linux"]["resources"]["devices"] = [{"allow": False, "access": "rwm"}, *rules]
        set_capabilities(config, "CAP_MKNOD")
        config["process"]["noNewPrivileges"] = False

    return edit


# No driver has this number (it is for experiments), so whether the rules let it through shows in the error.
NODE = {"type": "c", "major": 240, "minor": 7}


@pytest.mark.parametrize(
    ("rules", "may_read", "may_write"),
    [
        ([], False, False),
        ([{"allow": True, **NODE, "access": "r"}], True, False),
        ([{"allow": True, **NODE, "access": "rw"}], True, True),
        ([{"allow": True, **NODE, "access": "rw"}, {"allow": False, **NODE, "access": "w"}], True, False),
        ([{"allow": True, "type": "c", "major": 240, "access": "w"}], False, True),
    ],
)
def test_device_rules(
    compare: Compare, rules: list[dict[str, Any]], *, may_read: bool, may_write: bool
) -> None:
    """A device that the program makes itself opens as the rules say, in their order (R138, R139)."""
    script = (
        "mknod /dev/k c 240 7; for how in '</dev/k' '>/dev/k'; do"
        ' (eval ": $how") 2>&1 | grep -o -e "No such device.*" -e "Operation not permitted"; done; true'
    )

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"opens": stage.run("sh", "-c", script, edit=device_rules(*rules)).ok().out.splitlines()}

    words = {True: "No such device or address", False: "Operation not permitted"}
    assert compare(scenario)["opens"] == [words[may_read], words[may_write]]


@pytest.mark.parametrize("kind", ["b", "c"])
def test_rule_without_a_type(compare: Compare, kind: str) -> None:
    """A rule without a type and numbers is about all devices (R139)."""
    script = f"mknod /dev/k {kind} 240 7; (: </dev/k) 2>&1 | grep -o 'No such device.*'; true"

    def scenario(stage: Stage) -> dict[str, Any]:
        rules = device_rules({"allow": True, "access": "rwm"})
        return {"opens": stage.run("sh", "-c", script, edit=rules).ok().out}

    assert compare(scenario)["opens"] == "No such device or address\n"


def test_default_devices_stay_usable(compare: Compare) -> None:
    """Deny everything: the default devices and pseudo terminals still work, a disk doesn't."""
    script = (
        "for d in null zero full random urandom; do : </dev/$d && echo $d; done; : </dev/ptmx && echo ptmx;"
        " mknod /dev/disk b 8 0 && (: </dev/disk); true"
    )

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.run("sh", "-c", script, edit=device_rules()).ok()
        return {"works": result.out.split(), "denied": "Operation not permitted" in result.err}

    works = ["null", "zero", "full", "random", "urandom", "ptmx"]
    assert compare(scenario) == {"works": works, "denied": True}


@pytest.mark.skipif(V2, reason="cgroup v2 shows no list of devices")
def test_order_in_the_device_list(stage: Stage) -> None:
    """devices.list begins with the config's rules in its order; the default devices come after them."""
    if stage.runtime.name == "runc":
        pytest.skip("runc sorts the list")
    rules = [{"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}]
    rules.append({"allow": True, "type": "b", "major": 8, "minor": 20, "access": "rw"})
    container = stage.container("sleep", "100", edit=device_rules(*rules))
    container.create().ok()
    listed = value(container, "devices", "devices.list", "")
    container.delete("--force").ok()
    assert listed.startswith("c 10:229 rwm b 8:20 rw ")
    assert "c 1:3 rwm" in listed


def test_existing_directories_stay(stage: Stage, group: str) -> None:
    """What was there before the container is there after it; what was made for it is not (R238)."""
    if stage.runtime.name in PEERS:
        pytest.skip("the peers leave the directories above, and remove a cgroup that they didn't make")
    top = f"{ROOT}/{group}" if V2 else f"{ROOT}/pids/{group}"
    os.makedirs(f"{top}/{group}-mine/{group}-leaf")
    for path in (f"/{group}/{group}-mine/{group}-leaf", f"/{group}/{group}-other/new"):
        container = stage.container("true", edit=at(path))
        container.run().ok()
    assert directories(f"{group}-leaf") == [f"{top}/{group}-mine/{group}-leaf"]
    assert directories(f"{group}-other") == []
    assert directories(group) == [top]


def test_parents_in_use_stay(stage: Stage, group: str) -> None:
    """A directory that was made above one container's cgroup stays while another container is below it."""
    first, second = (stage.container("sleep", "100", edit=at(f"/{group}/{group}-{name}")) for name in "ab")
    first.create().ok()
    second.create().ok()
    first.delete("--force").ok()
    assert directories(f"{group}-a") == []
    assert second.status() == "created"
    assert directories(f"{group}-b")
    second.delete("--force").ok()
    assert directories(f"{group}-b") == []


def test_leftover_processes_are_killed(stage: Stage) -> None:
    """Without a pid namespace the program's children outlive it: delete ends them with the cgroup."""
    container = stage.container(
        "sh", "-c", "sleep 1000 & echo $!", edit=lambda config: without_namespace(config, "pid")
    )
    container.create().ok()
    container.start().ok()
    container.wait_for("stopped")
    child = int(container.output())
    assert os.path.exists(f"/proc/{child}")
    container.delete("--force").ok()
    assert not os.path.exists(f"/proc/{child}") or _is_zombie(child)
    assert directories(container.id) == []


@pytest.mark.parametrize("joined", [False, True], ids=["the runtime's", "joined"])
def test_kill_ends_all_processes_where_init_is_not_the_first(stage: Stage, joined: bool) -> None:
    """KILL is the end of the container, as of one whose init is the first of its pid namespace (runc 1.2 and newer)."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc 1.1 and crun 1.8 end init alone where the pid namespace is joined")
    first = stage.running()

    def edit(config: Config) -> None:
        without_namespace(config, "pid")
        if joined:
            with_namespace(config, "pid", f"/proc/{first.state()['pid']}/ns/pid")

    container = stage.container("sh", "-c", "sleep 777 & echo begun; exec sleep 778", edit=edit)
    container.create().ok()
    container.start().ok()
    container.wait_for_output("begun")
    processes = ("ps", "--format", "json", container.id)
    assert len(json.loads(stage.runtime.call(*processes).ok().out)) == 2
    container.kill("KILL").ok()
    container.wait_for("stopped")
    end = time.monotonic() + 10 * PATIENCE
    while json.loads(stage.runtime.call(*processes).ok().out):
        assert time.monotonic() < end, "a process lives on"
    container.delete().ok()
    assert first.status() == "running"
    first.delete("--force").ok()


def test_kill_ends_what_has_outlived_init(compare: Compare) -> None:
    """Without a pid namespace KILL ends what is left after init's end; when nothing is left it is refused."""

    def scenario(stage: Stage) -> dict[str, Any]:
        script = "sleep 1000 & echo $! $$; wait"
        container = stage.container("sh", "-c", script, edit=lambda config: without_namespace(config, "pid"))
        container.create().ok()
        container.start().ok()
        container.wait_for_output("\n")
        left, init = (int(word) for word in container.output().split())
        os.kill(init, signal.SIGKILL)
        container.wait_for("stopped")
        assert not _is_zombie(left), "nothing is left to be killed"
        term = container.kill("TERM").code
        code = container.kill("KILL").code
        ended = within(lambda: not os.path.exists(f"/proc/{left}") or _is_zombie(left))
        again = container.kill("KILL").code
        container.delete("--force").ok()
        return {"TERM": term, "KILL of what is left": [code, ended], "again": again}

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        assert answers == {"TERM": 1, "KILL of what is left": [0, True], "again": 1}


def within(holds: Callable[[], bool], seconds: float = 2.0) -> bool:
    """Whether it holds before that time is over."""
    end = time.monotonic() + seconds * PATIENCE
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _is_zombie(pid: int) -> bool:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0] == "Z"


def test_cgroups_below_are_removed(stage: Stage) -> None:
    """Cgroups that were made inside the container's go with it, and so do processes in them."""
    container = stage.container("sleep", "1000")
    container.create().ok()
    container.start().ok()
    pid = container.state()["pid"]
    below = f"{place(pid, 'pids')}/below/deep"
    os.makedirs(below)
    with open(f"{below}/cgroup.procs", "w", encoding="ascii") as file:
        file.write(str(pid))
    container.delete("--force").ok()
    assert not os.path.exists(f"/proc/{pid}") or _is_zombie(pid)
    assert not os.path.exists(os.path.dirname(os.path.dirname(below)))


def test_frozen_container_can_be_deleted(stage: Stage) -> None:
    """A container whose cgroup someone else has frozen goes away by delete --force."""
    container = stage.container("sleep", "1000")
    container.create().ok()
    container.start().ok()
    directory = place(container.state()["pid"], "freezer")
    file, word = ("cgroup.freeze", "1") if V2 else ("freezer.state", "FROZEN")
    with open(f"{directory}/{file}", "w", encoding="ascii") as freezer:
        freezer.write(word)
    container.delete("--force").ok()
    assert directories(container.id) == []


def test_busy_cgroup_is_refused(stage: Stage, group: str) -> None:
    """A cgroup with a process in it is not taken, and stays as it was (R123)."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc 1.1 only warns, crun doesn't look")
    directory = f"{ROOT}/{group}" if V2 else f"{ROOT}/pids/{group}"
    os.mkdir(directory)
    with subprocess.Popen(["sleep", "100"]) as other:
        with open(f"{directory}/cgroup.procs", "w", encoding="ascii") as file:
            file.write(str(other.pid))
        refusal = stage.container("true", edit=at(f"/{group}")).create()
        assert directories(group) == [directory]
        assert other.poll() is None
        other.kill()
    refusal.refused("/linux/cgroupsPath", "is not empty", str(other.pid))


def test_frozen_cgroup_is_refused(compare: Compare, group: str) -> None:
    """A frozen cgroup, in which create would wait for ever, is an error at once (R123)."""
    directory = f"{ROOT}/{group}" if V2 else f"{ROOT}/freezer/{group}"
    file, word = ("cgroup.freeze", "1") if V2 else ("freezer.state", "FROZEN")

    def scenario(stage: Stage) -> dict[str, Any]:
        os.mkdir(directory)
        with open(f"{directory}/{file}", "w", encoding="ascii") as freezer:
            freezer.write(word)
        result = stage.container("true", edit=at(f"/{group}")).create()
        result.refused("frozen")
        remove(group)
        return {"code": result.code}

    assert compare(scenario, only=("runc",)) == {"code": 1}


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"cpu": {"cpus": "4000"}}, ["/linux/resources/cpu/cpus", "cpuset.cpus"]),
        ({"cpu": {"period": 1}}, ["/linux/resources/cpu/period", "EINVAL"]),
        ({"memory": {"limit": MIB, "swap": MIB - 1}}, ["/linux/resources/memory/swap"]),
        (
            {"blockIO": {"throttleReadBpsDevice": [{"major": 240, "minor": 0, "rate": 1}]}},
            ["/linux/resources/blockIO/throttleReadBpsDevice/0", "ENODEV"],
        ),
        (
            {"hugepageLimits": [{"pageSize": "../../x", "limit": 1}]},
            ["/linux/resources/hugepageLimits/0/pageSize"],
        ),
        (
            {"hugepageLimits": [{"pageSize": "512KB", "limit": 0}]},
            ["/linux/resources/hugepageLimits/0", "hugetlb", "512KB" if V2 else ""],
        ),
        ({"unified": {"cgroup.procs": "1"}}, ["/linux/resources/unified/cgroup.procs", "is not a limit"]),
    ],
)
def test_impossible_limits(stage: Stage, limits: dict[str, Any], words: list[str]) -> None:
    """A limit that the kernel or the rules refuse: one line with the property; no cgroup is left."""
    if stage.runtime.name in PEERS:
        pytest.skip("the words are this runtime's")
    container = stage.container("true", edit=resources(**limits))
    container.create().refused(*words)
    assert directories(container.id) == []


def test_manager_disabled(stage: Stage) -> None:
    """With --cgroup-manager disabled the container stays in its caller's cgroup."""
    if stage.runtime.name == "runc":
        pytest.skip("runc has no such option")
    container = stage.container("cat", "/proc/self/cgroup")
    result = container.run(options=["--cgroup-manager", "disabled"]).ok()
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        assert result.out == file.read()
