# SPDX-License-Identifier: Apache-2.0
"""ociruntime/check/advice.py: what `validate` says to the author of a config that runs."""

from __future__ import annotations

from typing import Any

import pytest

from ociruntime.check import check
from ociruntime.check.advice import advice
from ociruntime.config import Node
from tests.harness.configuration import default_config

_ONE = [{"containerID": 0, "hostID": 0, "size": 1}]
_NULL = {"path": "/dev/a", "type": "c", "major": 1, "minor": 3}


def _mount(*options: str) -> dict[str, Any]:
    return {
        "destination": "/x", "source": "/x", "options": list(options), "uidMappings": _ONE, "gidMappings": _ONE,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, []),
        ({"root": {"path": "rootfs"}}, []),
        ({"root": {"path": "/srv/tree"}}, [("R011", "/root/path")]),
        ({"annotations": {"org.example.a": "", "org.opencontainers.image.stopSignal": "TERM"}}, []),
        ({"annotations": {"name": "x"}}, [("R087", "/annotations/name")]),
        (
            {"annotations": {"org.opencontainers.image.mine": "x"}},
            [("R088", "/annotations/org.opencontainers.image.mine")],
        ),
        # what `umoci unpack` writes: the image has ports or not, and its labels are annotations
        ({"annotations": {"org.opencontainers.image.exposedPorts": ""}}, []),
        ({"annotations": {"org.opencontainers.image.exposedPorts": "80/tcp,443/tcp"}}, []),
        ({"annotations": {"org.opencontainers.image.title": "x"}}, []),
        ({"mounts": [_mount("bind")]}, [("R036", "/mounts/0/options")]),
        ({"mounts": [_mount("bind", "idmap"), _mount("rbind", "ridmap")]}, []),
        ({"linux": {"devices": [_NULL, {**_NULL, "path": "/dev/b", "minor": 5}]}}, []),
        ({"linux": {"devices": [_NULL, {**_NULL, "type": "b"}]}}, []),
        ({"linux": {"devices": [_NULL, {**_NULL, "path": "/dev/b"}]}}, [("R110", "/linux/devices/1")]),
        ({"linux": {"devices": [_NULL, {**_NULL, "type": "u"}]}}, [("R110", "/linux/devices/1")]),
        ({"linux": {"devices": [{"path": "/a", "type": "p"}, {"path": "/b", "type": "p"}]}}, []),
    ],
)
def test_advice(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """R011, R036, R087, R088, R110: each rule for authors gives a warning, at its place, and nothing else does."""
    found = advice(Node({**default_config(), **change}))
    assert [(one.rule, one.pointer) for one in found] == expected
    assert {one.severity for one in found} <= {"warning"}


def test_create_says_nothing_of_it() -> None:
    """What is only advice does not concern create, for which engines write absolute paths and names of their own."""
    config = default_config()
    config["root"]["path"] = "/srv/tree"
    config["annotations"] = {"name": "x"}
    assert check.violations(Node(config)) == []


@pytest.mark.parametrize(("line", "expected"), [("L3:0=ff", []), ("MB:0=20", ["R160"]), ("0=ff", ["R160"])])
def test_cache_schema(line: str, expected: list[str]) -> None:
    """R160: an l3CacheSchema that does not begin with L3: gets a warning."""
    config = default_config()
    config["linux"]["intelRdt"] = {"closID": "one", "l3CacheSchema": line}
    found = check.violations(Node(config))
    assert [one.rule for one in found if one.rule == "R160"] == expected
    assert all(one.severity == "warning" for one in found if one.rule == "R160")
