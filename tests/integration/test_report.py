# SPDX-License-Identifier: Apache-2.0
"""`run --report` and `exec --report`: does the file say how the program ended, and what it used?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.configuration import Config
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(runtime_under_test() in ("runc", "crun"), reason="a flag of our own")


def _limited(config: Config) -> None:
    config["linux"]["resources"]["memory"] = {"limit": 32 << 20}


def _run(stage: Stage, script: str, path: Path) -> tuple[int, dict[str, Any]]:
    container = stage.container("sh", "-c", script, edit=_limited)
    done = stage.runtime.call(
        "run", "--report", str(path), "--bundle", str(container.bundle.directory), container.id
    )
    return done.code, json.loads(path.read_text())


def test_an_exit_code(stage: Stage, tmp_path: Path) -> None:
    """137 is an exit code here, and no signal."""
    (tmp_path / "report").write_text("{" * 5000)
    code, found = _run(stage, "exit 137", tmp_path / "report")
    assert code == 137
    assert (found["exitCode"], found["signal"], found["oomKilled"]) == (137, 0, False)
    assert found["memoryLimit"] == 32 << 20
    assert 0 < found["wallTime"] < 60
    assert found["cpuTime"] > 0


def test_out_of_memory(stage: Stage, tmp_path: Path) -> None:
    """The reason of a 137 that nobody can tell otherwise."""
    script = "exec 2>/dev/null; x=$(dd if=/dev/zero bs=100M count=1 | tr '\\0' a); exit 5"
    code, found = _run(stage, script, tmp_path / "report")
    assert (code, found["oomKilled"], found["oomKills"] >= 1) == (5, True, True)


def test_exec(stage: Stage, tmp_path: Path) -> None:
    """By wait4(2): what the program used itself."""
    container, path = stage.running(), tmp_path / "report"
    done = stage.runtime.call("exec", "--report", str(path), container.id, "sh", "-c", "kill -9 $$")
    found = json.loads(path.read_text())
    assert (done.code, found["exitCode"], found["signal"]) == (137, None, 9)
    assert found["memoryPeak"] > 100_000


def test_a_path_that_can_not_be_written(stage: Stage) -> None:
    """Told before anything is made."""
    container = stage.container("true")
    words = ["--bundle", str(container.bundle.directory), container.id]
    done = stage.runtime.call("run", "--report", "/nonexistent/report", *words)
    done.refused("run: flag --report: /nonexistent/report: ENOENT")
    stage.runtime.call("run", "--report", "/dev/full", *words).refused("run: write report: /dev/full: ENOSPC")
    stage.runtime.call("state", container.id).refused("container does not exist")


def test_with_detach(stage: Stage, tmp_path: Path) -> None:
    """Nobody would write it."""
    container = stage.container("true")
    words = ["--detach", "--bundle", str(container.bundle.directory), container.id]
    done = stage.runtime.call("run", "--report", str(tmp_path / "report"), *words)
    done.refused("run: flag --report: with --detach nobody waits")
