# SPDX-License-Identifier: Apache-2.0
"""ps, pause, resume and events: what engines ask a running container, and how they hold it."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import PATIENCE, Container, runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

MIB = 1 << 20


def call(container: Container, verb: str, *words: str) -> tuple[int, str, str]:
    """Exit code and output of `VERB ID WORDS`."""
    result = container.runtime.call(verb, container.id, *words)
    return result.code, result.out, result.err


def test_life_of_a_paused_container(compare: Compare) -> None:
    """What pause and resume do and refuse in each state, and what other verbs do meanwhile, as runc."""

    def scenario(stage: Stage) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        for state in ("unknown", "created", "running", "stopped"):
            container = stage.in_state(state)
            answers[f"resume {state}"] = call(container, "resume")[0]
            answers[f"pause {state}"] = call(container, "pause")[0]
            answers[f"then {state}"] = container.status()
            answers[f"pause again {state}"] = call(container, "pause")[0]
            answers[f"start {state}"] = container.start().code
            answers[f"resume again {state}"] = call(container, "resume")[0]
            answers[f"at last {state}"] = container.status()
            if container.created:
                container.delete("--force").ok()
        return answers

    answers = compare(scenario, only=("runc",))
    assert answers["then created"] == answers["then running"] == "paused"
    assert (answers["at last created"], answers["at last running"]) == ("created", "running")
    assert answers["pause again running"] == answers["start created"] == answers["pause stopped"] == 1


def test_a_paused_container_stands_still(stage: Stage) -> None:
    """While it is paused its program does nothing; afterwards it goes on; it can be killed meanwhile."""
    container = stage.container("sh", "-c", "while :; do echo x; sleep 0.02; done")
    container.create().ok()
    container.start().ok()
    container.wait_for_output("x")
    assert call(container, "pause")[0] == 0
    before = container.output()
    time.sleep(0.3)
    assert container.output() == before
    assert call(container, "resume") == (0, "", "")
    container.wait_for_output(before + "x\n")
    assert call(container, "pause")[0] == 0
    container.kill("KILL").ok()
    container.wait_for("stopped")
    container.delete().ok()


def test_words_of_refusals(stage: Stage) -> None:
    """Engines look for runc's words."""
    container = stage.in_state("stopped")
    assert "container not running" in call(container, "pause")[2]
    assert "container not paused" in call(container, "resume")[2]
    assert f"container with id {container.id} is not running" in call(container, "events")[2]
    for verb in ("pause", "resume", "events", "ps"):
        assert "does not exist" in stage.runtime.call(verb, "nobody").err
        assert stage.runtime.call(verb).code == 1


def lines_of_ps(container: Container, *words: str) -> dict[str, Any]:
    """Heading and number of lines of `ps`, or its failure."""
    code, out, err = call(container, "ps", *words)
    lines = out.splitlines()
    return {"code": code, "heading": lines[:1], "lines": len(lines), "error": "PID field" in err}


def test_ps(compare: Compare) -> None:
    """The host's ps, with the words after the id; lines of the container's processes only; as runc prints it."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", "sleep 100 & sleep 100 & echo ready; wait")
        container.create().ok()
        container.start().ok()
        container.wait_for_output("ready")
        answers = {
            " ".join(words): lines_of_ps(container, *words)
            for words in ((), ("-o", "pid,comm"), ("aux",), ("-o", "comm"), ("--no-such-option",), ("-f",))
        }
        pids = json.loads(stage.runtime.call("ps", "--format", "json", container.id).ok().out)
        answers["json"] = len(pids)
        answers["init"] = container.state()["pid"] in pids
        names = [
            line.split()[1] for line in call(container, "ps", "-o", "pid,comm", "-e")[1].splitlines()[1:]
        ]
        answers["names"] = sorted(names)
        container.kill("KILL").ok()
        container.wait_for("stopped")
        answers["stopped"] = lines_of_ps(container)
        answers["stopped json"] = stage.runtime.call("ps", "-f", "json", container.id).ok().out
        container.delete().ok()
        return answers

    answers = compare(scenario, only=("runc",))
    assert answers["json"] == 3
    assert answers["names"] == ["sh", "sleep", "sleep"]


departure(
    "processes with a space in their name",
    "runc",
    "no rule",
    "it takes the second word of such a line for the process id, and leaves the process out",
)


def test_ps_of_a_process_with_a_space_in_its_name(compare: Compare) -> None:
    """A space in the name of a process makes no new column, wherever it is and whatever number follows."""

    def scenario(stage: Stage) -> dict[str, Any]:
        script = "printf 'a 1' > /proc/$$/comm; sleep 100 & echo ready; wait"
        container = stage.container("sh", "-c", script)
        container.create().ok()
        container.start().ok()
        container.wait_for_output("ready")
        pid = str(container.state()["pid"])
        found = {}
        for words in (["-eo", "comm,pid"], ["axo", "comm,pid"], ["-e", "--format", "comm,pid,ppid"]):
            lines = call(container, "ps", *words)[1].splitlines()
            found[" ".join(words)] = [
                lines[0].split()[:2],
                [line.split()[:3] for line in lines if pid in line.split()],
            ]
        container.delete("--force").ok()
        return {
            "titles": [titles for titles, _ in found.values()],
            "processes with a space in their name": [
                [words == ["a", "1", pid] for words in lines][:1] for _, lines in found.values()
            ],
        }

    answers = compare(scenario, only=("runc",))
    assert answers == {
        "titles": [["COMMAND", "PID"]] * 3,
        "processes with a space in their name": [[True]] * 3,
    }


def test_ps_of_a_host_process_that_looks_like_ours(stage: Stage) -> None:
    """A process of the host that has a container's process id in its name is not shown."""
    if runtime_under_test() in PEERS:
        pytest.skip("the peers take the second word for the process id")
    container = stage.in_state("running")
    pid = container.state()["pid"]
    script = ["sh", "-c", f"printf 'x {pid}' > /proc/$$/comm; echo; read x"]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        shown = call(container, "ps", "-eo", "comm,pid")[1]
        other.kill()
    assert str(pid) in shown
    assert str(other.pid) not in shown
    container.delete("--force").ok()


