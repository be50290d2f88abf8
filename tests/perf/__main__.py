# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.perf [SECTION...]`: our command beside runc and crun, as docs/evidence/performance.md shows it.

The contenders take turns, so that whatever else the machine does slows all of them down alike. Needs root.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.harness.peers import hugetlb_mounted
from tests.harness.session import default_signals, own_mount_namespace
from tests.perf import report, results as kept
from tests.perf.budgets import judge, missed
from tests.perf.contender import everybody
from tests.perf.results import Results
from tests.perf.sections import SECTIONS, Size
from tests.perf.stopwatch import CommandFailedError

REPOSITORY = Path(__file__).parents[2]
# Of what is measured, or of what the harness expects.
_FAILURES = (CommandFailedError, OSError, AssertionError, subprocess.SubprocessError)


def main(words: list[str] | None = None) -> int:
    """Measure (or read what was measured), print, write, judge; returns 1 if a section failed, or a budget is missed and --check given."""
    asked = arguments(words)
    results = kept.read(asked.read) if asked.read else measured(asked)
    print(report.text(results), end="")
    if asked.save:
        results.save(asked.save)
    if asked.write and not results.failures:
        report.write(results, REPOSITORY)
    for failure in results.failures:
        sys.stderr.write(f"tests.perf: {failure}\n")
    if asked.write and results.failures:
        sys.stderr.write(f"tests.perf: {report.PAGE} stays as it was\n")
    if not asked.check:
        return int(bool(results.failures))
    lines = missed(results)
    for line in lines:
        print(f"missed: {line}")
    unknown = [verdict.budget.what() for verdict in judge(results) if verdict.ratio is None]
    if unknown:
        print(f"not measured: {'; '.join(unknown)}")
    return int(bool(lines or results.failures))


def arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    usual = Size()
    parser = argparse.ArgumentParser(prog="python -m tests.perf", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"{', '.join(SECTIONS)}; default: all")
    parser.add_argument("--rounds", type=int, default=usual.rounds, help=f"default {usual.rounds}")
    parser.add_argument("--at-once", type=_numbers, default=usual.widths, metavar="N,N", help="runs at once")
    parser.add_argument("--live", type=_numbers, default=usual.live, metavar="N,N", help="living containers")
    parser.add_argument("--mounts", type=int, default=usual.mounts, help="bind mounts of a large config")
    parser.add_argument("--check", action="store_true", help="end with 1 if a budget is missed")
    parser.add_argument("--write", action="store_true", help=f"put tables and chart into {report.PAGE}")
    parser.add_argument("--save", type=Path, metavar="FILE", help="keep the results")
    parser.add_argument("--read", type=Path, metavar="FILE", help="take kept results; measure nothing")
    given = parser.parse_args(words)
    unknown = [one for one in given.sections if one not in SECTIONS]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    if given.write and given.sections:
        parser.error("--write needs all sections: the page has one table")
    if given.rounds < 1:
        parser.error(f"--rounds {given.rounds}: at least 1")
    return given


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(word) for word in text.split(",")))


def measured(asked: argparse.Namespace) -> Results:
    """The results of the sections that were asked for."""
    size = Size(asked.rounds, asked.at_once, asked.live, asked.mounts)
    with tempfile.TemporaryDirectory(prefix="ociruntime-perf-") as scratch, hugetlb_mounted():
        contenders = everybody(Path(scratch))
        results = Results(kept.machine(), {one.name: one.version() for one in contenders})
        try:
            for name in asked.sections or SECTIONS:
                results.note_load()
                try:
                    SECTIONS[name](results, contenders, size)
                except (
                    CommandFailedError,
                    OSError,
                ) as failure:  # the other sections say something all the same
                    results.failures.append(f"section {name}: {failure}")
        finally:
            for contender in contenders:
                contender.close()
        results.note_load()
    return results


if __name__ == "__main__":
    default_signals()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was made is removed
    own_mount_namespace()
    sys.exit(main())
