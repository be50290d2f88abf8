# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that make containers: a stage, comparison with the peers, and the leak check."""

from __future__ import annotations

import fcntl
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import leaks, peers
from tests.harness.driver import MARK, PATIENCE, runtime_under_test
from tests.harness.programs import FIRST_THREAD, compiled
from tests.harness.rootfs import cache_directory
from tests.harness.stage import Stage, new_id

if TYPE_CHECKING:
    from tests.shim.client import Client
    from tests.shim.shim import Shim

# Fixtures become this directory's own by being imported.
from tests.integration.unprivileged import place, poor, user

__all__ = ["place", "poor", "user"]

MAKE_ROOTFS = Path(__file__).parents[2] / "bundle-examples" / "make-rootfs"
TIME_LIMIT = max(180, int(60 * PATIENCE))  # seconds
SLOW_TIME_LIMIT = max(900, int(120 * PATIENCE))
Compare = Callable[..., dict[str, Any]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this directory makes containers."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)


@pytest.fixture(autouse=True)
def time_limit(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test that hangs, so that the leak check can clean up and the session goes on."""
    seconds = SLOW_TIME_LIMIT if request.node.get_closest_marker("slow") else TIME_LIMIT

    def too_late(_number: int, _frame: object) -> None:
        pytest.fail(f"not finished after {seconds} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path: Path, hybrid_host_for_crun: None) -> Iterator[None]:
    """Fails the test that leaves a process, mount, cgroup, network namespace or state directory."""
    before = leaks.take(tmp_path)
    yield
    lines, now = leaks.left_behind(before, tmp_path)
    if lines:
        leaks.clean(before, now)
        pytest.fail("left behind:\n" + "\n".join(lines), pytrace=False)


@pytest.fixture
def stage(tmp_path: Path, nothing_left_behind: None) -> Iterator[Stage]:
    """The runtime under test, in a directory of its own."""
    made = Stage(runtime_under_test(), tmp_path / "stage")
    yield made
    made.close()


@pytest.fixture
def searchable(tmp_path: Path) -> Iterator[Path]:
    """A directory that everybody may search, unlike pytest's: peers open the rootfs as the container's root."""
    directory = Path(tempfile.mkdtemp(prefix=f"{MARK}-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    # Never through a mount that a test has left in it.
    subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)


@pytest.fixture(scope="session")
def first_thread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program whose first thread ends."""
    return compiled(FIRST_THREAD, tmp_path_factory.mktemp("first-thread") / "first_thread", "-pthread")


@pytest.fixture
def compare_with_users(searchable: Path, nothing_left_behind: None) -> Compare:
    """`compare` for containers in user namespaces."""

    def run(scenario: peers.Scenario, only: tuple[str, ...] = peers.PEERS) -> dict[str, Any]:
        return peers.compare(scenario, searchable, only)

    return run


@pytest.fixture
def compare(tmp_path: Path, nothing_left_behind: None) -> Compare:
    """A function from a scenario to the scenario's answers, after a check that runc and crun give the same."""

    def run(scenario: peers.Scenario, only: tuple[str, ...] = peers.PEERS) -> dict[str, Any]:
        return peers.compare(scenario, tmp_path, only)

    return run


@pytest.fixture(scope="session")
def busybox_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make-rootfs busybox` makes."""
    target = tmp_path_factory.mktemp("busybox") / "rootfs"
    subprocess.run([MAKE_ROOTFS, "busybox", target], check=True)
    return target


@pytest.fixture(scope="session")
def debian_root() -> Path:
    """What `make-rootfs debian` makes; kept, and shared with the other tests that want a Debian."""
    target = cache_directory() / "debian-bookworm"
    with open(f"{target}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.run([MAKE_ROOTFS, "debian", target], check=True, timeout=900)
    return target


@pytest.fixture(scope="session")
def systemd_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make-rootfs systemd` makes."""
    target = tmp_path_factory.mktemp("systemd") / "rootfs"
    subprocess.run([MAKE_ROOTFS, "systemd", target], check=True)
    return target


@pytest.fixture
def shim(stage: Stage) -> Iterator[Shim]:
    """The machinery of one shim."""
    if runtime_under_test() != "ociruntime":
        pytest.skip("RUNTIME names a peer: the shim is ours")
    from tests.shim.shim import Shim  # it needs google's protobuf, which other machines of tests may lack

    made = Shim(stage.directory / "shim")
    yield made
    made.close()


@pytest.fixture
def client(shim: Shim, stage: Stage) -> Client:
    """A connection to a shim without containers."""
    return shim.connect(shim.start(stage.bundle("true"), new_id()))
