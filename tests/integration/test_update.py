# SPDX-License-Identifier: Apache-2.0
"""update: does it set what runc and crun set, leave alone what they leave alone, and do all of it or nothing?"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import ociruntime
from tests.harness.cgroup_files import MIB, V2, place, resources, value, value_of
from tests.harness.driver import DRIVER, runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.driver import Container, Result
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

BASE: dict[str, Any] = {
    "memory": {"limit": 64 * MIB, "swap": 64 * MIB, "reservation": 16 * MIB},
    "cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0", "mems": "0"},
    "pids": {"limit": 20},
}

# (controller, v1's file, v2's file) of everything that an update may change
FILES = [
    ("memory", "memory.limit_in_bytes", "memory.max"),
    ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max"),
    ("memory", "memory.soft_limit_in_bytes", "memory.low"),
    ("cpu", "cpu.shares", "cpu.weight"),
    ("cpu", "cpu.cfs_quota_us", "cpu.max"),
    ("cpu", "cpu.cfs_period_us", "cpu.max"),
    ("cpuset", "cpuset.cpus", "cpuset.cpus"),
    ("cpuset", "cpuset.mems", "cpuset.mems"),
    ("pids", "pids.max", "pids.max"),
    ("blkio", "blkio.bfq.weight", "io.weight"),
    *([] if V2 else [("devices", "devices.list", "")]),
]


def files(container: Container) -> dict[str, str]:
    """What all of them say, by the name on v1."""
    pid = container.state()["pid"]
    return {v1: value_of(pid, controller, v1, v2) for controller, v1, v2 in FILES}


def changes(before: dict[str, str], after: dict[str, str]) -> dict[str, str]:
    """What says something else now."""
    return {name: text for name, text in after.items() if before[name] != text}


def begin(stage: Stage, **groups: Any) -> Container:
    """A created container with the limits of BASE, or others."""
    container = stage.container("sleep", "100", edit=resources(**{**BASE, **groups}))
    container.create().ok()
    return container


def update(container: Container, *words: str, **how: Any) -> Result:
    """`update`, with the id first: flags may come after it, except with crun."""
    if container.runtime.name == "crun":
        return container.runtime.call("update", *words, container.id, **how)
    return container.runtime.call("update", container.id, *words, **how)


def from_stdin(container: Container, document: object, *words: str) -> Result:
    """`update` with a document on stdin."""
    path = container.runtime.scratch / "resources.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    with open(path, "rb") as stdin:
        return container.runtime.call("update", *(words or ("--resources=-",)), container.id, stdin=stdin)


departure("--cpu-period on v2", "crun", "R145", "crun 1.8 takes the quota away, which nobody asked for")
for _peer in ("runc", "crun"):
    departure("--memory on v2", _peer, "R140", "swap stays as it is, so that memory and swap together grow")
departure("--cpu-share on v2", "runc", "R145", "runc 1.1 and crun 1.8 map shares by a straight line")
departure("--cpu-share on v2", "crun", "R145", "runc 1.1 and crun 1.8 map shares by a straight line")


def test_each_flag(compare: Compare) -> None:
    """Every flag changes its file and no other: those of runc and crun, one after the other on one container."""
    calls: dict[str, list[str]] = {
        "--memory-swap": [str(96 * MIB)],
        "--memory": [str(80 * MIB)],
        "--memory-reservation": [str(8 * MIB)],
        "--cpu-quota": ["30000"],
        "--cpu-period": ["90000"],
        "--cpu-share": ["300"],
        "--cpuset-cpus": ["0"],
        "--cpuset-mems": ["0"],
        "--pids-limit": ["30"],
        **({} if V2 else {"--cpu-rt-period": ["400000"], "--cpu-rt-runtime": ["3000"]}),
    }

    def scenario(stage: Stage) -> dict[str, Any]:
        container = begin(stage)
        answers: dict[str, Any] = {}
        before = files(container)
        for flag, words in calls.items():
            more = ["--memory", str(64 * MIB)] if V2 and flag == "--memory-swap" else []
            update(container, flag, *words, *more).ok()
            after = files(container)
            differs = V2 and flag in ("--memory", "--cpu-share", "--cpu-period")
            answers[f"{flag} on v2" if differs else flag] = changes(before, after)
            before = after
        if not V2:
            answers["real time"] = [
                value(container, "cpu", f"cpu.rt_{what}_us", "") for what in ("period", "runtime")
            ]
        container.delete("--force").ok()
        return answers

    answers = compare(scenario)
    if not V2:
        assert [name for name, answer in answers.items() if len(answer) > 1] == ["real time"]
        assert answers["--cpu-quota"] == {"cpu.cfs_quota_us": "30000"}
        assert answers["--cpu-period"] == {"cpu.cfs_period_us": "90000"}
        assert answers["real time"] == ["400000", "3000"]


def test_flags_that_the_peers_lack(stage: Stage) -> None:
    """Burst and idle; and the weight of block I/O."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc of Debian 12 has neither --cpu-burst nor --cpu-idle")
    container = begin(stage)
    update(container, "--cpu-burst", "10000", "--cpu-idle=1", "--blkio-weight", "300").ok()
    assert value(container, "cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "10000"
    assert value(container, "cpu", "cpu.idle", "cpu.idle") == "1"
    assert value(container, "blkio", "blkio.bfq.weight", "io.weight") in (
        "300",
        "default 2930",
        "default 300",
    )
    container.delete("--force").ok()


UP_AND_DOWN = [(128, 128), (16, 16), (16, 128), (128, 200), (-1, -1), (32, 48), (-1, 0)]


def test_memory_and_swap_up_and_down(compare: Compare) -> None:
    """Raised or lowered, each before the other as the kernel wants it; unlimited memory is unlimited swap."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = begin(stage)
        answers = {}
        for limit, swap in UP_AND_DOWN:
            memory = {"limit": limit if limit < 0 else limit * MIB, "swap": swap if swap < 1 else swap * MIB}
            from_stdin(container, {"memory": memory}).ok()
            after = files(container)
            answers[f"{limit} {swap}"] = [
                after["memory.limit_in_bytes"],
                after["memory.memsw.limit_in_bytes"],
            ]
        container.delete("--force").ok()
        return answers

    answers = compare(scenario, only=("runc",))
    for limit, swap in UP_AND_DOWN:
        both = answers[f"{limit} {swap}"]
        if limit > 0:
            assert both == [str(limit * MIB), str((swap - limit if V2 else swap) * MIB)]
        else:
            assert all(text == "max" or int(text) > 1 << 60 for text in both)


# What dockerd 20.10 sends for `docker update --memory 80m --pids-limit -1`: 0 and "" is "no wish".
DOCKER = {
    "memory": {"limit": 80 * MIB, "reservation": 0, "swap": 96 * MIB, "kernel": 0},
    "cpu": {"shares": 0, "cpus": "", "mems": ""},
    "pids": {"limit": -1},
    "blockIO": {"weight": 0},
}
# What containerd's CRI plugin sends: all of the container's resources, with the rules for devices.
CRI = {
    "devices": [{"allow": False, "access": "rwm"}],
    "memory": {"limit": 80 * MIB, "swap": 80 * MIB},
    "cpu": {"shares": 512, "quota": 40000, "period": 100000, "cpus": "0", "mems": "0"},
}
# What podman sends: only what is wished for.
PODMAN = {"cpu": {"quota": 20000, "period": 50000}}


def test_documents_of_engines(compare: Compare) -> None:
    """From stdin: what is named is set, 0 and empty texts are not, device rules stay."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = begin(stage)
        answers = {}
        before = files(container)
        for name, document in (("docker", DOCKER), ("cri", CRI), ("podman", PODMAN), ("empty", {})):
            from_stdin(container, document).ok()
            after = files(container)
            answers[name] = changes(before, after)
            before = after
        container.delete("--force").ok()
        return answers

    # By systemd's driver runc 1.1 sets swap late on v2: not with the new memory limit but with the next update.
    answers = compare(scenario, only=() if V2 and DRIVER == "systemd" else ("runc",))
    assert set(answers["docker"]) == {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "pids.max"}
    assert "cpu.cfs_quota_us" in answers["cri"]
    assert set(answers["podman"]) == {"cpu.cfs_quota_us", "cpu.cfs_period_us"}
    assert answers["empty"] == {}


def test_ways_to_pass_a_document(compare: Compare) -> None:
    """-r FILE, -r -, --resources=-, and the id before or after; other flags then have no effect."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = begin(stage)
        seen = []
        path = stage.directory / "limits.json"
        for number, words in enumerate((("-r", "-"), ("--resources", "-"), ("--resources=-",)), 31):
            from_stdin(container, {"pids": {"limit": number}}, *words).ok()
            seen.append(value(container, "pids", "pids.max", "pids.max"))
        path.write_text(json.dumps({"pids": {"limit": 40}}))
        update(container, "-r", str(path), "--memory", "1").ok()
        seen.append(value(container, "pids", "pids.max", "pids.max"))
        container.delete("--force").ok()
        return {"pids": seen}

    assert compare(scenario) == {"pids": ["31", "32", "33", "40"]}


@pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="what is asked is this runtime's: run with RUNTIME=ociruntime"
)
@pytest.mark.parametrize("source", ["stdin", "file"])
def test_what_is_ignored_is_named(source: str, stage: Stage) -> None:
    """An unknown name with the one that was meant, device rules, and flags beside the document; the rest is set."""
    container = begin(stage)
    document = {
        "memories": {"limit": 1},
        "pids": {"limit": 31, "limmit": 1},
        "devices": [{"allow": True, "access": "rwm"}],
    }
    flags = ("--memory", "1", "--cpu-share", "2")
    path = stage.directory / "limits.json"
    path.write_text(json.dumps(document))
    done = (
        from_stdin(container, document, *flags, "-r", "-")
        if source == "stdin"
        else update(container, *flags, "-r", str(path))
    )
    assert done.ok().err.splitlines() == [
        f"ociruntime: warning: update: {words}"
        for words in (
            "--cpu-share, --memory: ignored, because --resources names a document",
            "/devices: ignored: an update leaves the device rules as they are",
            "/memories: ignored: no version of the specification has this name, so it has no effect (did you mean memory?)",
            "/pids/limmit: ignored: no version of the specification has this name, so it has no effect (did you mean limit?)",
        )
    ]  # fmt: skip
    assert value(container, "pids", "pids.max", "pids.max") == "31"
    engines = {"pids": {"limit": 32}, "devices": None, "blockIO": {}, "memory": {"limit": 0}}
    assert from_stdin(container, engines).ok().err == ""
    container.delete("--force").ok()


@pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="what is asked is this runtime's: run with RUNTIME=ociruntime"
)
def test_the_library_tells_it_too(stage: Stage) -> None:
    """Container.update returns what the verb warns of, with the pointer into the config; and sets the rest."""
    container = begin(stage)
    loaded = ociruntime.load(str(container.runtime.root), container.id)
    assert loaded.update({"pids": {"limit": 30}}) == []
    said = loaded.update(
        {"memories": {}, "pids": {"limit": 31}, "devices": [{"allow": False, "access": "rwm"}]}
    )
    assert said == [
        "/linux/resources/devices: ignored: an update leaves the device rules as they are",
        "/linux/resources/memories: ignored: no version of the specification has this name, so it has no effect (did you mean memory?)",
    ]
    assert value(container, "pids", "pids.max", "pids.max") == "31"
    container.delete("--force").ok()


def test_units(compare: Compare) -> None:
    """Bytes have units of 1024, as in runc."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = begin(stage)
        seen = []
        for word in ("90M", "91m", "92MiB", "93mb", "0.09g", "98304k"):
            update(container, "--memory-swap", "200M", "--memory", word).ok()
            seen.append(value(container, "memory", "memory.limit_in_bytes", "memory.max"))
        container.delete("--force").ok()
        return {"limits": seen}

    assert compare(scenario, only=("runc",))["limits"][0] == str(90 * MIB)


@pytest.mark.skipif(V2, reason="cgroup v2 has no equivalent")
def test_the_oom_killer_off_and_on(stage: Stage) -> None:
    """A document may say disableOOMKiller both ways; runc 1.1 ignores it in updates."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc and crun ignore it in a document of update")
    container = begin(stage, memory={"limit": 64 * MIB, "disableOOMKiller": True})

    def oom_control() -> str:
        return value(container, "memory", "memory.oom_control", "").partition(" under_oom")[0]

    assert oom_control() == "oom_kill_disable 1"
    for disable in (False, True, False):
        from_stdin(container, {"memory": {"disableOOMKiller": disable}}).ok()
        assert oom_control() == f"oom_kill_disable {int(disable)}"
    container.delete("--force").ok()


def test_a_flag_of_0_processes(compare: Compare) -> None:
    """`--pids-limit 0` changes nothing, as a 0 of the other flags does."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = begin(stage)
        update(container, "--pids-limit", "0").ok()
        limit = value(container, "pids", "pids.max", "pids.max")
        container.delete("--force").ok()
        return {"limit": limit}

    assert compare(scenario, only=("runc",)) == {"limit": "20"}


REFUSALS = [
    ("a word for a number", ["--pids-limit", "many"], "--pids-limit"),
    ("a unit for a number", ["--cpu-quota", "10k"], "--cpu-quota"),
    ("a CPU that isn't there", ["--cpuset-cpus", "4000"], "--cpuset-cpus"),
    ("a period that is too short", ["--cpu-period", "1"], "--cpu-period"),
    ("memory below one page", ["--memory", "-2"], "--memory"),
    ("no such file", ["-r", "/nonexistent"], "/nonexistent"),
    ("an unknown flag", ["--frob", "1"], "--frob"),
]


def test_refused(compare: Compare) -> None:
    """The error names the flag, and nothing has changed."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = begin(stage)
        before = files(container)
        answers: dict[str, Any] = {}
        for what, words, told in REFUSALS:
            result = update(container, *words)
            if stage.runtime.name not in PEERS:
                result.refused("update: ", told)
            answers[what] = result.code != 0
        answers["changed"] = changes(before, files(container))
        container.delete("--force").ok()
        return answers

    assert compare(scenario) == {
        "changed": {},
        **dict.fromkeys((row[0] for row in REFUSALS), True),
    }


MISTAKES: list[tuple[object, str]] = [
    ("", "not JSON"),
    ("{", "not JSON"),
    ({"memory": {"limit": "1"}}, "/memory/limit: "),
    ({"pids": {"limit": 1.5}}, "/pids/limit: "),
    ({"hugepageLimits": [{"pageSize": "../x", "limit": 1}]}, "/hugepageLimits/0/pageSize: "),
    ({"memory": {"limit": 2 * MIB, "swap": MIB}}, "/memory/swap: "),
    ({"memory": {"limit": 80 * MIB, "swap": 90 * MIB}, "cpu": {"cpus": "4000"}}, "/cpu/cpus: "),
    ({"pids": {"limit": 9}, "cpu": {"quota": 500, "period": 100000, "shares": 7}}, "/cpu/quota: "),
]


def test_all_or_nothing(stage: Stage) -> None:
    """A mistake, or a refusal of the kernel in the middle: one line with the place in the document, all as before."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc sets what comes before the refusal")
    container = begin(stage)
    before = files(container)
    for document, told in MISTAKES:
        from_stdin(container, document).refused("update: ", told)
        assert files(container) == before
    # and afterwards a right one works
    from_stdin(container, {"memory": {"limit": 80 * MIB, "swap": 90 * MIB}}).ok()
    assert set(changes(before, files(container))) == {"memory.limit_in_bytes", "memory.memsw.limit_in_bytes"}
    container.delete("--force").ok()


