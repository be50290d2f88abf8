# SPDX-License-Identifier: Apache-2.0
"""Does a container run, with its limits and device rules, where only cgroup v2 is mounted?

The first tests of the virtual machine, with the C part that this machine has built; all of them: run-suite.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.harness.rootfs import cache_directory

HERE = Path(__file__).parent
IMAGE = Path(os.environ.get("VM_CACHE") or cache_directory() / "vm")
SECONDS = 600

# A container's life, a limit, device rules, a small memory limit, and the cgroup's removal.
TESTS = (
    "tests/integration/test_cgroups.py::test_memory_beyond_the_limit",
    "tests/integration/test_cgroups.py::test_default_devices_stay_usable",
    "tests/integration/test_cgroups.py::test_small_memory_limits",
    "tests/integration/test_cgroups.py::test_pids_zero",
    "tests/integration/test_cgroups.py::test_leftover_processes_are_killed",
)


@pytest.mark.vm
@pytest.mark.root
def test_containers_on_cgroup_v2() -> None:
    """Limits, device rules and removal work on cgroup v2 below systemd, where Debian's kernel runs."""
    if not (IMAGE / "key").exists() or shutil.which("qemu-system-x86_64") is None:
        pytest.skip("no image of the virtual machine: tests/vm/vm-build makes it (two minutes, 700 MB)")
    done = subprocess.run(
        [HERE / "run-suite", "--built", "--timeout", str(SECONDS), "-q", *TESTS],
        env={**os.environ, "VM_BUILD": "no", "VM_CACHE": str(IMAGE)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS + 60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "cgroup2fs" in done.stdout
    assert "7 passed" in done.stdout
