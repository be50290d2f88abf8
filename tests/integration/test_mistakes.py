# SPDX-License-Identifier: Apache-2.0
"""Does this runtime's error have everything that a person needs, for each mistake of table.py?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import runtime_under_test
from tests.mistakes.__main__ import PAGE
from tests.mistakes.page import page
from tests.mistakes.table import MISTAKES, Mistake
from tests.mistakes.trial import Answer, answer_of

if TYPE_CHECKING:
    from tests.harness.stage import Stage

# Not an error: the specification wants a warning (R049).
_ACCEPTED = frozenset(("exec with an unknown capability",))


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.what)
def test_a_mistake_is_named(mistake: Mistake, stage: Stage) -> None:
    """The message has the place, and the value or the reason; the exit code says that it failed."""
    if runtime_under_test() in ("runc", "crun"):
        pytest.skip("the peers' messages are shown on docs/evidence/mistakes.md, not judged")
    answer = answer_of(mistake, stage)
    assert answer.lacks == (), answer.said
    assert (answer.code == 0) == (mistake.what in _ACCEPTED), answer


def test_the_page_has_every_mistake() -> None:
    """A mistake that is added or renamed needs a page that is written anew."""
    text = PAGE.read_text(encoding="utf-8")
    titles = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert titles == [mistake.what[0].upper() + mistake.what[1:] for mistake in MISTAKES], (
        "sudo .venv/bin/python3 -m tests.mistakes --write"
    )


def test_ours_is_never_the_worse() -> None:
    """On the page our message lacks nothing, whatever the peers say."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    ours = [line for line in lines if line.startswith("| ociruntime | ")][1:]
    assert len(ours) == len(MISTAKES)
    assert [line for line in ours if not line.endswith(" |  |")] == []


def test_what_the_page_says() -> None:
    """What is missing is said, and so is a mistake that is accepted in silence."""
    whole = {mistake.what: Answer("a | b", 1, ()) for mistake in MISTAKES}
    first = MISTAKES[0].what
    text = page({"ociruntime": whole, "runc": {**whole, first: Answer("", 0, ("x|y",))}})
    assert f"| ociruntime | {len(MISTAKES)} | 0 |\n| runc | {len(MISTAKES) - 1} | 1 |" in text
    assert "| ociruntime | `a \\| b` |  |\n| runc | accepts it | x or y |\n" in text
