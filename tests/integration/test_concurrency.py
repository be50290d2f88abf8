# SPDX-License-Identifier: Apache-2.0
"""Do verbs that run at the same time on one container keep out of each other's way?"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_bind, add_hook
from tests.harness.driver import PATIENCE, TIMEOUT
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

_AT_ONCE = 6


def _codes(processes: list[subprocess.Popen[bytes]]) -> list[int]:
    codes = []
    for process in processes:
        _, err = process.communicate(timeout=TIMEOUT)
        assert b"Traceback" not in (err or b""), err
        codes.append(process.returncode)
    return sorted(codes)


def test_many_creates_of_one_id(stage: Stage) -> None:
    """Of several creates of one id exactly one succeeds, and its container works (R223)."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc 1.1 loses the winner's state in this race; of crun 1.8 several can win")
    container = stage.container("echo", "hello")
    call = ("create", "--bundle", str(container.bundle.directory), container.id)
    with open(container.out_file, "wb") as out, open(container.err_file, "wb") as err:
        codes = _codes([stage.runtime.start_call(*call, out=out, err=err) for _ in range(_AT_ONCE)])
    container.created = True
    assert codes == [0] + [1] * (_AT_ONCE - 1)
    container.start().ok()
    container.wait_for("stopped")
    container.delete().ok()
    assert container.output() == "hello\n"
    assert stage.runtime.ids() == []


def test_many_starts(stage: Stage) -> None:
    """Of several starts of one container exactly one succeeds, and the program runs once (R229)."""
    container = stage.in_state("created", "sh", "-c", "echo run; sleep 100")
    codes = _codes([stage.runtime.start_call("start", container.id) for _ in range(_AT_ONCE)])
    container.wait_for_output("run\n")
    assert codes == [0] + [1] * (_AT_ONCE - 1)
    assert container.output() == "run\n"


def test_many_forced_deletes(stage: Stage) -> None:
    """Several `delete --force` at once all succeed and leave nothing."""
    container = stage.in_state("running")
    codes = _codes([stage.runtime.start_call("delete", "--force", container.id) for _ in range(_AT_ONCE)])
    container.created = False
    assert codes == [0] * _AT_ONCE
    assert stage.runtime.ids() == []


def test_init_killed_from_outside(compare: Compare) -> None:
    """When something else kills init, the container is stopped and can be deleted."""

    def scenario(stage: Stage) -> dict[str, Any]:
        states = []
        for state in ("created", "running"):
            container = stage.in_state(state)
            os.kill(container.state()["pid"], signal.SIGKILL)
            container.wait_for("stopped")
            states.append([container.state()["pid"], container.kill("0").code, container.delete().code])
        return {"states": states, "left": stage.runtime.ids()}

    assert compare(scenario) == {"states": [[0, 1, 0]] * 2, "left": []}


def _in_slow_start_hook(stage: Stage, kind: str) -> tuple[Container, subprocess.Popen[bytes]]:
    """A container whose `start` is in a hook that takes long."""
    notes = stage.directory / "notes"
    notes.mkdir()

    def edit(config: Config) -> None:
        add_bind(config, str(notes), "/notes", "rw")
        directory = "/notes" if kind == "startContainer" else str(notes)
        add_hook(config, kind, "/bin/sh", "-c", f"touch {directory}/runs; exec sleep 600")

    container = stage.container("sleep", "100", edit=edit)
    (container.bundle.rootfs / "notes").mkdir()
    container.create().ok()
    process = stage.runtime.start_call("start", container.id)
    _wait_for_file(notes / "runs")
    return container, process


def _wait_for_file(path: Path) -> None:
    end = time.monotonic() + 10 * PATIENCE
    while not path.exists():
        assert time.monotonic() < end, f"{path} has not appeared"
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_others_do_not_wait_for_a_hook_of_start(stage: Stage, kind: str) -> None:
    """While start runs a hook, state answers at once, and `delete --force` ends it all at once."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc runs poststart in create, and startContainer hooks inside init")
    container, starter = _in_slow_start_hook(stage, kind)
    began = time.monotonic()
    assert container.status() == ("created" if kind == "startContainer" else "running")
    container.delete("--force").ok()
    assert time.monotonic() - began < 5 * PATIENCE
    assert stage.runtime.ids() == []
    if kind == "poststart":
        starter.send_signal(signal.SIGTERM)
    _, err = starter.communicate(timeout=10 * PATIENCE)
    assert starter.returncode != 0
    assert b"Traceback" not in err


def test_kill_during_a_hook_of_start(stage: Stage) -> None:
    """While start runs a startContainer hook, kill ends the container, and start fails in words."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc and crun run startContainer hooks inside init")
    container, starter = _in_slow_start_hook(stage, "startContainer")
    container.kill("KILL").ok()
    _, err = starter.communicate(timeout=10 * PATIENCE)
    assert starter.returncode != 0
    assert b"Traceback" not in err
    container.created = container.status() != ""


def test_lost_starter(stage: Stage) -> None:
    """A start that is killed in a startContainer hook leaves a created container that can be started."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc and crun run startContainer hooks inside init")
    container, starter = _in_slow_start_hook(stage, "startContainer")
    starter.kill()
    starter.communicate()
    assert container.status() == "created"
    second = stage.runtime.start_call("start", container.id)
    time.sleep(0.2 * PATIENCE)
    assert second.poll() is None, "the hook runs again, and takes long"
    container.delete("--force").ok()
    second.communicate(timeout=10 * PATIENCE)
    assert second.returncode != 0
