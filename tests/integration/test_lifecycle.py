# SPDX-License-Identifier: Apache-2.0
"""Do create, start, state, kill and delete do what runc's do, in every state, allowed and refused?

The table is run under the runtime under test, runc and crun; exit codes and states are compared.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import PATIENCE, Container, Result, runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.stage import Stage, new_id

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.integration.conftest import Compare

_R236 = "delete of a container that is not stopped is an error; runc and crun delete a created one"
for _peer in PEERS:
    departure("delete when created", _peer, "R236", _R236)

departure("TERM kills a created container", "crun", "R234", "the signal must reach the container's process")
departure("kill FOO", "crun", "R234", "an unknown signal is refused, not sent as 0")


Operation = Callable[[Container], Result]

_OPERATIONS: dict[str, Operation] = {
    "create": lambda one: one.create(),
    "start": lambda one: one.start(),
    "state": lambda one: one.runtime.call("state", one.id),
    "kill 0": lambda one: one.kill("0"),
    "kill KILL": lambda one: one.kill("KILL"),
    "kill --all KILL": lambda one: one.runtime.call("kill", "--all", one.id, "KILL"),
    "delete": lambda one: one.delete(),
    "delete --force": lambda one: one.delete("--force"),
}
# What the operation's end must leave: the status, "" for no container. Refused: the exit code is 1.
_REFUSED = "refused"
_TABLE: dict[str, dict[str, str]] = {
    "unknown": {
        "create": "created", "start": _REFUSED, "state": _REFUSED, "kill 0": _REFUSED,
        "kill KILL": _REFUSED, "kill --all KILL": _REFUSED, "delete": _REFUSED, "delete --force": "",
    },
    "created": {
        "create": _REFUSED, "start": "running", "state": "created", "kill 0": "created",
        "kill KILL": "stopped", "kill --all KILL": "stopped", "delete": _REFUSED, "delete --force": "",
    },
    "running": {
        "create": _REFUSED, "start": _REFUSED, "state": "running", "kill 0": "running",
        "kill KILL": "stopped", "kill --all KILL": "stopped", "delete": _REFUSED, "delete --force": "",
    },
    "stopped": {
        "create": _REFUSED, "start": _REFUSED, "state": "stopped", "kill 0": _REFUSED,
        "kill KILL": _REFUSED, "kill --all KILL": "stopped", "delete": "", "delete --force": "",
    },
}  # fmt: skip


@pytest.mark.parametrize("operation", list(_OPERATIONS))
@pytest.mark.parametrize("state", list(_TABLE))
def test_transition(compare: Compare, state: str, operation: str) -> None:
    """Each operation in each state ends as the table says, and as with runc and crun."""
    answer = f"{operation} when {state}"
    expected = _TABLE[state][operation]

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.in_state(state)
        before = container.state() if state != "unknown" else {}
        result = _OPERATIONS[operation](container)
        if result.code == 0 and expected == "stopped":
            container.wait_for("stopped")
        after = container.status()
        if result.code != 0 and before:
            assert container.state() == before, "a refused operation changed the state"
        return {answer: [result.code, after]}

    answers = compare(scenario)
    before = "" if state == "unknown" else state
    if (state, operation) == ("created", "delete") and runtime_under_test() in PEERS:
        expected = ""
    assert answers[answer] == ([1, before] if expected == _REFUSED else [0, expected])


def test_state_document(compare: Compare) -> None:
    """The state has id, status, pid, bundle, annotations as runc's has, in each state."""

    def edit(config: Config) -> None:
        config["annotations"] = {"com.example.key": "value", "com.example.empty": ""}

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sleep", "100", edit=edit)
        container.create().ok()
        documents = [container.state()]
        container.start().ok()
        documents.append(container.state())
        container.kill("KILL").ok()
        container.wait_for("stopped")
        documents.append(container.state())
        shown = []
        for document in documents:
            pid = document["pid"]
            assert isinstance(document["ociVersion"], str)
            kept = {name: document[name] for name in ("id", "status", "bundle", "annotations")}
            shown.append({**kept, "has a pid": pid > 0})
        assert documents[0]["pid"] == documents[1]["pid"]
        return {"states": shown}

    states = compare(scenario)["states"]
    assert [one["status"] for one in states] == ["created", "running", "stopped"]
    assert [one["has a pid"] for one in states] == [True, True, False]
    assert states[0]["bundle"] == "STAGE/bundle-1"


