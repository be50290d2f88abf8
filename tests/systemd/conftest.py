# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that need a systemd: outside, the machines; inside, what every test that makes containers has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.systemd.machine import KINDS, VARIABLE, Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

INSIDE = VARIABLE in os.environ
# What is in the folder `inside` is collected in a machine with systemd only.
collect_ignore = [] if INSIDE else ["inside"]

if INSIDE:
    from tests.integration import conftest as _integration

    compare = _integration.compare
    nothing_left_behind = _integration.nothing_left_behind
    stage = _integration.stage
    time_limit = _integration.time_limit


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this directory makes containers."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Machine]]:
    """The machines, by kind: both boot at the same time, once for the session, whose worker has all these tests."""
    directory = tmp_path_factory.mktemp("systemd")
    found: dict[str, Machine] = {}
    try:
        for kind in KINDS:
            found[kind] = Machine(kind, directory)
        for machine in found.values():
            machine.wait()
        yield found
    finally:
        for machine in found.values():
            machine.stop()


@pytest.fixture
def machine(request: pytest.FixtureRequest, machines: dict[str, Machine]) -> Machine:
    """The machine of the kind that the test asks for."""
    return machines[request.param]