@pytest.mark.parametrize("state", ["unknown", "stopped"])
def test_states(compare: Compare, state: str) -> None:
    """Stopped and unknown containers can't be updated."""

    def scenario(stage: Stage) -> dict[str, Any]:
        result = update(stage.in_state(state), "--pids-limit", "33")
        return {"code": result.code, "words": state == "unknown" or "not running" in result.err}

    assert compare(scenario, only=("runc",)) == {"code": 1, "words": True}


def test_while_it_is_frozen(stage: Stage) -> None:
    """A paused container takes other limits, and stays paused."""
    container = stage.in_state("running")
    directory = place(container.state()["pid"], "freezer")
    file, word = ("cgroup.freeze", "1") if V2 else ("freezer.state", "FROZEN")
    with open(f"{directory}/{file}", "w", encoding="ascii") as freezer:
        freezer.write(word)
    update(container, "--pids-limit", "33").ok()
    assert value(container, "pids", "pids.max", "pids.max") == "33"
    assert container.status() == "paused"
    container.delete("--force").ok()


def test_without_a_cgroup(stage: Stage) -> None:
    """A container that was made without cgroups has nothing to update."""
    if stage.runtime.name in PEERS:
        pytest.skip("the option is crun's, and its answer another")
    container = stage.container("sleep", "100")
    container.create(options=["--cgroup-manager", "disabled"]).ok()
    update(container, "--pids-limit", "33").refused("no cgroup of its own")
    container.delete("--force").ok()


