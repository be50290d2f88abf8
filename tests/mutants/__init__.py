# SPDX-License-Identifier: Apache-2.0
"""Can the tests fail? Mistakes made on purpose, and a command that shows each of them caught.

mutants.toml has them by subject, rows-*.toml one for each row of specs/conformance.toml, without.toml the rows that have none
and the reason. Not part of the gate: `sudo .venv/bin/python3 -m tests.mutants`. A unit test holds the lists to the code.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[2]
_LISTS = Path(__file__).parent
WITHOUT = _LISTS / "without.toml"


class Mutant(NamedTuple):
    """One mistake: in `file` (below ociruntime/, or specs/...) the text `old`, which occurs there once, becomes `new`.

    what    the mistake in words: a step dropped, a flag flipped, an order swapped
    tests   node ids of the tests that must fail
    rows    rows of the conformance ledger that it breaks: the tests are those rows'
    """

    file: str
    what: str
    old: str
    new: str
    tests: tuple[str, ...]
    rows: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """The file's path in the repository."""
        return self.file if self.file.startswith("specs/") else f"ociruntime/{self.file}"


def load() -> list[Mutant]:
    """The committed mutants."""
    found = []
    for path in [_LISTS / "mutants.toml", *sorted(_LISTS.glob("rows-*.toml"))]:
        for entry in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]:
            lists = {name: tuple(entry.get(name, ())) for name in ("tests", "rows")}
            found.append(Mutant(**{**entry, **lists}))
    return found


def without() -> dict[str, str]:
    """Rows of the ledger that no mutant breaks, and why."""
    reasons: dict[str, str] = tomllib.loads(WITHOUT.read_text(encoding="utf-8"))
    return reasons


def apply(mutant: Mutant, text: str) -> str:
    """The text with the mistake. Raises ValueError if the place is not found exactly once."""
    if text.count(mutant.old) != 1:
        raise ValueError(f"{mutant.file}: {text.count(mutant.old)} places have {mutant.old!r}")
    return text.replace(mutant.old, mutant.new)
