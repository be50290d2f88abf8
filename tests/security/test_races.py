# SPDX-License-Identifier: Apache-2.0
"""Invariant 4 under race: an attacker exchanges a directory of a shared volume with a link while containers are created.

CVE-2021-30465 (the mount lands outside) and CVE-2024-45310 (an empty file or directory is made outside).
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING

import pytest

import ociruntime
from ociruntime import Options
from ociruntime.bundle import Bundle
from ociruntime.errors import RuntimeFailure
from tests.harness.configuration import Config, add_bind, default_config, writable_root
from tests.harness.stage import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.stage import Stage
    from tests.security.conftest import Canary

CREATES = 1000


class Race:
    """A volume in which `point` is by turns a directory and a link to the canary, exchanged all the time."""

    def __init__(self, attack: Path, volume: Path, canary: Canary) -> None:
        self.volume = volume
        (volume / "point/deep").mkdir(parents=True)
        (volume / "link").symlink_to(str(canary))
        self._process = subprocess.Popen([attack, "swap", volume / "point", volume / "link"])

    def stop(self) -> None:
        """End the exchange."""
        assert self._process.poll() is None, "the attacker has given up"
        self._process.kill()
        self._process.wait()


@pytest.fixture
def race(tmp_path: Path, attack: Path, canary: Canary) -> Iterator[Race]:
    """The attacker at work, until the test's end."""
    volume = tmp_path / "volume"
    volume.mkdir()
    made = Race(attack, volume, canary)
    yield made
    made.stop()


def _config(rootfs: Path, race: Race, source: Path, number: int) -> Config:
    """Five things at once that are put behind the point, under names that are not there yet."""
    config = default_config("true")
    writable_root(config)
    config["root"]["path"] = str(rootfs)
    config["mounts"] = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
    ]
    place = "/volume/point"
    add_bind(config, str(race.volume), "/volume")
    add_bind(config, str(source), f"{place}/directory-{number}/below")
    add_bind(config, str(source / "file"), f"{place}/file-{number}")
    config["mounts"].append({"destination": f"{place}/tmpfs-{number}", "type": "tmpfs", "source": "tmpfs"})
    config["linux"] = {
        "namespaces": [{"type": "pid"}, {"type": "mount"}],
        "devices": [
            {"path": f"{place}/device-{number}", "type": "c", "major": 1, "minor": 3, "uid": 1, "gid": 1}
        ],
    }
    config["process"]["cwd"] = f"{place}/cwd-{number}"
    config["process"]["rlimits"] = []
    del config["hostname"]
    return config


def _check_mounts(pid: int, source: Path, number: int) -> None:
    """A mount that went outside of the root would not be in the container's namespace any more."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
        lines = [line.split() for line in file]
    shown = "/".join(source.parts[-2:])  # of its file system, which may be mounted anywhere
    assert sum(shown in line[3] for line in lines) == 2, lines
    assert sum(f"tmpfs-{number}" in line[4] for line in lines) == 1, lines


@pytest.mark.slow
def test_exchanged_mount_points(stage: Stage, race: Race, canary: Canary, tmp_path: Path) -> None:
    """In 1,000 creates nothing is made or mounted outside, and both sides of the race are hit."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("bound\n")
    bundle = stage.bundle("true")
    options = Options(new_id(), cgroup_manager="disabled", no_new_keyring=True)
    null = os.open(os.devnull, os.O_RDWR)
    made, refused = 0, []
    try:
        for number in range(CREATES):
            config = json.dumps(_config(bundle.rootfs, race, source, number)).encode()
            loaded = Bundle(str(bundle.directory), str(bundle.config_file), config)
            try:
                created = ociruntime.create(
                    str(stage.runtime.root), loaded, options, stdio=(null, null, null)
                )
            except RuntimeFailure as failure:
                refused.append(str(failure))
                continue
            made += 1
            _check_mounts(created.pid, source, number)
            created.delete(force=True)
            created.reap()
    finally:
        os.close(null)
    canary.check()
    inside = bundle.rootfs / str(canary).lstrip("/")  # where the link leads, in the container
    assert any(inside.glob("directory-*")), refused[:3]
    assert any(race.volume.glob("*/directory-*")), refused[:3]
    assert made, refused[:3]  # how many depends on the machine: on a quiet one the attacker spoils most