def test_state_has_runcs_members(compare: Compare) -> None:
    """`state` prints the members that runc prints, and `rootfs` and `created` in its form."""

    def edit(config: Config) -> None:
        config["annotations"] = {"com.example.key": "value"}

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("true", edit=edit)
        container.create().ok()
        document = container.state()
        container.delete("--force").ok()
        created = document["created"]
        assert created.endswith("Z")
        assert created[10] == "T"
        return {"members": sorted(document), "rootfs": document["rootfs"], "owner": document["owner"]}

    answers = compare(scenario, ("runc",))
    assert "created" in answers["members"]


def test_bundle_is_absolute_and_clean(compare: Compare) -> None:
    """The state's bundle is absolute and clean, however --bundle was spelt (R200)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        bundle = stage.bundle("true")
        stage.runtime.prepare(bundle)
        spelt: list[tuple[list[str], Path]] = [
            (["--bundle", ".//bundle-1/./"], stage.directory),
            ([], bundle.directory),
        ]
        seen = []
        for flags, cwd in spelt:
            container = stage.container(bundle=bundle)
            with open(stage.directory / "out", "wb") as out:
                stage.runtime.call("create", *flags, container.id, cwd=cwd, out=out, err=out).ok()
            container.created = True
            seen.append(container.state()["bundle"])
            container.delete("--force").ok()
        return {"bundles": seen}

    assert compare(scenario)["bundles"] == ["STAGE/bundle-1"] * 2


_BAD_IDS = {
    "empty": "", "slash": "a/b", "dot": ".", "dots": "..", "up": "../x", "blank": "a b", "newline": "a\nb",
    "at": "@x", "colon": "x:y", "equals": "a=b", "tilde": "~", "accent": "é", "absolute": "/nonexistent",
    "not UTF-8": "\udcff", "1025 letters": "a" * 1025, "256 letters": "a" * 256,
}  # fmt: skip


@pytest.mark.parametrize("bad", list(_BAD_IDS))
def test_bad_id_is_refused(compare: Compare, bad: str) -> None:
    """An id outside the closed set is refused by create and run, and nothing is made."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("true", container_id=_BAD_IDS[bad])
        codes = []
        for verb in ("create", "run"):
            flags = ("--bundle", str(container.bundle.directory))
            result = stage.runtime.call(verb, *flags, container.id)
            result.refused("id")
            assert result.err.strip(), "no error text"
            codes.append(result.code)
        assert stage.runtime.ids() == []
        return {"codes": codes}

    # crun takes most of these ids, so there is no comparison with it here.
    assert compare(scenario, ("runc",))["codes"] == [1, 1]


@pytest.mark.skipif(
    runtime_under_test() == "crun",
    reason="`crun delete` of 1.8 removes whatever directory the id leads to: /tmp, for one",
)
@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete"])
@pytest.mark.parametrize("bad", list(_BAD_IDS))
def test_bad_id_is_unknown(stage: Stage, verb: str, bad: str) -> None:
    """Verbs on an id that no container can have fail in words and touch nothing."""
    (stage.directory / "x").mkdir()
    stage.runtime.call(verb, _BAD_IDS[bad]).refused("id")
    assert (stage.directory / "x").is_dir()


@pytest.mark.parametrize("good", ["+", "_", "A_b+c.d-e", "a..b", "1"])
def test_unusual_id_is_taken(stage: Stage, good: str) -> None:
    """Letters, digits, `_+-.` make an id, as with runc."""
    container_id = f"{new_id()}{good}"
    container = stage.container("true", container_id=container_id)
    container.create().ok()
    assert stage.runtime.ids() == [container_id]
    assert container.finish() == ""


@pytest.mark.parametrize("verb", ["create", "run", "start", "state", "kill", "delete"])
def test_number_of_arguments(compare: Compare, verb: str) -> None:
    """No id, or too many words, is refused with exit code 1 and words on stderr."""

    def scenario(stage: Stage) -> dict[str, Any]:
        bundle = stage.bundle("true")
        none = stage.runtime.call(verb, cwd=bundle.directory).refused(f"{verb}: ", "ID")
        many = stage.runtime.call(verb, "a", "b", "c", cwd=bundle.directory).refused(f"{verb}: ", "ID")
        assert none.err.strip()
        assert many.err.strip()
        assert stage.runtime.ids() == []
        return {"codes": [none.code, many.code]}

    assert compare(scenario)["codes"] == [1, 1]


