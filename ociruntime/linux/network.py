# SPDX-License-Identifier: Apache-2.0
"""Which network devices does the container have? (config-linux.md, Network Devices)

A new network namespace has a loopback device that is down; it is brought up, as engines expect.
Moving devices (netDevices) is not supported yet and refused by name. Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.step import InitStep

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = ("/linux/netDevices", "/linux/netDevices/*/name")


def check(config: Node) -> Iterator[Violation]:
    """Moving network devices is refused by name."""
    devices = config.at("linux", "netDevices")
    if len(devices):
        yield Violation(devices.pointer, "netDevices are not supported yet", "R115", "unsupported")


def plan(config: Node) -> Iterator[InitStep]:
    """Bring the loopback device up in a new network namespace; a joined one is left as it is."""
    for entry in config.at("linux", "namespaces"):
        if entry.at("type").text() == "network" and not entry.at("path").text():
            yield InitStep("loopback", pointer=entry.pointer, text="lo up")
