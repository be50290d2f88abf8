# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests that drive the runtime through engines: one private engine of each kind, as long as this package runs."""

from __future__ import annotations

import glob
import itertools
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines.containerd import Containerd, ShimContainerd
from tests.engines.cri import Cri, ShimCri
from tests.engines.docker import Docker, ShimDocker
from tests.engines.engine import SLICE, SYSTEMD
from tests.engines.image import write_archive
from tests.engines.podman import Buildah, Podman
from tests.harness import leaks
from tests.harness.cgroup_files import V2
from tests.harness.driver import MARK
from tests.harness.skips import knows_runtime_types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.engines.engine import Engine

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every test in this directory makes containers through an engine."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.root)
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="package")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image, as a file that every engine can load."""
    return write_archive(tmp_path_factory.mktemp("image") / "image.tar")


@pytest.fixture(scope="package")
def all_hierarchies(hybrid_host_for_crun: None) -> Iterator[None]:
    """Every cgroup v1 hierarchy that is in use is mounted: containerd reads no metrics if one is not.

    Not where cgroup2 is all there is to see: the mount would be on one of its cgroups.
    Another session may have mounted one in a mount namespace of its own, and so do these mounts stay in ours.
    """
    made = []
    lines = [] if V2 else Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    for line in lines:
        names = line.split(":")[1]
        point = f"{leaks.CGROUP_ROOT}/{names}"
        if names and "=" not in names and not os.path.ismount(point):
            there = os.path.isdir(point)
            os.makedirs(point, exist_ok=True)
            subprocess.run(["mount", "-t", "cgroup", "-o", names, "cgroup", point], check=True)
            made.append((point, there))
    yield
    for point, there in made:
        subprocess.run(["umount", point], check=True)
        if not there:
            os.rmdir(point)


_running: list[Engine] = []


def _engine(kind: type[Engine], archive: Path, factory: pytest.TempPathFactory) -> Iterator[object]:
    directory = factory.mktemp(kind.name)
    before = leaks.take(directory)
    engine = kind(directory)
    engine.start()
    _running.append(engine)
    try:
        engine.load(archive)
        yield engine
    finally:
        _running.remove(engine)
        engine.stop()
    _remove_parents()
    others = [str(other.directory) for other in _running]  # one may have been started again meanwhile
    lines, now = leaks.left_behind(before, directory, 10, lambda line: any(one in line for one in others))
    if lines:
        leaks.clean(before, now)
        pytest.fail(f"{engine.name} left behind:\n" + "\n".join(lines), pytrace=False)


def _remove_parents() -> None:
    """The cgroup that all containers of this session were below stays with some runtimes; what is in it may not.

    A slice stays until it is stopped, and in cpuacct, if that is mounted apart from cpu, systemd doesn't see it.
    """
    if SYSTEMD:
        subprocess.run(["systemctl", "stop", SLICE], check=True)
    roots = (leaks.CGROUP_ROOT, f"{leaks.CGROUP_ROOT}/*")
    parents = [place for root in roots for name in (MARK, SLICE) for place in glob.glob(f"{root}/{name}")]
    for place in [f"{parent}/conmon" for parent in parents] + parents:  # conmon's own cgroup is podman's
        try:
            os.rmdir(place)
        except OSError:
            continue  # not there, or not empty: then the leak check says so


@pytest.fixture(scope="package")
def containerd(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, all_hierarchies: None
) -> Iterator[object]:
    """A containerd of our own, with the image."""
    yield from _engine(Containerd, archive, tmp_path_factory)


@pytest.fixture(scope="package")
def cri(archive: Path, tmp_path_factory: pytest.TempPathFactory, all_hierarchies: None) -> Iterator[object]:
    """A containerd with its CRI plugin, with the image."""
    yield from _engine(Cri, archive, tmp_path_factory)


@pytest.fixture(scope="package")
def shim_containerd(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, all_hierarchies: None
) -> Iterator[object]:
    """A containerd that uses our own shim, with the image."""
    yield from _engine(ShimContainerd, archive, tmp_path_factory)


@pytest.fixture(scope="package")
def shim_cri(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, all_hierarchies: None
) -> Iterator[object]:
    """A containerd with its CRI plugin that uses our own shim, with the image."""
    yield from _engine(ShimCri, archive, tmp_path_factory)


@pytest.fixture(scope="package")
def docker(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, all_hierarchies: None
) -> Iterator[object]:
    """A dockerd of our own, with the image."""
    yield from _engine(Docker, archive, tmp_path_factory)


@pytest.fixture(scope="package")
def shim_docker(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, all_hierarchies: None
) -> Iterator[object]:
    """A dockerd that uses our own shim, with the image."""
    if not knows_runtime_types():
        pytest.skip("docker can name a shim from version 23 on")
    yield from _engine(ShimDocker, archive, tmp_path_factory)


@pytest.fixture(scope="package")
def podman(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, all_hierarchies: None
) -> Iterator[object]:
    """Podman with a storage of its own, with the image."""
    yield from _engine(Podman, archive, tmp_path_factory)


@pytest.fixture(scope="package")
def buildah(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, all_hierarchies: None
) -> Iterator[object]:
    """Buildah with a storage of its own, with the image."""
    yield from _engine(Buildah, archive, tmp_path_factory)


@pytest.fixture
def new_name() -> Callable[[], str]:
    """Names of containers that no other test has, and that the leak check knows."""
    return lambda: f"{MARK}-e{next(_numbers)}"