def test_no_bundle(compare: Compare) -> None:
    """A bundle directory that is missing, or has no config.json or no JSON in it, is refused."""

    def scenario(stage: Stage) -> dict[str, Any]:
        bundle = stage.bundle("true")
        codes = [
            stage.runtime.call("create", "--bundle", "/nonexistent", new_id()).refused("/nonexistent").code
        ]
        texts = {
            None: "no such file", "": "not JSON", "{": "not JSON", "[]": "not a JSON object", "{}": "/ociVersion: ",
            '{"ociVersion": 1}': "/ociVersion: ", "\udcff": "not UTF-8",
        }  # fmt: skip
        for text, words in texts.items():
            bundle.config_file.unlink(missing_ok=True)
            if text is not None:
                bundle.config_file.write_bytes(text.encode("utf-8", "surrogateescape"))
            for verb in ("create", "run"):
                result = stage.runtime.call(verb, "--bundle", str(bundle.directory), new_id())
                codes.append(result.refused(words).code)
        assert stage.runtime.ids() == []
        return {"codes": codes}

    assert set(compare(scenario)["codes"]) == {1}


def test_options_after_the_id(compare: Compare) -> None:
    """Options may come after the container id, as with runc."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sleep", "100")
        pid_file = stage.directory / "pid"
        where = str(container.bundle.directory)
        with open(stage.directory / "out", "wb") as out:
            create = stage.runtime.call(
                "create", container.id, "--bundle", where, "--pid-file", str(pid_file), out=out, err=out
            )
        container.created = create.code == 0
        kill = stage.runtime.call("kill", container.id, "KILL", "--all")
        delete = stage.runtime.call("delete", container.id, "--force")
        return {"codes": [create.code, kill.code, delete.code], "pid file": pid_file.read_text().isdigit()}

    answers = compare(scenario, ("runc",))
    assert answers == {"codes": [0, 0, 0], "pid file": True}


def test_pid_file(compare: Compare) -> None:
    """The pid file has the digits of state's pid and no newline."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("true")
        pid_file = stage.directory / "pid"
        container.create("--pid-file", str(pid_file)).ok()
        same = pid_file.read_text() == str(container.state()["pid"])
        others = sorted(name for name in os.listdir(stage.directory) if "pid" in name)
        container.delete("--force").ok()
        return {"the state's pid": same, "stays": pid_file.exists(), "files": others}

    assert compare(scenario) == {"the state's pid": True, "stays": True, "files": ["pid"]}


def test_pid_file_that_cannot_be_written(compare: Compare) -> None:
    """A pid file that can't be written fails create, and nothing of the container is left."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("true")
        result = container.create("--pid-file", "/nonexistent/pid")
        result.refused("/nonexistent/")
        return {"code": result.code, "ids": stage.runtime.ids()}

    assert compare(scenario) == {"code": 1, "ids": []}


_TRAP = "trap 'echo WORD; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
_KILLS = ["TERM", "SIGTERM", "term", "sigterm", "15", "USR1", "10"]


@pytest.mark.parametrize("name", _KILLS)
def test_signal_names(compare: Compare, name: str) -> None:
    """A signal is named by number, or by name with or without SIG, in either case; all reach the program."""

    def scenario(stage: Stage) -> dict[str, Any]:
        # A signal that comes before the trap is set would be lost: wait for the word.
        trapped = "USR1" if name in ("USR1", "10") else "TERM"
        script = _TRAP.replace("TERM", trapped).replace("WORD", "got it")
        container = stage.container("sh", "-c", script)
        container.create().ok()
        container.start().ok()
        container.wait_for_output("ready\n")
        code = container.kill(name).code
        container.wait_for("stopped")
        container.delete().ok()
        return {"code": code, "output": container.output()}

    # crun knows no lower-case names, and sends signal 0 then.
    answers = compare(scenario, PEERS if name == name.upper() else ("runc",))
    assert answers == {"code": 0, "output": "ready\ngot it\n"}


def test_kill_without_a_signal(compare: Compare) -> None:
    """The default signal is TERM."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", _TRAP.replace("WORD", "TERM"))
        container.create().ok()
        container.start().ok()
        container.wait_for_output("ready\n")
        code = container.kill().code
        container.wait_for("stopped")
        container.delete().ok()
        return {"code": code, "output": container.output()}

    assert compare(scenario) == {"code": 0, "output": "ready\nTERM\n"}


