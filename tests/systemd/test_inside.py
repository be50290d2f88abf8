# SPDX-License-Identifier: Apache-2.0
"""Does the runtime work where systemd is PID 1? The tests run inside such a machine; see machine.py and `boot`.

Each test here is a session of tests there: its report is the failure's text.
"""

from __future__ import annotations

import os
import sys

import pytest

from tests.harness.driver import DRIVER_VARIABLE
from tests.systemd.machine import VARIABLE, Machine

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# What is run: (kind of machine, cgroup driver, tests)
# A systemd in a container of this runtime, in a scope of the machine's systemd.
_INIT = "tests/integration/test_examples.py::test_an_example_prints_what_stands_beside_it[systemd]"
_INTEGRATION = [f"tests/integration/test_{name}.py" for name in ("cgroups", "update", "exec")]
_ENGINES = {name: f"tests/engines/test_{name}.py" for name in ("docker", "podman", "containerd", "cri")}
_SHIM = ["tests/engines/test_shim_containerd.py", "tests/engines/test_shim_cri.py"]
# What is about paths, which this driver does not take; a limit that the slice would have to have, too; and what runc 1.1
# does otherwise than with its other driver.
_NOT_WITH_SYSTEMD = [
    f"tests/integration/test_{name}"
    for name in (
        "cgroups.py::test_place",
        "cgroups.py::test_existing_directories_stay",
        "cgroups.py::test_parents_in_use_stay",
        "cgroups.py::test_busy_cgroup_is_refused",
        "cgroups.py::test_frozen_cgroup_is_refused",
        "update.py::test_each_flag",
        "update.py::test_refused",
    )
]
# Where v1 has the controllers, the machine with cgroup2 alone has no limits and no statistics of memory; containerd asks
# for limits by default.
_WITH_LIMITS = "limit or resources or memory or update or stats or metrics"
SESSIONS = {
    "driver on v2": ("v2", "systemd", ["tests/systemd/inside", _INIT]),
    # A user's own systemd has cgroups of v2 only, so podman's user is there.
    "driver on hybrid": (
        "hybrid",
        "systemd",
        ["tests/systemd/inside", _INIT, "-k", "not many_cycles and not user_podman"],
    ),
    "limits": (
        "hybrid",
        "systemd",
        [*_INTEGRATION, *(word for name in _NOT_WITH_SYSTEMD for word in ("--deselect", name))],
    ),
    "engines on v2": (
        "v2",
        "systemd",
        [_ENGINES["docker"], _ENGINES["podman"], "-k", f"not ({_WITH_LIMITS})"],
    ),
    "engines on hybrid": ("hybrid", "systemd", list(_ENGINES.values())),
    "our shim": ("hybrid", "systemd", list(_SHIM)),
}


def session_in(machine: Machine, driver: str, words: list[str]) -> None:
    """A session of tests in a machine; it must pass."""
    environment = {VARIABLE: machine.kind}
    if driver:
        environment[DRIVER_VARIABLE] = driver
    for name in ("RUNTIME", "OCIRUNTIME_TEST_PATIENCE", "CONTAINERD", "CTR", "DOCKERD", "DOCKER"):
        if name in os.environ:
            environment[name] = os.environ[name]
    inner = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "0", *words]
    done = machine.call("env", "-C", REPOSITORY, *inner, environment=environment)
    assert done.code == 0, f"in the machine with systemd ({machine.kind}):\n{done.out}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "driver", "words"), SESSIONS.values(), ids=SESSIONS.keys(), indirect=["machine"]
)
def test_session(machine: Machine, driver: str, words: list[str]) -> None:
    """Everything passes there."""
    session_in(machine, driver, words)