def test_ps_takes_no_program_from_the_caller(stage: Stage) -> None:
    """The host's ps is at a fixed place, and not what the caller's PATH has (invariant 12)."""
    if runtime_under_test() in PEERS:
        pytest.skip("the peers look for ps in PATH")
    decoy = stage.directory / "ps"
    decoy.write_text("#!/bin/sh\necho PID decoy\n")
    decoy.chmod(0o755)
    container = stage.in_state("running")
    result = stage.runtime.call("ps", container.id, env={"PATH": str(stage.directory)})
    assert "decoy" not in result.ok().out
    container.delete("--force").ok()


def shape(value: Any, key: str = "") -> Any:
    """Keys and types of a JSON value; what depends on the kernel's counters at that moment is left out."""
    if isinstance(value, dict):
        variable = {"usage", "throttling", "swap", "kernel", "kernelTCP"}
        optional = (
            {"max", "usage", "periods", "throttledPeriods", "throttledTime", "cache"}
            if key in variable | {"memory"}
            else set()
        )
        return {
            name: shape(item, name)
            for name, item in value.items()
            if name not in optional or isinstance(item, dict)
        }
    return [shape(item) for item in value[:1]] if isinstance(value, list) else type(value).__name__


def limited(config: Config) -> None:
    """Some limits, which the statistics show."""
    config["linux"]["resources"].update(
        memory={"limit": 64 * MIB}, pids={"limit": 20}, cpu={"quota": 50000, "period": 100000}
    )


def test_statistics(compare: Compare) -> None:
    """`events --stats` is runc's document: the same keys with the same types, and what does not change is equal."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container(
            "sh",
            "-c",
            "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; echo ready; sleep 100",
            edit=limited,
        )
        container.create().ok()
        container.start().ok()
        container.wait_for_output("ready")
        event = json.loads(stage.runtime.call("events", "--stats", container.id).ok().out)
        container.delete("--force").ok()
        data = event["data"]
        assert 0 < data["memory"]["usage"]["usage"] < 64 * MIB
        assert data["cpu"]["usage"]["total"] > 1_000_000
        return {
            "shape": shape(event),
            "id": event["id"],
            "limits": [
                data["memory"]["usage"]["limit"],
                data["memory"]["swap"]["limit"],
                data["pids"]["limit"],
            ],
            "cpuset": data["cpuset"],
            "order of members": list(data),
        }

    answers = compare(scenario, only=("runc",))
    assert answers["limits"][0] == 64 * MIB
    assert answers["limits"][2] == 20


def test_stream_of_events(stage: Stage) -> None:
    """Statistics every interval, an event for each lack of memory, and an end when the container is gone."""
    script = (
        "trap 'dd if=/dev/zero of=/dev/null bs=64M count=1' USR1; echo ready; while :; do sleep 0.05; done"
    )

    def edit(config: Config) -> None:
        config["linux"]["resources"]["memory"] = {"limit": 16 * MIB, "swap": 16 * MIB}

    container = stage.container("sh", "-c", script, edit=edit)
    container.create().ok()
    container.start().ok()
    container.wait_for_output("ready")
    watcher = stage.runtime.start_call("events", "--interval", "200ms", container.id)
    assert watcher.stdout is not None
    try:
        first = json.loads(watcher.stdout.readline())
        assert (first["type"], first["id"]) == ("stats", container.id)
        container.kill("USR1").ok()
        end = time.monotonic() + 20 * PATIENCE
        while (event := json.loads(watcher.stdout.readline()))["type"] != "oom":
            assert time.monotonic() < end, "no event oom"
        assert event == {"type": "oom", "id": container.id}
        container.kill("KILL").ok()
        container.wait_for("stopped")
        container.delete().ok()
        rest, errors = watcher.communicate(timeout=20 * PATIENCE)
        assert watcher.returncode == 0, errors
        assert {json.loads(line)["type"] for line in rest.splitlines()} <= {"stats", "oom"}
    except subprocess.TimeoutExpired:
        pytest.fail("events does not end with the container")
    finally:
        watcher.kill()
        watcher.wait()
        watcher.stdout.close()
        if watcher.stderr is not None:
            watcher.stderr.close()


def test_events_of_nothing(stage: Stage) -> None:
    """An interval of nothing is refused, and so is a container without a cgroup."""
    container = stage.in_state("running")
    assert "duration interval must be greater than 0" in call(container, "events", "--interval", "0s")[2]
    container.delete("--force").ok()
    if runtime_under_test() not in PEERS:
        other = stage.container("sleep", "100")
        other.create(options=("--cgroup-manager", "disabled")).ok()
        stage.runtime.call("pause", other.id).refused("ociruntime: pause: ", "no cgroup")
        pid = json.loads(stage.runtime.call("state", other.id).ok().out)["pid"]
        assert json.loads(stage.runtime.call("ps", "--format", "json", other.id).ok().out) == [pid]
        stage.runtime.call("events", "--stats", other.id).refused("no cgroup")
        other.delete("--force").ok()
