# SPDX-License-Identifier: Apache-2.0
"""`inspect`: is what it says of a container what was asked for, and what the kernel has?"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.driver import Container
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(runtime_under_test() in ("runc", "crun"), reason="a verb of our own")


def _limited(config: Config) -> None:
    config["linux"]["resources"]["pids"] = {"limit": 77}
    config["process"]["env"].append("MARK=here")


def _asked(container: Container) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(container.runtime.call("inspect", container.id).ok().out)
    return found


def test_a_running_container(stage: Stage) -> None:
    """Config, state, journal, namespaces and cgroup values."""
    container = stage.running(edit=_limited)
    found = _asked(container)
    assert found["state"] == json.loads(container.runtime.call("state", container.id).ok().out)
    assert found["config"] == container.bundle.config
    assert found["stateDirectory"]["path"] == f"{stage.runtime.root}/{container.id}"
    assert {"state.json", "journal", "lock"} <= set(found["stateDirectory"]["files"])
    assert {"make_cgroup", "init"} <= {entry["op"] for entry in found["journal"]}
    pid = found["state"]["pid"]
    assert found["process"]["namespaces"]["pid"] == os.readlink(f"/proc/{pid}/ns/pid")
    assert found["process"]["namespaces"]["pid"] != os.readlink("/proc/self/ns/pid")
    limits = [group["values"].get("pids.max") for group in found["cgroups"].values()]
    assert "77" in limits
    assert "updatedResources" not in found


def test_after_an_update(stage: Stage) -> None:
    """The config stays as it was; the cgroup and the limits of update show what holds."""
    container = stage.running(edit=_limited)
    container.runtime.call("update", "--pids-limit", "55", container.id).ok()
    found = _asked(container)
    assert found["config"]["linux"]["resources"]["pids"] == {"limit": 77}
    assert found["updatedResources"]["pids"] == {"limit": 55}
    assert "55" in [group["values"].get("pids.max") for group in found["cgroups"].values()]


def test_a_stopped_container(stage: Stage) -> None:
    """No process, and the same files."""
    container = stage.in_state("stopped")
    found = _asked(container)
    assert found["state"]["status"] == "stopped"
    assert found["process"] is None


def test_what_can_not_be_read_is_named(stage: Stage) -> None:
    """A bug report of a damaged container is the one that is needed most."""
    container = stage.in_state("created")
    kept = stage.runtime.root / container.id / "config.json"
    kept.write_text("{")
    (stage.runtime.root / container.id / "journal").unlink()
    found = _asked(container)
    assert "config.json: not JSON" in found["config"]["error"]
    assert found["journal"] == []
    assert found["state"]["status"] == "created"
    container.delete("--force").ok()


def test_an_unknown_container(stage: Stage) -> None:
    """The words that all verbs have."""
    stage.runtime.call("inspect", "nothing-there").refused("inspect: container does not exist: nothing-there")
