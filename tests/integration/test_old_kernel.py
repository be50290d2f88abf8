# SPDX-License-Identifier: Apache-2.0
"""What is done where the kernel has no mount_setattr(2) (before 5.12)? strace answers ENOSYS in its place."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import add_bind
from tests.harness.driver import ENVIRONMENT, TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.configuration import Config
    from tests.harness.driver import Container
    from tests.harness.stage import Stage

pytestmark = pytest.mark.root


def _run_without_mount_setattr(container: Container) -> subprocess.CompletedProcess[str]:
    program = shutil.which("strace", path=ENVIRONMENT["PATH"])
    assert program, "no strace: apt-get install strace"
    return subprocess.run(
        [
            program, "-f", "-qq", "-o", "/dev/null", "-e", "inject=mount_setattr:error=ENOSYS",
            *container.runtime.argv("run", "--bundle", str(container.bundle.directory), container.id),
        ],
        env=ENVIRONMENT, timeout=TIMEOUT, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_options_and_masks_hold(stage: Stage, tmp_path: Path) -> None:
    """Mounts have their options, binds are read-only and slaves, and read-only paths and the root are read-only."""

    def edit(config: Config) -> None:
        config["root"]["readonly"] = True
        add_bind(config, str(tmp_path), "/mnt", "ro", "nosuid")

    script = (
        "grep -E ' /(mnt|dev/shm|proc/sys)? ' /proc/self/mountinfo; touch /mnt/x; touch /x; cat /proc/keys"
    )
    result = _run_without_mount_setattr(stage.container("sh", "-c", script, edit=edit))
    options = {line.split()[4]: line.split()[5].split(",") for line in result.stdout.splitlines()}
    assert "ro" in options["/"]
    assert {"ro", "nosuid"} <= set(options["/mnt"])
    assert {"nosuid", "nodev", "noexec"} <= set(options["/dev/shm"])
    assert "ro" in options["/proc/sys"]
    assert result.stderr.count("Read-only file system") == 2
    assert not (tmp_path / "x").exists()


def test_recursive_options_are_refused(stage: Stage, tmp_path: Path) -> None:
    """What only mount_setattr can do is an error that names the property and the call, not a weaker mount."""

    def edit(config: Config) -> None:
        add_bind(config, str(tmp_path), "/mnt", "rro")

    result = _run_without_mount_setattr(stage.container("true", edit=edit))
    assert result.returncode == 1
    assert "/mounts/" in result.stderr
    assert "mount setattr: ENOSYS" in result.stderr
