# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that need a systemd: outside, the machines; inside, what every test that makes containers has."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import PATIENCE
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
def machines(
    tmp_path_factory: pytest.TempPathFactory, hybrid_host_for_crun: None
) -> Iterator[dict[str, Machine]]:
    """The machines, by kind: both boot at the same time, once for the session, whose worker has all these tests.

    With every hierarchy that a test in them may mount already there: the machine has a cgroup of its own in it.
    """
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
def machine(request: pytest.FixtureRequest, machines: dict[str, Machine]) -> Iterator[Machine]:
    """The machine of the kind that the test asks for; the test leaves no cgroup in it."""
    found = machines[request.param]
    before = found.left()
    yield found
    end = time.monotonic() + 5.0 * PATIENCE  # systemd forgets an empty slice a little later
    while (left := [path for path in found.left() if path not in before]) and time.monotonic() < end:
        time.sleep(0.05)
    assert left == [], "a cgroup is left in the machine"
