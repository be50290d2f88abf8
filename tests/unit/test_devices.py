# SPDX-License-Identifier: Apache-2.0
"""ociruntime/linux/devices.py: the nodes and links of /dev."""

from __future__ import annotations

import stat
from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.host import Host
from ociruntime.linux import devices
from ociruntime.linux.cgroups.layout import Layout

DEFAULT = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"]
BIND_DEV = [{"destination": "/dev/", "source": "/dev", "options": ["rbind"]}]


def config(entries: list[dict[str, Any]], mounts: list[dict[str, Any]] | None = None) -> Node:
    """A config with these devices and mounts."""
    return Node({"mounts": mounts or [], "linux": {"devices": entries}})


def host(kcore: bool = True) -> Host:
    """A machine with or without /proc/kcore."""
    return Host(Layout("v2", v2="/sys/fs/cgroup"), kcore=kcore)


def test_default_devices_are_always_there() -> None:
    """R112: six character devices with mode 0666 that root owns."""
    steps = list(devices.plan(Node({}), host()))
    assert [step.args[0] for step in steps] == DEFAULT
    assert steps[0].args == ("/dev/null", stat.S_IFCHR | 0o666, 1, 3, 0, 0, devices.MKNOD_OPTIONAL)
    assert steps[5].args == ("/dev/tty", stat.S_IFCHR | 0o666, 5, 0, 0, 0, devices.MKNOD_OPTIONAL)


@pytest.mark.parametrize(
    ("entry", "args"),
    [
        (
            {
                "path": "/dev/fuse",
                "type": "c",
                "major": 10,
                "minor": 229,
                "fileMode": 0o600,
                "uid": 1,
                "gid": 2,
            },
            ("/dev/fuse", stat.S_IFCHR | 0o600, 10, 229, 1, 2),
        ),
        (
            {"path": "/dev/u", "type": "u", "major": 1, "minor": 3},
            ("/dev/u", stat.S_IFCHR | 0o666, 1, 3, 0, 0),
        ),
        ({"path": "/disk", "type": "b", "major": 8, "minor": 0}, ("/disk", stat.S_IFBLK | 0o666, 8, 0, 0, 0)),
        ({"path": "/run/pipe", "type": "p"}, ("/run/pipe", stat.S_IFIFO | 0o666, 0, 0, 0, 0)),
        (
            {"path": "/p", "type": "p", "major": 8, "minor": 1, "fileMode": 0},
            ("/p", stat.S_IFIFO, 0, 0, 0, 0),
        ),
        # podman writes stat's st_mode, type bits and all
        (
            {"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 0o20640},
            ("/dev/x", stat.S_IFCHR | 0o640, 1, 3, 0, 0),
        ),
        ({"path": "/dev//a/../y", "type": "c", "major": 1, "minor": 3}, ("/dev/y", 0o20666, 1, 3, 0, 0)),
    ],
)
def test_device_of_the_config(entry: dict[str, Any], args: tuple[object, ...]) -> None:
    """Type, numbers, mode and owner arrive in the step; it comes before the default devices."""
    steps = list(devices.plan(config([entry]), host()))
    assert steps[0].args == (*args, 0)
    assert steps[0].pointer == "/linux/devices/0"
    assert [step.args[0] for step in steps[1:]] == DEFAULT


def test_config_wins_over_a_default_device() -> None:
    """A listed /dev/null is made once, as the config says."""
    entry = {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600}
    steps = [step for step in devices.plan(config([entry]), host()) if step.args[0] == "/dev/null"]
    assert [step.args[1] for step in steps] == [stat.S_IFCHR | 0o600]


def test_ptmx_is_never_a_node() -> None:
    """R114: a listed /dev/ptmx would reach the host's terminals; only the link is made."""
    entry = {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2}
    assert [step.args[0] for step in devices.plan(config([entry]), host())] == DEFAULT
    assert next(devices.plan_links(config([entry]), host())).args == ("/dev/ptmx", "pts/ptmx", 2)


def test_links() -> None:
    """R241: the standard links are made only if their targets exist; /dev/core as the host has it."""
    steps = {step.args[0]: step.args[1:] for step in devices.plan_links(Node({}), host())}
    assert steps == {
        "/dev/ptmx": ("pts/ptmx", 2),
        "/dev/fd": ("/proc/self/fd", 1),
        "/dev/stdin": ("/proc/self/fd/0", 1),
        "/dev/stdout": ("/proc/self/fd/1", 1),
        "/dev/stderr": ("/proc/self/fd/2", 1),
        "/dev/core": ("/proc/kcore", 1),
    }
    without = [step.args[0] for step in devices.plan_links(Node({}), host(kcore=False))]
    assert "/dev/core" not in without


def test_nothing_is_made_in_a_bind_of_dev() -> None:
    """If the engine binds a /dev, it may be the host's: no node and no link."""
    assert list(devices.plan(config([], BIND_DEV), host())) == []
    assert list(devices.plan_links(config([], BIND_DEV), host())) == []
    tmpfs = [{"destination": "/dev", "type": "tmpfs"}]
    assert len(list(devices.plan(config([], tmpfs), host()))) == len(DEFAULT)


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([{"path": "/dev/a", "type": "c", "major": 1, "minor": 3}], []),
        ([{"path": "/dev/a", "type": "p"}], []),
        ([{"path": "/dev/a", "type": "p", "fileMode": 0o10666}], []),
        ([{"path": "/dev/a", "type": "p", "major": 1, "minor": 3}], []),
        ([{"path": "dev/a", "type": "p"}], [("/linux/devices/0/path", "R106")]),
        ([{"path": "/a", "type": "x"}], [("/linux/devices/0/type", "R106")]),
        ([{"path": "/a", "type": "c", "minor": 3}], [("/linux/devices/0/major", "R106")]),
        (
            [{"path": "/a", "type": "b"}],
            [("/linux/devices/0/major", "R106"), ("/linux/devices/0/minor", "R106")],
        ),
        ([{"path": "/a", "type": "b", "major": -1, "minor": 0}], [("/linux/devices/0/major", "R106")]),
        ([{"path": "/a", "type": "b", "major": 1, "minor": 2**32}], [("/linux/devices/0/minor", "R106")]),
        ([{"path": "/a", "type": "p", "fileMode": -1}], [("/linux/devices/0/fileMode", "R109")]),
        (
            [
                {"path": "/a", "type": "c", "major": 1, "minor": 3},
                {"path": "/./a", "type": "c", "major": 1, "minor": 5},
            ],
            [("/linux/devices/1/path", "R107")],
        ),
        ([{"path": "/a", "type": "c", "major": 1, "minor": 3}] * 2, []),
    ],
)
def test_check(entries: list[dict[str, Any]], expected: list[tuple[str, str]]) -> None:
    """Each broken rule is found at its place, and nothing else."""
    assert [(violation.pointer, violation.rule) for violation in devices.check(config(entries))] == expected
