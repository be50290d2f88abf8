# SPDX-License-Identifier: Apache-2.0
"""Is the time at which a container was created written as the calendar has it?"""

from __future__ import annotations

import random
import time

import pytest

from ociruntime.operations.create import _timestamp

DAY = 86_400


def by_libc(seconds: int) -> str:
    """The same from gmtime(3)."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "1970-01-01T00:00:00"),
        (951_782_399, "2000-02-28T23:59:59"),
        (951_782_400, "2000-02-29T00:00:00"),
        (4_107_542_399, "2100-02-28T23:59:59"),
        (4_107_542_400, "2100-03-01T00:00:00"),
        (1_798_761_599, "2026-12-31T23:59:59"),
    ],
)
def test_days_at_which_calendars_err(seconds: int, expected: str) -> None:
    """Leap days, the year that has none, and the last second of a year."""
    assert _timestamp(seconds * 1_000_000_000 + 7) == f"{expected}.000000007Z"


def test_every_day_is_that_of_the_c_library() -> None:
    """For 400 years, after which the calendar begins anew, at a random second of each day."""
    chance = random.Random(1)
    for day in range(146_097):
        seconds = day * DAY + chance.randrange(DAY)
        assert _timestamp(seconds * 1_000_000_000)[:19] == by_libc(seconds)