def test_the_limit_bites(stage: Stage) -> None:
    """A program that could fork before the update can't after it."""
    script = "exec 2>&1; echo begun; while sleep 0.1; do :; done"
    container = stage.container("sh", "-c", script)
    container.create().ok()
    container.start().ok()
    container.wait_for_output("begun")
    update(container, "--pids-limit", "1").ok()
    container.wait_for_output("can't fork")
    container.delete("--force").ok()


@pytest.mark.skipif(not V2, reason="on cgroup v1 the kernel itself refuses a limit below what is in use")
def test_check_before_update(compare: Compare) -> None:
    """With checkBeforeUpdate a memory limit below what is in use is refused (R143)."""
    script = "head -c 30000000 /dev/zero | tail > /dev/null; dd if=/dev/zero of=/dev/shm/x bs=1M count=30 2>/dev/null; echo; sleep 100"

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", script, edit=resources(**BASE))
        container.create().ok()
        container.start().ok()
        container.wait_for_output("\n")
        document = {"memory": {"limit": 10 * MIB, "checkBeforeUpdate": True}}
        answers = {
            "check before update": from_stdin(container, document).code != 0,
            "limit": value(container, "memory", "", "memory.max"),
            "status": container.status(),
        }
        container.delete("--force").ok()
        return answers

    expected = {"check before update": True, "limit": str(64 * MIB), "status": "running"}
    assert compare(scenario, only=()) == expected


