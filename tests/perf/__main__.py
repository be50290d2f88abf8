# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.perf`: every operation of this runtime beside runc's and crun's, and where the time goes.

The runtimes take turns, so that whatever else the machine does slows all of them down alike. Needs root.
With --check it ends with 1 if a budget is missed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS, hugetlb_mounted
from tests.perf import report
from tests.perf.breakdown import breakdown, gathered
from tests.perf.contender import Contender
from tests.perf.stopwatch import Times, lap

if TYPE_CHECKING:
    from collections.abc import Iterable

FLOOR_ARGV = ("/usr/bin/python3", "-I", "-S", "-c", "pass")
_FLOOR_LAPS = 3  # a round: it is short, and it is what others are divided by


def main(words: list[str] | None = None) -> int:
    """Measure, print, judge."""
    asked = arguments(words)
    with tempfile.TemporaryDirectory(prefix="ociruntime-perf-") as scratch, hugetlb_mounted():
        contenders = [Contender(name, Path(scratch) / str(number)) for number, name in enumerate(asked.names)]
        try:
            floor = race(contenders, asked.rounds)
            print(report.machine(), end="\n\n")
            print(report.table(contenders, floor), end="\n\n")
            print(report.memory_table(contenders), end="\n\n")
            for verb in ("create", "run") if contenders[0].name == "ociruntime" else ():
                parts = gathered(breakdown(contenders[0], verb, asked.rounds), asked.least)
                print(report.breakdown_table(verb, parts), end="\n\n")
            budgets = report.budgets(contenders, floor)
        finally:
            for contender in contenders:
                contender.close()
    for budget in budgets:
        print(budget.line())
    return int(asked.check and not all(budget.kept() for budget in budgets))


def arguments(words: list[str] | None) -> argparse.Namespace:
    """The command line."""
    peers = [peer for peer in PEERS if shutil.which(peer)]
    parser = argparse.ArgumentParser(prog="python -m tests.perf", description=__doc__)
    parser.add_argument("--rounds", type=int, default=60, help="containers per runtime (default 60)")
    parser.add_argument(
        "--least", type=float, default=0.1, help="ms below which parts of the breakdown are added up"
    )
    parser.add_argument("--check", action="store_true", help="fail if a budget is missed")
    parser.add_argument(
        "names",
        nargs="*",
        default=[runtime_under_test(), *peers],
        help="runtimes, by name or absolute path; ours first",
    )
    return parser.parse_args(words)


def race(contenders: Iterable[Contender], rounds: int) -> Times:
    """One warm-up, then so many rounds in turn; returns the times of an empty Python program."""
    floor = Times()
    for number in range(rounds + 1):
        for contender in contenders:
            contender.round()
            floor.laps += [lap(FLOOR_ARGV) for _ in range(_FLOOR_LAPS)]
        if number == 0:
            floor.laps.clear()
            for contender in contenders:
                for times in contender.times.values():
                    times.laps.clear()
    return floor


if __name__ == "__main__":
    sys.exit(main())
