# SPDX-License-Identifier: Apache-2.0
"""Do the objects that a verb writes to lie together in the snapshot? Without containers."""

from __future__ import annotations

import os
from array import array
from typing import TYPE_CHECKING

from ociruntime.cli.snapshot.order import Places, Trial

if TYPE_CHECKING:
    from pathlib import Path

UNIT, HEADER = 16, 8


def trial(units: dict[int, int], **written: set[int]) -> Trial:
    """What a trial could have found."""
    found = Trial()
    found.units, found.written = units, written
    return found


def table_of(places: Places, path: Path) -> list[tuple[int, int]]:
    """(units, offset) by number."""
    places.write(str(path))
    numbers = array("I")
    numbers.frombytes(path.read_bytes())
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def test_what_a_verb_writes_lies_together_and_nothing_overlaps(tmp_path: Path) -> None:
    """The verb that has the first say comes first; what is written by none, last."""
    found = trial({1: 2, 3: 5, 4: 1, 7: 3}, run={3, 7}, state={7})
    table = table_of(Places(found), tmp_path / "order")
    assert table[7] == (3, HEADER)  # state has the first say
    assert table[3] == (5, HEADER + 3 * UNIT)
    assert table[1] == (2, HEADER + 8 * UNIT)
    assert table[4] == (1, HEADER + 10 * UNIT)
    assert [table[number] for number in (0, 2, 5, 6)] == [(0, 0)] * 4


def test_what_has_no_place_gets_one_after_the_others(tmp_path: Path) -> None:
    """Until all have one the build is repeated."""
    places = Places(trial({1: 2}, state={1}))
    rest = tmp_path / "rest"
    rest.write_bytes(array("I", [5, 4, 1, 3]).tobytes())
    assert places.add_rest(str(rest))
    table = table_of(places, tmp_path / "order")
    assert table[5] == (4, HEADER + 2 * UNIT)
    assert table[1] == (3, HEADER + 6 * UNIT)  # it had another size than foreseen
    rest.write_bytes(b"")
    assert not places.add_rest(str(rest))


def faults(*command: str) -> int:
    """Minor page faults of a command."""
    actions = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    pid = os.posix_spawn(command[0], command, {}, file_actions=actions)
    return os.wait4(pid, 0)[2].ru_minflt


def test_a_call_copies_few_pages(snapshot: str, tmp_path: Path) -> None:
    """Measured: 200; in the order of allocation 330."""
    words = ("--root", str(tmp_path), "state", "unknown")
    assert min(faults(snapshot, *words) for _ in range(3)) < 260
