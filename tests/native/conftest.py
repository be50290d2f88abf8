# SPDX-License-Identifier: Apache-2.0
"""The command as a snapshot, built once for a session."""

from __future__ import annotations

import pytest

from ociruntime.cli.snapshot.build import BuildError, build, find_archive
from tests.native.snapshots import LAUNCHER


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command."""
    try:
        find_archive()
    except BuildError as failure:
        pytest.skip(f"no static libpython: {failure}")
    target = tmp_path_factory.mktemp("snapshot") / "ociruntime"
    build(str(target))
    return str(target)


@pytest.fixture
def both(snapshot: str) -> tuple[str, str]:
    """The commands that are compared."""
    return LAUNCHER, snapshot
