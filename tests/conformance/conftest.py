# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the conformance tests: those of the integration tests, stage, comparison and leak check."""

from __future__ import annotations

from pathlib import Path

import pytest

# Fixtures become this directory's own by being imported.
from tests.integration.conftest import compare, nothing_left_behind, stage, time_limit

__all__ = ["compare", "nothing_left_behind", "stage", "time_limit"]

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this directory makes containers."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.root)
