# SPDX-License-Identifier: Apache-2.0
"""Why does this host refuse something, and which command gives it? One file for each kind of thing.

An error has only the kernel's number. What is behind it (a limit, a mask, a filter of an outer container) can be read once it
has happened: the errors' hints and the verb `doctor` take their words from here. Loaded only then. Must not import a subject.
"""

from __future__ import annotations


class Remedy:
    """What is missing, and what gives it.

    cause   what this host lacks or forbids, with its name and value; lower case, no full stop
    cure    the command that gives it, or in words what can be done
    root    only root can give it, or has it: what an ordinary user may know besides
    """

    __slots__ = ("cause", "cure", "root")

    def __init__(self, cause: str, cure: str, *, root: bool = False) -> None:
        self.cause = cause
        self.cure = cure
        self.root = root

    def __str__(self) -> str:
        return f"{self.cause}: {self.cure}"