@pytest.mark.skipif(V2, reason="on cgroup v2 the kernel kills instead; see checkBeforeUpdate")
def test_below_what_is_in_use(compare: Compare) -> None:
    """v1's kernel refuses a memory limit below what is in use; the error says how much that is (R143)."""
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=30 2>/dev/null; echo; sleep 100"

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", script, edit=resources(**BASE))
        container.create().ok()
        container.start().ok()
        container.wait_for_output("\n")
        result = update(container, "--memory", str(10 * MIB))
        answers = {"code": result.code, "limit": value(container, "memory", "memory.limit_in_bytes", "")}
        if stage.runtime.name not in PEERS:
            result.refused("--memory", "bytes are in use")
        container.delete("--force").ok()
        return answers

    assert compare(scenario) == {"code": 1, "limit": str(64 * MIB)}


def test_a_later_update_knows_the_earlier(stage: Stage) -> None:
    """What an update has set is kept: on v2 memory+swap alone counts from the memory limit of the update before."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc wants both in one update on v2")
    container = begin(stage)
    update(container, "--memory-swap", str(200 * MIB), "--memory", str(100 * MIB)).ok()
    update(container, "--memory-swap", str(130 * MIB)).ok()
    after = files(container)
    assert after["memory.memsw.limit_in_bytes"] == str((30 if V2 else 130) * MIB)
    update(container, "--memory-swap", str(90 * MIB)).refused("--memory-swap", "less than the memory limit")
    assert container.start().ok()
    assert os.path.exists(f"/proc/{container.state()['pid']}")
    container.delete("--force").ok()
