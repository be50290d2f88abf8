# SPDX-License-Identifier: Apache-2.0
"""Can the tests fail? Mistakes made on purpose (mutants.toml), and a command that shows each of them caught.

Not part of the gate: `sudo .venv/bin/python3 -m tests.mutants`. A unit test holds the list to the code.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
LIST = Path(__file__).parent / "mutants.toml"


class Mutant(NamedTuple):
    """One mistake: in `file` (below ociruntime/) the text `old`, which stands there once, becomes `new`.

    what    the mistake in words: a step dropped, a flag flipped, an order swapped
    tests   node ids of the tests that must fail
    """

    file: str
    what: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def path(self) -> Path:
        return REPOSITORY / "ociruntime" / self.file


def load() -> list[Mutant]:
    """The committed mutants."""
    with open(LIST, "rb") as file:
        return [Mutant(**{**row, "tests": tuple(row["tests"])}) for row in tomllib.load(file)["mutant"]]


def apply(mutant: Mutant, text: str) -> str:
    """The text with the mistake. Raises ValueError if the place is not found exactly once."""
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file}: {text.count(mutant.old)} places have {mutant.old!r}")
    return text.replace(mutant.old, mutant.new)
