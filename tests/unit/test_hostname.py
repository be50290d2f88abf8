# SPDX-License-Identifier: Apache-2.0
"""When linux/hostname.py sets the names, and when it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.linux import hostname

OWN: dict[str, Any] = {"namespaces": [{"type": "uts"}]}
JOINED: dict[str, Any] = {"namespaces": [{"type": "uts", "path": "/proc/1/ns/uts"}]}
NONE: dict[str, Any] = {"namespaces": [{"type": "pid"}]}


@pytest.mark.parametrize(
    ("names", "linux", "expected"),
    [
        ({"hostname": "a", "domainname": "b.c"}, OWN, []),
        ({"hostname": "a"}, JOINED, []),
        ({"hostname": "a"}, NONE, [("/hostname", "R065")]),
        ({"domainname": "a"}, None, [("/domainname", "R066")]),
        ({"hostname": ""}, NONE, []),
        ({}, NONE, []),
        ({"hostname": "x" * 64}, OWN, []),
        ({"hostname": "x" * 65}, OWN, [("/hostname", "R065")]),
        ({"domainname": "ü" * 33}, OWN, [("/domainname", "R066")]),
    ],
)
def test_check(names: dict[str, str], linux: dict[str, Any] | None, expected: list[tuple[str, str]]) -> None:
    """A name without a uts namespace would rename the host; more than 64 bytes do not fit."""
    found = hostname.check(Node({**names, "linux": linux}))
    assert [(one.pointer, one.rule) for one in found] == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"hostname": "h", "domainname": "d"}, [("hostname", ("h",)), ("domainname", ("d",))]),
        ({"domainname": "d"}, [("domainname", ("d",))]),
        ({"hostname": ""}, []),
        ({}, []),
    ],
)
def test_plan(names: dict[str, str], expected: list[tuple[str, tuple[str]]]) -> None:
    """One step per name that is given."""
    assert [(step.op, step.args) for step in hostname.plan(Node(names), None)] == expected
