# SPDX-License-Identifier: Apache-2.0
"""Which network devices linux/network.py refuses, and what it plans for the others."""

from __future__ import annotations

from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.linux import network

NEW: list[dict[str, str]] = [{"type": "network"}]


def config(devices: dict[str, Any] | None, namespaces: list[dict[str, str]] | None = None) -> Node:
    """A config with these netDevices."""
    return Node(
        {"linux": {"netDevices": devices, "namespaces": NEW if namespaces is None else namespaces}}, ""
    )


@pytest.mark.parametrize(
    ("devices", "expected"),
    [
        (None, []),
        ({}, []),
        ({"eth0": {}}, []),
        ({"eth0": {"name": ""}}, []),
        ({"eth0": {"name": "a" * 15}, "b" * 15: {}}, []),
        ({"eth0": {"name": "net%d"}, "eth1": {"name": "net%d"}}, []),
        ({"a%b": {"name": "c"}}, []),
        ({"a" * 16: {}}, [("", "R116")]),
        ({"eth0": {"name": "\u00e4" * 8}}, [("/name", "R118")]),
        ({"a/b": {"name": "c"}}, [("", "R116")]),
        ({"eth0": {"name": ".."}}, [("/name", "R118")]),
        ({"eth0": {"name": "a b"}}, [("/name", "R118")]),
        ({"eth0": {"name": "a:b"}}, [("/name", "R118")]),
        ({"eth0": {"name": "a%"}}, [("/name", "R118")]),
        ({"eth0": {"name": "a%s"}}, [("/name", "R118")]),
        ({"eth0": {"name": "%d%d"}}, [("/name", "R118")]),
        ({"eth0": {"name": "x"}, "x": {}}, [("", "R117")]),
        ({"eth0": {"name": "x"}, "eth1": {"name": "x"}}, [("", "R117")]),
    ],
)
def test_check(devices: Any, expected: list[tuple[str, str]]) -> None:
    """Names that the kernel would not take, and two devices with one name, are violations at the device."""
    found = list(network.check(config(devices)))
    last = f"/linux/netDevices/{list(devices)[-1].replace('/', '~1')}" if devices else ""
    assert [(one.pointer, one.rule) for one in found] == [(last + tail, rule) for tail, rule in expected]


def test_a_namespace_is_needed() -> None:
    """Without a network namespace there is nowhere to move a device to."""
    found = [(one.pointer, one.rule) for one in network.check(config({"eth0": {}}, [{"type": "pid"}]))]
    assert found == [("/linux/netDevices", "R116")]


@pytest.mark.parametrize("path", ["", "/run/netns/x"])
def test_one_step_each_in_the_order_of_the_config(path: str) -> None:
    """Each device has an undoable step; its arguments say everything that undoing needs after kill -9."""
    namespaces = [{"type": "network", "path": path}] if path else NEW
    devices = {"eth3": {"name": "net0"}, "eth1": {}}
    first, second = network.plan_devices(config(devices, namespaces))
    assert first.describe() == "move network device eth3 to the container, as net0"
    assert second.describe() == "move network device eth1 to the container"
    assert (first.pointer, second.pointer) == ("/linux/netDevices/eth3", "/linux/netDevices/eth1")
    assert first.undoable
    assert first.args == {"device": "eth3", "name": "net0", "path": path, "note": "network-device-0"}
    assert second.args == {"device": "eth1", "name": "", "path": path, "note": "network-device-1"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("done", None),
        ("failed 17 it is there", (17, "it is there")),
        ("failed 0 ", (0, "")),
        ("", (0, "the helper for network devices ended: without a message")),
        ("ModuleNotFoundError: x", (0, "the helper for network devices ended: ModuleNotFoundError: x")),
        ("failed much", (0, "the helper for network devices ended: failed much")),
    ],
)
def test_the_answer_of_the_child(line: str, expected: tuple[int, str] | None) -> None:
    """Only "done" is success: a child that dies has not moved a device."""
    assert network._answer(line) == expected
