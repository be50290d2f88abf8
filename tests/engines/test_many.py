# SPDX-License-Identifier: Apache-2.0
"""Many containers through each engine, in a row and at once, leave nothing behind.

The gate runs OCIRUNTIME_TEST_ROUNDS (10) in a row; docs/engines.md tells of a run of 100.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from tests.engines.engine import Engine
from tests.harness import leaks

Name = Callable[[], str]
ROUNDS = int(os.environ.get("OCIRUNTIME_TEST_ROUNDS", "10"))
AT_ONCE = 20


@pytest.fixture(params=["containerd", "docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Engine)
    return found


@pytest.fixture(autouse=True)
def nothing_more_than_before(engine: Engine) -> object:
    """Processes, mounts, cgroups, network namespaces and state directories afterwards are those from before."""
    before = leaks.take(engine.directory)
    yield

    def may_stay(line: str) -> bool:
        """The cgroup above all containers of the session, and conmon's, are removed with the engine."""
        return line.startswith("cgroup ") and os.path.basename(line) in engine.parents()

    assert leaks.left_behind(before, engine.directory, 10, may_stay)[0] == []


@pytest.mark.slow
def test_in_a_row(engine: Engine, new_name: Name) -> None:
    """One after the other."""
    for number in range(ROUNDS):
        done = engine.call(*engine.run_words(new_name(), "echo", f"run {number}", flags=("--rm",))).ok()
        assert done.out == f"run {number}\n"


@pytest.mark.slow
def test_at_once(engine: Engine, new_name: Name) -> None:
    """All at the same time."""
    began = []
    for number in range(AT_ONCE):
        words = engine.run_words(new_name(), "echo", f"run {number}", flags=("--rm",))
        began.append(
            engine.begin(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        )
    for number, process in enumerate(began):
        out, err = process.communicate(timeout=170)
        assert (process.returncode, out) == (0, f"run {number}\n".encode()), err
