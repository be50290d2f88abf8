# SPDX-License-Identifier: Apache-2.0
"""What the `apply` and `undo` functions of the subjects are given: the container being made.

Plain data and nothing else, so that a subject needs neither launch nor statedir.
"""

from __future__ import annotations

import os


class Run:
    """One container while its plan is carried out.

    container_id  its id
    bundle        absolute path of the bundle
    directory     its state directory
    pid           init's process id in the runtime's pid namespace; 0 before the clone
    slots         descriptors opened by host steps for init, by the key of their Slot
    facts         what later verbs need and state.json keeps, by subject: {"cgroups": {...}}
    warnings      what went not quite as the config says; logged by whoever called
    """

    __slots__ = ("bundle", "container_id", "directory", "facts", "pid", "slots", "warnings")

    def __init__(self, container_id: str, bundle: str, directory: str) -> None:
        self.container_id = container_id
        self.bundle = bundle
        self.directory = directory
        self.pid = 0
        self.slots: dict[str, int] = {}
        self.facts: dict[str, object] = {}
        self.warnings: list[str] = []

    def close_slots(self) -> None:
        """Close what the host steps opened for init; init has its own copies after the clone."""
        while self.slots:
            os.close(self.slots.popitem()[1])
