# SPDX-License-Identifier: Apache-2.0
"""The command as a snapshot, which is built once for a session."""

from __future__ import annotations

import pytest

from ociruntime.cli.snapshot.build import BuildError, find_archive
from tests.harness import command
from tests.native.snapshots import LAUNCHER


@pytest.fixture(scope="session")
def snapshot() -> str:
    """The command."""
    try:
        find_archive()
    except BuildError as failure:
        pytest.skip(f"no static libpython: {failure}")
    return command.snapshot()


@pytest.fixture
def both(snapshot: str) -> tuple[str, str]:
    """The commands that are compared."""
    return LAUNCHER, snapshot
