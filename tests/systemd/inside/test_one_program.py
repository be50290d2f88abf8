# SPDX-License-Identifier: Apache-2.0
"""With the systemd driver, too, a snapshot does each verb itself, and does not begin anew with the ordinary launcher."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import ENVIRONMENT
from tests.systemd.inside import units

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.configuration import Config
    from tests.harness.driver import Runtime
    from tests.harness.stage import Stage

# In the hybrid machine only: else there is no controller.
_HAS_LIMITS = not os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def executed(runtime: Runtime, log: Path, *words: str, code: int = 0) -> int:
    """How many programs the process of a verb becomes, itself included; those of init and of hooks don't count."""
    tracing = ["strace", "-qq", "-e", "trace=execve", "-o", str(log)]
    with open(log.with_suffix(".output"), "w+b") as output:
        done = subprocess.run(
            [*tracing, *runtime.argv(*words)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=ENVIRONMENT, check=False
        )  # fmt: skip
        output.seek(0)
        assert done.returncode == code, output.read()
    return len([line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("execve(")])


@pytest.mark.parametrize("hooks", [False, True], ids=["plain", "hooks"])
def test_each_verb(stage: Stage, hooks: bool) -> None:
    """As many programs as `state`, which never goes over."""

    def edit(config: Config) -> None:
        if hooks:
            config["hooks"] = {"poststart": [{"path": "/bin/true"}], "poststop": [{"path": "/bin/true"}]}

    container = stage.container("sleep", "100", edit=edit)
    bundle = ["--bundle", str(container.bundle.directory)]
    log = stage.directory / "log"
    found = {"create": executed(stage.runtime, log, "create", *bundle, container.id)}
    container.created = True
    for verb in ("state", "start", "pause", "resume", "ps"):
        found[verb] = executed(stage.runtime, log, verb, container.id)
    if _HAS_LIMITS:
        found["update"] = executed(stage.runtime, log, "update", "--pids-limit", "50", container.id)
        assert units.shown(f"ociruntime-{container.id}.scope", "TasksMax") == {"TasksMax": "50"}
    found["exec"] = executed(stage.runtime, log, "exec", container.id, "true")
    found["delete"] = executed(stage.runtime, log, "delete", "--force", container.id)
    container.created = False
    container.bundle.config["process"]["args"] = ["sh", "-c", "exit 3"]
    container.bundle.write()
    found["run"] = executed(stage.runtime, log, "run", *bundle, container.id, code=3)
    assert found == dict.fromkeys(found, found["state"])
    assert units.ours() == []


def test_what_fails(stage: Stage) -> None:
    """A create that systemd refuses, and a start whose hook fails, which undoes all."""
    log = stage.directory / "log"
    container = stage.container("sleep", "100")
    bundle = ["--bundle", str(container.bundle.directory)]
    config = container.bundle.config
    config.setdefault("annotations", {})["org.systemd.property.CollectMode"] = "'never'"
    container.bundle.write()
    found = {"create": executed(stage.runtime, log, "create", *bundle, container.id, code=1)}
    del config["annotations"]["org.systemd.property.CollectMode"]
    config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}
    container.bundle.write()
    container.create().ok()
    found["state"] = executed(stage.runtime, log, "state", container.id)
    found["start"] = executed(stage.runtime, log, "start", container.id, code=1)
    stage.runtime.call("delete", "--force", container.id)
    assert found == dict.fromkeys(found, found["state"])
    assert units.ours() == []
