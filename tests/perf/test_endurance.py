# SPDX-License-Identifier: Apache-2.0
"""Does a process that uses the library for long stay as it was? A short course here; docs/evidence/endurance.md has the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.driver import runtime_under_test
from tests.perf.endurance import Course, Look, page

REPOSITORY = Path(__file__).parents[2]
FLAT = Look(7, 1, 0, 10 << 20)


@pytest.mark.skipif(
    runtime_under_test() in ("runc", "crun") or os.geteuid() != 0, reason="the library is this runtime's own"
)
def test_a_short_course() -> None:
    """100 exec requests and 30 containers leave no descriptor, thread, child or memory behind."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.perf.endurance", "--execs", "100", "--runs", "30"],
        cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "| `Container.run` | 100 |" in done.stdout
    assert "| `run` | 30 |" in done.stdout


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (FLAT, []),
        (FLAT._replace(memory=(12 << 20) + 1), ["x: memory grew by 2097153 bytes"]),
        (FLAT._replace(descriptors=8, children=1), ["x: 7 descriptors before, 8 after", "x: 0 children before, 1 after"]),
    ],
)  # fmt: skip
def test_what_grows_is_named(after: Look, said: list[str]) -> None:
    """And the page shows both numbers."""
    course = Course("x", 4, FLAT, after, [1.0, 2.0], [3.0, 3.0])
    assert course.problems() == said
    assert f"| x | 4 | 7 / {after.descriptors} | 1 / 1 |" in page([course])
    assert "| 1.5 / 2.0 | 3.0 / 3.0 |" in page([course])