def test_an_empty_signal_is_none(compare: Compare) -> None:
    """`kill ID ''`, as a script with an unset variable calls it, sends TERM."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.in_state("created")
        code = container.kill("").code
        container.wait_for("stopped")
        return {"code": code}

    assert compare(scenario, ("runc",)) == {"code": 0}


def wait_until(holds: Callable[[], object]) -> None:
    """Ask again and again until the answer is yes."""
    end = time.monotonic() + 10 * PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_init_that_is_ending_has_stopped(compare: Compare) -> None:
    """The first process of a pid namespace ends after all others; while it waits for one, it is nothing to start."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.in_state("created")
        pid = container.state()["pid"]
        command = ["nsenter", "--target", str(pid), "--pid", "sleep", "1000"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as parent:
            children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
            wait_until(children.read_text)
            parent.send_signal(signal.SIGSTOP)  # it does not see that its child has ended
            container.kill("TERM").ok()
            wait_until(lambda: container.status() == "stopped")
            answers = {"init": os.path.exists(f"/proc/{pid}"), "start": container.start().code}
            parent.send_signal(signal.SIGCONT)
        container.delete().ok()
        return answers

    assert compare(scenario, ("runc",)) == {"init": True, "start": 1}


def test_kill_with_a_bad_signal(compare: Compare) -> None:
    """A signal that does not exist is refused and the container lives on."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.in_state("running")
        answers: dict[str, Any] = {f"kill {name}": container.kill(name).code for name in ("FOO", "99")}
        answers["still"] = container.status()
        return answers

    answers = compare(scenario)
    if runtime_under_test() != "crun":
        assert answers == {"kill FOO": 1, "kill 99": 1, "still": "running"}


def test_term_kills_a_created_container(compare: Compare) -> None:
    """TERM ends a container that waits for start."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.in_state("created")
        code = container.kill("TERM").code
        if stage.runtime.name != "crun":
            container.wait_for("stopped")
        status = container.status()
        container.delete("--force").ok()
        return {"TERM kills a created container": [code, status]}

    answers = compare(scenario)
    if runtime_under_test() != "crun":
        assert answers["TERM kills a created container"] == [0, "stopped"]


def test_kill_all_reaches_every_process(compare: Compare) -> None:
    """With --all, kill reaches the processes that init has started, also without a pid namespace."""

    def edit(config: Config) -> None:
        config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "pid"]

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", "sleep 100 & sleep 100 & echo ready; wait", edit=edit)
        container.create().ok()
        container.start().ok()
        container.wait_for_output("ready\n")
        code = stage.runtime.call("kill", "--all", container.id, "KILL").code
        container.wait_for("stopped")
        return {"code": code, "delete": container.delete().code}

    assert compare(scenario) == {"code": 0, "delete": 0}


def test_id_can_be_used_again(compare: Compare) -> None:
    """After delete the same id makes a new container."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("echo", "hello")
        outputs = []
        for _ in range(2):
            container.create().ok()
            outputs.append(container.finish())
        return {"outputs": outputs}

    assert compare(scenario)["outputs"] == ["hello\n", "hello\n"]


def test_later_edits_of_the_config_have_no_effect(compare: Compare) -> None:
    """What start runs is what config.json said at create (R207)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        log = stage.directory / "log"
        container = stage.container("echo", "before")
        for text in ("before", "after"):
            container.bundle.config["process"]["args"] = ["echo", text]
            words = ["sh", "-c", f"cat >/dev/null; echo {text} >>{log}"]
            hook = {"path": "/bin/sh", "args": words}
            container.bundle.config["hooks"] = {"poststart": [hook], "poststop": [hook]}
            container.bundle.write()
            if text == "before":
                container.create().ok()
        return {"output": container.finish(), "hooks": log.read_text()}

    assert compare(scenario) == {"output": "before\n", "hooks": "before\nbefore\n"}


def test_create_does_not_run_the_program(compare: Compare) -> None:
    """The program runs at start and not before (R206)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("echo", "run")
        container.create().ok()
        before = container.output()
        return {"before": before, "after": container.finish()}

    assert compare(scenario) == {"before": "", "after": "run\n"}
