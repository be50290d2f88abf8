# SPDX-License-Identifier: Apache-2.0
"""ociruntime/operations/config_ids.py: which ids does a new config map, for each kind of caller?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ociruntime.linux.refusals import Remedy, facts, ids
from ociruntime.operations import config_ids

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Be another caller: its uid, whether it has power over the host, its ranges, what is against the two programs."""

    def be(uid: int, ranges: dict[str, list[tuple[int, int]]], against: Remedy | None = None) -> None:
        monkeypatch.setattr(config_ids, "is_rootless", lambda: True)
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        monkeypatch.setattr(os, "getegid", lambda: uid)
        monkeypatch.setattr(ids, "login_name", lambda _: "me")
        monkeypatch.setattr(ids, "helper", lambda *_: against)
        monkeypatch.setattr(ids, "read_sub_ids", lambda path, *_: ranges.get(path[-6:], []))

    return be


def _words(mappings: list[dict[str, int]]) -> list[tuple[int, int, int]]:
    return [(one["containerID"], one["hostID"], one["size"]) for one in mappings]


def test_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second 65,536 ids."""
    monkeypatch.setattr(config_ids, "is_rootless", lambda: False)
    uids, gids = config_ids.mappings(NOBODY, NOBODY)
    assert _words(uids) == _words(gids) == [(0, 100_000, 65_536)]


def test_an_ordinary_user(caller: Callable[..., None]) -> None:
    """The longest range of each table, and never the user's own id; no more than 65,536."""
    caller(1000, {"subuid": [(5, 7), (200_000, 70_000)], "subgid": [(300_000, 65_536)]})
    uids, gids = config_ids.mappings(NOBODY, NOBODY)
    assert _words(uids) == [(0, 200_000, 65_536)]
    assert _words(gids) == [(0, 300_000, 65_536)]


def test_a_short_range(caller: Callable[..., None]) -> None:
    """Its last id is the program's."""
    caller(1000, {"subuid": [(200_000, 100)], "subgid": [(300_000, 1)]})
    uids, gids = config_ids.mappings(NOBODY, 33)
    assert _words(uids) == [(0, 200_000, 99), (NOBODY, 200_099, 1)]
    assert _words(gids) == [(33, 300_000, 1)]
    assert _words(config_ids.mappings(7, 0)[0]) == [(0, 200_000, 100)]


@pytest.mark.parametrize(
    ("ranges", "against"),
    [
        ({}, None),
        ({"subuid": [(200_000, 65_536)]}, None),
        ({"subgid": [(200_000, 65_536)]}, None),
        (
            {"subuid": [(200_000, 65_536)], "subgid": [(200_000, 65_536)]},
            Remedy("there is no newuidmap", "install"),
        ),
    ],
)
def test_one_id(
    caller: Callable[..., None], ranges: dict[str, list[tuple[int, int]]], against: Remedy | None
) -> None:
    """Without a range in either table, or without the programs: the user's own, as the program's."""
    caller(1000, ranges, against)
    uids, gids = config_ids.mappings(NOBODY, 33)
    assert (_words(uids), _words(gids)) == ([(NOBODY, 1000, 1)], [(33, 1000, 1)])


@pytest.mark.parametrize(
    ("mapped", "expected"),
    [
        ([(0, 1000, 1), (1, 100_000, 65_536)], [(0, 1, 65_536)]),
        ([(0, 100_000, 65_536)], [(0, 1, 65_535)]),
        ([(0, 1000, 1)], [(NOBODY, 0, 1)]),
    ],
)
def test_root_of_a_user_namespace(
    mapped: list[tuple[int, int, int]],
    expected: list[tuple[int, int, int]],
    caller: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of what is mapped there all but its root, whom the container's must not be; that one only if there is no other."""
    caller(0, {})
    monkeypatch.setattr(facts, "id_map", lambda _: mapped)
    assert _words(config_ids.mappings(NOBODY, NOBODY)[0]) == expected
