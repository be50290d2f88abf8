# SPDX-License-Identifier: Apache-2.0
"""What was promised? Ratios of the best figures of one call of the tool (issue 12), and whether they are kept.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.perf.crowd import at_once
from tests.perf.engine import CTR
from tests.perf.library import CYCLE
from tests.perf.memory import PRIVATE
from tests.perf.verbs import FIVE

if TYPE_CHECKING:
    from tests.perf.results import Results


class Budget(NamedTuple):
    """One promise: our figure in a row, by a peer's, is at most (or at least) so much."""

    row: str
    peer: str
    limit: float
    at_least: bool = False
    below: bool = False  # less than the limit, not as much

    def what(self) -> str:
        """In words."""
        bound = "at least" if self.at_least else "below" if self.below else "at most"
        return f"{self.row}: {bound} {self.limit:g} x {self.peer}'s"

    def kept(self, ratio: float) -> bool:
        """Whether a ratio is within it."""
        if self.at_least:
            return ratio >= self.limit
        return ratio < self.limit if self.below else ratio <= self.limit


# Issue 12's numbers. The form that counts is the snapshot, and in the library's row the library.
BUDGETS = (
    Budget("run", "runc", 0.5),
    Budget("run", "crun", 1.5),  # aim: 1.25
    Budget("create", "runc", 0.6),
    Budget("start", "crun", 1),
    Budget("state", "crun", 1),
    Budget("kill", "crun", 1),
    Budget("delete", "crun", 1),
    Budget(FIVE, "crun", 1),
    Budget("exec", "runc", 0.45),
    Budget("exec", "crun", 1.3),
    Budget(CYCLE, "crun", 0.6),
    Budget(at_once(8), "runc", 1.8, at_least=True),
    Budget(CTR, "runc", 1, below=True),
    Budget(PRIVATE, "runc", 1, below=True),
)


class Verdict(NamedTuple):
    """A budget, and what became of it; without a ratio it was not measured."""

    budget: Budget
    ratio: float | None

    def kept(self) -> bool:
        """Whether it was measured, and is kept."""
        return self.ratio is not None and self.budget.kept(self.ratio)

    def word(self) -> str:
        """kept, missed, or not measured."""
        if self.ratio is None:
            return "not measured"
        return "kept" if self.kept() else "missed"


def judge(results: Results) -> list[Verdict]:
    """Every budget, in the order of the table."""
    return [Verdict(one, _ratio(results, one)) for one in BUDGETS]


def missed(results: Results) -> list[str]:
    """One line for each budget that was measured and is missed."""
    return [
        f"{verdict.budget.what()}, but it is {verdict.ratio:.2f}"
        for verdict in judge(results)
        if verdict.ratio is not None and not verdict.kept()
    ]


def _ratio(results: Results, budget: Budget) -> float | None:
    row = results.rows.get(budget.row)
    return None if row is None else row.ratio(budget.peer)
