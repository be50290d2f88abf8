# SPDX-License-Identifier: Apache-2.0
"""What do the verbs make of a create or delete that was interrupted? Queries show it; create, start, delete and gc finish it.

`tests/integration/test_crash.py` interrupts at every moment; here the two kinds of remains are made by hand.
"""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import Config, add_hook
from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from tests.harness.driver import Container
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the files of the state directory are this runtime's"
)


def _left(stage: Stage, operation: str, status: str = "running", note: Path | None = None) -> Container:
    """A container whose create or delete was interrupted when init was there; a poststop hook writes the note."""

    def edit(config: Config) -> None:
        if note is not None:
            add_hook(config, "poststop", "/bin/sh", "-c", f"echo ran >> {note}")

    container = stage.container("sleep", "100", edit=edit)
    container.create().ok()
    if status == "running":
        container.start().ok()
    state = stage.runtime.root / container.id / "state.json"
    if operation == "delete":
        state.rename(state.with_name("deleted.json"))
    else:
        state.unlink()
    return container


def _files(container: Container) -> list[str]:
    return sorted(os.listdir(container.runtime.root / container.id))


def _lives(pid: int) -> bool:
    """Whether it runs: the process that has adopted it may collect its exit status later."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


@pytest.mark.parametrize("operation", ["create", "delete"])
def test_queries_change_nothing(stage: Stage, operation: str) -> None:
    """list, state, ps and events run no hook, end no process and remove no file of what is left over."""
    note = stage.directory / "note"
    container = _left(stage, operation, note=note)
    before = _files(container)
    pid = container.state()["pid"]
    for words in (
        ["list"],
        ["list", "--quiet"],
        ["list", "--format", "json"],
        ["state", container.id],
        ["ps", container.id],
        ["events", "--stats", container.id],
        ["kill", container.id, "0"],
        ["exec", container.id, "true"],
        ["update", "--pids-limit", "100", container.id],
        ["features"],
    ):
        stage.runtime.call(*words)
        assert _files(container) == before, words
        assert _lives(pid), words
    assert not note.exists()
    assert (
        stage.runtime.call("gc").ok().out
        == f"{container.id}: its {operation} was interrupted, and is {_OUTCOME[operation]}\n"
    )
    container.created = False
    assert (note.read_text() if operation == "delete" else "ran\n") == "ran\n"
    assert not _lives(pid)


@pytest.mark.parametrize(
    ("operation", "status", "shown"),
    [("delete", "running", "running"), ("delete", "created", "created"), ("create", "created", "creating")],
)
def test_what_is_shown(stage: Stage, operation: str, status: str, shown: str) -> None:
    """While init lives: its status and pid; afterwards stopped. A warning says what happened and what helps."""
    container = _left(stage, operation, status)
    words = f"{container.id}: its {operation} was interrupted: `gc` or `delete --force` finishes it"
    result = stage.runtime.call("state", container.id).ok()
    state = json.loads(result.out)
    assert (state["id"], state["status"]) == (container.id, shown)
    assert _lives(state["pid"])
    assert result.err == f"ociruntime: warning: state: {words}\n"
    listed = stage.runtime.call("list", "--format", "json").ok()
    assert [(one["id"], one["status"], one["pid"]) for one in json.loads(listed.out)] == [
        (container.id, shown, state["pid"])
    ]
    assert listed.err == f"ociruntime: warning: list: {words}\n"
    os.kill(state["pid"], signal.SIGKILL)
    container.wait_for("stopped")
    assert container.state()["pid"] == 0
    assert container.id in stage.runtime.call("list", "--quiet").ok().out
    container.delete().ok()
    assert stage.runtime.ids() == []


def test_a_living_init_can_be_signalled(stage: Stage) -> None:
    """Kill reaches the init of a container that is half deleted."""
    container = _left(stage, "delete")
    container.kill("KILL").ok()
    container.wait_for("stopped")
    container.kill("KILL").refused("container not running")
    container.delete().ok()


_OUTCOME = {"create": "undone", "delete": "finished"}  # in the words of gc


@pytest.mark.parametrize("operation", ["create", "delete"])
@pytest.mark.parametrize("verb", ["create", "start", "delete", "delete --force", "gc"])
def test_who_finishes_it(stage: Stage, operation: str, verb: str) -> None:
    """Create (of the same id, which then works), start (which has nothing to start), delete and gc."""
    note = stage.directory / "note"
    container = _left(stage, operation, "created", note)
    pid = container.state()["pid"]
    if verb == "create":
        container.create().ok()
        assert container.status() == "created"
    elif verb == "start":
        container.start().refused("container does not exist")
    elif verb == "gc":
        assert (
            stage.runtime.call("gc").ok().out
            == f"{container.id}: its {operation} was interrupted, and is {_OUTCOME[operation]}\n"
        )
    else:
        result = container.delete(*verb.split()[1:]).ok()
        assert result.err == ""
    assert note.exists() == (operation == "delete")
    assert not _lives(pid)
    if verb == "create":
        container.delete("--force").ok()
    container.created = False
    assert stage.runtime.ids() == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["exec", "ID", "true"], "cannot exec in a container that is being deleted"),
        (["update", "--pids-limit", "10", "ID"], "cannot update a container that is being deleted"),
    ],
)
def test_what_is_refused(stage: Stage, words: list[str], expected: str) -> None:
    """No verb puts more into a container that is half deleted."""
    container = _left(stage, "delete")
    result = stage.runtime.call(*[container.id if word == "ID" else word for word in words])
    result.refused(expected, "its delete was interrupted")
    assert container.status() == "running"
    container.delete("--force").ok()


def test_a_delete_that_is_going_on(stage: Stage) -> None:
    """While a poststop hook of a delete runs, the container is stopped, without a warning, and gc lets it be."""
    note = stage.directory / "note"

    def edit(config: Config) -> None:
        add_hook(config, "poststop", "/bin/sh", "-c", f"echo $$ > {note}; exec sleep 100")

    container = stage.container("true", edit=edit)
    container.create().ok()
    container.kill("KILL").ok()
    container.wait_for("stopped")
    deleter = stage.runtime.start_call("delete", container.id)
    end = time.monotonic() + 10 * PATIENCE
    while not note.exists() or not note.read_text():
        assert time.monotonic() < end
        time.sleep(0.01)
    result = stage.runtime.call("state", container.id).ok()
    assert (json.loads(result.out)["status"], result.err) == ("stopped", "")
    assert stage.runtime.call("gc").ok().out == ""
    container.start().refused("cannot start a container that is being deleted")
    os.kill(int(note.read_text()), signal.SIGTERM)
    assert deleter.wait(10 * PATIENCE) == 0
    deleter.communicate()
    container.created = False
    assert stage.runtime.ids() == []
