# SPDX-License-Identifier: Apache-2.0
"""What does the systemd driver say where no systemd can be reached, and what does it leave?"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.apart import own_mounts
from tests.harness.cgroup_files import ROOT, V2, at, remove
from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS
from tests.harness.stage import new_id

if TYPE_CHECKING:
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(runtime_under_test() in PEERS, reason="the words are this runtime's own")


def test_nothing_is_left(stage: Stage) -> None:
    """Where none can be reached, create says so once, and leaves nothing that would need one."""
    with own_mounts(stage, "private") as prefix:
        subprocess.run([*prefix, "mount", "-t", "tmpfs", "none", "/run"], check=True)
        container = stage.container("true")
        result = container.create(options=["--cgroup-manager", "systemd"])
        result.refused(
            "start scope", "systemd can't be reached: /run/systemd/private: no such file or directory"
        )
        assert result.err.count("can't be reached") == 1
        assert not (stage.runtime.root / container.id).exists()


def test_a_cgroup_of_the_unit_is_there(stage: Stage) -> None:
    """Neither create nor its undo can reach it, for the same reason: the hint is said once. Later delete goes on."""
    name = f"oci-{new_id()}.scope"
    left = f"{ROOT}/{name}" if V2 else f"{ROOT}/pids/{name}"
    os.mkdir(left)
    try:
        with own_mounts(stage, "private") as prefix:
            subprocess.run([*prefix, "mount", "-t", "tmpfs", "none", "/run"], check=True)
            edit = at(f"-.slice:oci:{name.removeprefix('oci-').removesuffix('.scope')}")
            container = stage.container("true", edit=edit)
            result = container.create(options=["--cgroup-manager", "systemd"])
            result.refused("start scope", "; and then: undo start scope", "--cgroup-manager cgroupfs")
            assert result.err.count("can't be reached") == 2
            assert result.err.count("--cgroup-manager cgroupfs") == 1
            os.rmdir(left)
            container.delete("--force").ok()
            assert not (stage.runtime.root / container.id).exists()
    finally:
        remove(name)
