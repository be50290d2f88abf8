# SPDX-License-Identifier: Apache-2.0
"""config-linux.md, Namespaces: which namespace is new, which the runtime's, and which that of a path?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.conformance.spec.departs import departs
from tests.harness.configuration import with_namespace, without_namespace

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage

# The word in the config, and the file in /proc/PID/ns.
_FILES = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "mount": "mnt", "cgroup": "cgroup"}
_LIST = f"for one in {' '.join(_FILES.values())}; do readlink /proc/self/ns/$one; done"


def _of(pid: int | str, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{_FILES[kind]}")


def test_new(stage: Stage) -> None:
    """R095, R099: each type that is listed without a path is a new namespace."""
    seen = stage.show(_LIST, edit=lambda config: with_namespace(config, "cgroup")).split()
    assert len(seen) == len(_FILES)
    assert [one for one in _FILES if _of("self", one) in seen] == []


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_inherited(stage: Stage, kind: str) -> None:
    """R100: a type that is not listed is the runtime's own namespace; the others are still new."""

    def edit(config: Config) -> None:
        without_namespace(config, kind)
        if kind == "uts":
            config.pop("hostname")

    seen = stage.show(_LIST, edit=edit).split()
    shared = {one for one in _FILES if _of("self", one) in seen}
    assert shared == {kind, "cgroup"}


@pytest.mark.parametrize("kind", ["pid", "network", "ipc", "uts", "cgroup"])
def test_joined(stage: Stage, kind: str) -> None:
    """R096, R097: the process is in the namespace that the path names."""
    first = stage.container("sleep", "100", edit=lambda config: with_namespace(config, "cgroup"))
    first.create().ok()
    first.start().ok()
    pid = first.state()["pid"]

    def edit(config: Config) -> None:
        with_namespace(config, kind, f"/proc/{pid}/ns/{_FILES[kind]}")
        if kind == "uts":
            config.pop("hostname")

    seen = stage.show(_LIST, edit=edit).split()
    assert _of(pid, kind) in seen
    assert [one for one in _FILES if one != kind and _of(pid, one) in seen] == []


@pytest.mark.parametrize("kind", [*_FILES, "user"])
def test_path_of_another_type(stage: Stage, kind: str) -> None:
    """R098: a path that is not a namespace of the type is an error, whatever else it is; nothing is created."""
    other = "ipc" if kind != "ipc" else "uts"
    for path in (f"/proc/self/ns/{other}", "/etc/passwd", "/proc", "/no/such/namespace"):
        container = stage.container("true", edit=lambda config, path=path: with_namespace(config, kind, path))
        container.create().refused("/linux/namespaces/", path)
        assert container.status() == ""


def test_relative_path(stage: Stage) -> None:
    """R096: the path is absolute; a relative one is refused even where it leads to a namespace."""
    container = stage.container("true", edit=lambda config: with_namespace(config, "ipc", "proc/self/ns/ipc"))
    container.create(cwd="/").refused("/linux/namespaces/", "absolute")
    assert container.status() == ""


@departs(crun="the last one counts")
def test_listed_twice(stage: Stage) -> None:
    """R101: one type twice is an error, with or without paths."""
    for second in ({"type": "ipc"}, {"type": "ipc", "path": "/proc/self/ns/ipc"}):
        container = stage.container(
            "true", edit=lambda config, second=second: config["linux"]["namespaces"].append(second)
        )
        container.create().refused("/linux/namespaces/5", "ipc")
        assert container.status() == ""


def test_owners_stay(stage: Stage) -> None:
    """R102, R103: a user namespace has the config's mappings, and no file of the root gets another owner for them."""

    def edit(config: Config) -> None:
        with_namespace(config, "user")
        one = [{"containerID": 0, "hostID": 200000, "size": 1000}]
        config["linux"].update(uidMappings=one, gidMappings=one)

    bundle = stage.bundle("cat", "/proc/self/uid_map", "/proc/self/gid_map", edit=edit)
    for directory in stage.directory.parents:
        if not directory.stat().st_mode & 0o001:
            os.chmod(directory, 0o755)
    files = [bundle.rootfs, *bundle.rootfs.rglob("*")]
    before = [(file.lstat().st_uid, file.lstat().st_gid) for file in files]
    out = stage.container(bundle=bundle).run().ok().out
    assert [line.split() for line in out.splitlines()] == [["0", "200000", "1000"]] * 2
    assert [(file.lstat().st_uid, file.lstat().st_gid) for file in files] == before
