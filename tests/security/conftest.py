# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the attacks: the stage and leak check of the integration tests, an attacker's program, a canary."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.programs import compiled

# Fixtures become this directory's own by being imported.
from tests.integration.conftest import first_thread, nothing_left_behind, searchable, stage

if TYPE_CHECKING:
    from tests.harness.stage import Stage

__all__ = ["first_thread", "nothing_left_behind", "searchable", "stage"]

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this directory makes containers."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.root)


class Canary:
    """A directory outside every root file system; at its end a test asserts that nothing has changed it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "inner").mkdir(parents=True)
        for name in ("ptmx", "null", "console", "fd", "file", "inner/file"):
            path = directory / name
            path.write_text(f"canary {name}\n")
            path.chmod(0o640)
            os.chown(path, 12345, 12345)
        self._before = self._look()

    def __str__(self) -> str:
        return str(self.directory)

    def link_from(self, directory: Path) -> str:
        """The relative path from `directory` to the canary, as a link in it would have to say."""
        return os.path.relpath(self.directory, directory)

    def _look(self) -> dict[str, tuple[int, int, int, int, str]]:
        found = {}
        for path in [self.directory, *sorted(self.directory.rglob("*"))]:
            status = path.lstat()
            content = path.read_text() if stat.S_ISREG(status.st_mode) else ""
            name = str(path.relative_to(self.directory))
            found[name] = (status.st_mode, status.st_uid, status.st_gid, status.st_ino, content)
        return found

    def check(self) -> None:
        """Fails if a file was made, removed, replaced, written, or given another owner or mode."""
        assert self._look() == self._before


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    """A canary that no container is given."""
    return Canary(tmp_path / "canary")


@pytest.fixture
def own_mounts(stage: Stage) -> None:
    """The runtime runs in a mount namespace of the test's: a container that has none can spoil no more than that."""
    stage.runtime.command = ["unshare", "-m", "--propagation", "private", *stage.runtime.command]


@pytest.fixture(scope="session")
def attack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The attacker's program, static, so that it runs in any root."""
    return compiled(_HERE / "attack.c", tmp_path_factory.mktemp("attack") / "attack")
