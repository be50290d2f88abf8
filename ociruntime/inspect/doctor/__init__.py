# SPDX-License-Identifier: Apache-2.0
"""What of that which a container needs works on this host? Each thing is tried, in a child; nothing is inferred from a version.

table.py has the things, children.py runs the probes, and the other files have one small function for each. The words for cause
and cure are those of the errors: linux/refusals. It needs no root, and leaves nothing behind.
"""

from __future__ import annotations

import os

from ociruntime.inspect.doctor import cgroups, children
from ociruntime.inspect.doctor.answers import MISSING, RESTRICTED, WORKS, Answer, Case
from ociruntime.inspect.doctor.table import Probe, probes
from ociruntime.linux.cgroups.layout import probe_layout
from ociruntime.linux.refusals import facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.config import Node

FORM = 1  # of the JSON document: a member may be added, and any other change makes it 2

_WORDS = {WORKS: "works", RESTRICTED: "works with a restriction", MISSING: "does not work"}


class Report:
    """The probes with their answers, and what follows.

    whose   what they were asked for: a bundle's path, or "" for an ordinary container
    """

    def __init__(self, case: Case, asked: list[Probe], answers: dict[str, Answer], whose: str) -> None:
        self.case = case
        self.asked = asked
        self.answers = answers
        self.whose = whose

    def lacking(self) -> list[Probe]:
        """The things that the container needs and that do not work."""
        return [probe for probe in self.asked if probe.needed and self.answers[probe.name].state == MISSING]

    def as_document(self) -> dict[str, object]:
        """For --format json; docs/doctor.md describes it."""
        system = os.uname()
        return {
            "doctor": FORM,
            "for": self.whose or "an ordinary container",
            "works": not self.lacking(),
            "uid": facts.uid(),
            "kernel": system.release,
            "machine": system.machine,
            "probes": [
                {"name": probe.name, "needed": probe.needed, **self.answers[probe.name].as_dict()}
                for probe in self.asked
            ],
        }

    def as_text(self) -> str:
        """One line for each probe, and the verdict."""
        width = max(len(probe.words) for probe in self.asked)
        lines = [_line(probe, self.answers[probe.name], width) for probe in self.asked]
        missing = [probe.words for probe in self.lacking()]
        what = self.whose or "an ordinary container"
        if missing:
            lines.append(
                f"{what}: will not run here: {', '.join(missing)} {'does' if len(missing) == 1 else 'do'} not work"
            )
        else:
            lines.append(f"{what}: everything that it needs (marked *) works here")
        besides = [
            probe.words
            for probe in self.asked
            if self.answers[probe.name].root and self.answers[probe.name].state != WORKS
        ]
        if facts.uid() and besides:
            lines.append(f"only root can give or use: {', '.join(besides)}")
        return "\n".join(lines) + "\n"


def _line(probe: Probe, answer: Answer, width: int) -> str:
    """`* works         pid namespace`, then what was found, cause and cure."""
    parts = [part for part in (answer.detail, answer.cause) if part]
    text = "; ".join(parts) + (f" [{answer.error}]" if answer.error else "")
    cure = f" -> {answer.cure}" if answer.cure else ""
    mark = "*" if probe.needed else " "
    return f"{mark} {probe.words:{width}}  {_WORDS[answer.state]}{': ' if text else ''}{text}{cure}"


def examine(
    config: Node, *, whose: str = "", directory: str = "/", state_root: str, manager: str = "cgroupfs"
) -> Report:
    """Try everything; it takes as long as the slowest probe, and at most children.TIME_LIMIT and a moment.

    config    a valid config.json
    whose     how the report names it
    directory absolute path of the bundle
    """
    facts.hold()
    case = Case(
        config,
        probe_layout(),
        directory=directory,
        state_root=state_root,
        manager=manager,
        name=f"ociruntime-doctor-{os.getpid()}",
    )
    asked = probes(case)
    try:
        answers = children.ask({probe.name: (lambda probe=probe: probe.run(case)) for probe in asked})  # type: ignore[misc]
    finally:
        if case.layout.kind != "none":
            cgroups.remove(case)
    return Report(case, asked, answers, whose)
