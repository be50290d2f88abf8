# SPDX-License-Identifier: Apache-2.0
"""Does specs/departures.md have a line for each difference that the comparison with runc and crun permits?"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from tests.harness import peers

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "specs" / "departures.md"
HEADER = "| what | here | runc | crun | why | seen as |"


def lines() -> list[list[str]]:
    """The cells of every table of the page."""
    found = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in found
        if line != HEADER and set(line) != set("|-")
    ]


def seen_as(line: list[str]) -> list[str]:
    """The answers that a line names."""
    return re.findall(r"`([^`]+)`", line[5])


@pytest.fixture(scope="module")
def departures() -> dict[str, tuple[peers.Departure, ...]]:
    """What the integration tests have entered into the table: their modules do it when they are imported."""
    for path in sorted((TESTS / "integration").glob("test_*.py")):
        importlib.import_module(f"tests.integration.{path.stem}")
    return peers.DEPARTURES


def test_each_line_is_whole() -> None:
    """Six columns; what, here and why are said, and one peer at least is different."""
    assert len(lines()) > 30
    for line in lines():
        assert len(line) == 6, line
        assert line[0]
        assert line[1]
        assert line[4]
        assert line[2] != "same" or line[3] not in ("same", "") or line[5] == "-", line
        assert line[5] == "-" or seen_as(line), line


def test_every_permitted_difference_has_a_line(departures: dict[str, tuple[peers.Departure, ...]]) -> None:
    """A new `departure(...)` in a test needs its line, in which that peer is not "same"."""
    told = {answer: line for line in lines() for answer in seen_as(line)}
    assert len(departures) > 20
    assert sorted(set(departures) - set(told)) == []
    for answer, entries in departures.items():
        for entry in entries:
            cell = told[answer][2 if entry.peer == "runc" else 3]
            assert cell != "same", f"{answer}: {entry.peer} departs: {entry.why}"


def test_every_line_that_names_an_answer_is_still_true(
    departures: dict[str, tuple[peers.Departure, ...]],
) -> None:
    """What no test sees any more is not a difference: the comparison itself fails where the peers agree."""
    assert sorted({answer for line in lines() for answer in seen_as(line)} - set(departures)) == []
