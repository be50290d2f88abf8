# SPDX-License-Identifier: Apache-2.0
"""A container without a mount namespace: `delete` takes its mounts down, and never one of the host's. (invariant 20)"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.apart import own_mounts
from tests.harness.configuration import Config, add_bind, without_namespace

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.stage import Stage

CREATES = 60


@pytest.fixture
def one_host(stage: Stage) -> Iterator[list[str]]:
    """A mount namespace in which all verbs run, as on a host that can be done without; a prefix that enters it."""
    with own_mounts(stage, "private") as prefix:
        yield prefix


def _mount_points(prefix: list[str]) -> list[str]:
    table = subprocess.run(
        [*prefix, "cat", "/proc/self/mountinfo"], check=True, capture_output=True, text=True
    )
    return [line.split()[4] for line in table.stdout.splitlines()]


def _without_namespace(config: Config, volume: Path) -> None:
    without_namespace(config, "mount")
    config["linux"].pop("maskedPaths")
    config["linux"].pop("readonlyPaths")
    config["root"]["readonly"] = False
    config["mounts"] = []
    add_bind(config, str(volume), "/volume")
    config["mounts"].append({"destination": "/volume/point/t", "type": "tmpfs", "source": "tmpfs"})


def test_exchanged_directories(stage: Stage, one_host: list[str], attack: Path, tmp_path: Path) -> None:
    """A volume's directory that becomes a link during the unmount does not lead to a mount of the host's."""
    volume, host = tmp_path / "volume", tmp_path / "host"
    for place in (volume / "point/t", host / "t"):
        place.mkdir(parents=True)
    (volume / "link").symlink_to(host)
    subprocess.run([*one_host, "mount", "-t", "tmpfs", "host", str(host / "t")], check=True)
    before = _mount_points(one_host)
    bundle = stage.bundle("true", edit=lambda config: _without_namespace(config, volume))
    attacker = subprocess.Popen([attack, "swap", volume / "point", volume / "link"])
    deleted = 0
    try:
        for _ in range(CREATES):
            container = stage.container(bundle=bundle)
            if container.create().code == 0:  # else the tmpfs would have gone behind the link
                container.delete("--force").ok()
                deleted += 1
            assert _mount_points(one_host) == before, deleted
        assert attacker.poll() is None, "the attacker has given up"
    finally:
        attacker.kill()
        attacker.wait()
    assert deleted


def test_several_on_one_place(stage: Stage, one_host: list[str], tmp_path: Path) -> None:
    """Mounts on top of each other go as well, from the top, and what the program has mounted itself."""
    (tmp_path / "volume/point/t").mkdir(parents=True)

    def edit(config: Config) -> None:
        _without_namespace(config, tmp_path / "volume")
        config["mounts"] += [config["mounts"][-1], config["mounts"][-1]]

    before = _mount_points(one_host)
    container = stage.container("true", edit=edit)
    container.create().ok()
    added = len(_mount_points(one_host)) - len(before)
    assert added == 5  # the root, the volume, three at one place
    container.delete("--force").ok()
    assert _mount_points(one_host) == before
