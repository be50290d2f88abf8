# SPDX-License-Identifier: Apache-2.0
"""Tests that need a process in a root file system of its own. Usage: ROOTFS=/path pytest test_in_rootfs.py"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ociruntime import Options, Result, bundle, make_config, run


@pytest.fixture
def in_rootfs(tmp_path: Path) -> Callable[..., Result]:
    """Run a program as root of a container whose /data is this test's directory."""
    (tmp_path / "data").mkdir()

    def run_it(*args: str) -> Result:
        binds = [(str(tmp_path / "data"), "/opt", "rw")]
        config = make_config(args, os.environ["ROOTFS"], preset="trusted", readonly=True, binds=binds)
        return run(str(tmp_path / "state"), bundle.made(config), Options("test"), capture=True, timeout=10)

    return run_it


def test_the_program_writes_its_file(in_rootfs: Callable[..., Result], tmp_path: Path) -> None:
    assert in_rootfs("/bin/sh", "-c", "hostname >/opt/name").ok
    assert (tmp_path / "data" / "name").read_text() == "container\n"


def test_it_can_not_write_elsewhere(in_rootfs: Callable[..., Result]) -> None:
    result = in_rootfs("/bin/touch", "/etc/x")
    assert (result.exit_code, b"Read-only file system" in result.stderr) == (1, True)
