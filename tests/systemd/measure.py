# SPDX-License-Identifier: Apache-2.0
"""How long does each verb take with the systemd driver, next to runc and crun? For docs/evidence/performance.md.

    sudo .venv/bin/python3 -m tests.systemd.measure v2|hybrid ROUNDS NAME=COMMAND ...

In a machine of its own, all commands in turn. NAME=COMMAND is a build of ours (python3 -m ociruntime.cli.snapshot COMMAND): on
the disk, as an installed one is, and not below /tmp, /var/tmp, /run or /srv, which are empty there. crun needs
CAP_SYS_RESOURCE in the machine v2. Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.harness.driver import DRIVER_VARIABLE
from tests.perf.contender import Contender, everybody
from tests.perf.report import table
from tests.perf.results import Results, machine
from tests.perf.verbs import Laps, one_round
from tests.systemd.machine import VARIABLE, Machine

REPOSITORY = Path(__file__).parents[2]


def outside(kind: str, words: list[str]) -> int:
    """Boot the machine, measure in it, end it."""
    with tempfile.TemporaryDirectory(prefix="oci-systemd-", dir="/var/tmp") as directory:
        machine = Machine(kind, Path(directory))
        try:
            machine.wait()
            _give_processors(machine)
            command = [
                "env",
                "-C",
                str(REPOSITORY),
                sys.executable,
                "-m",
                "tests.systemd.measure",
                kind,
                *words,
            ]
            done = machine.call(
                *command, environment={VARIABLE: machine.kind, DRIVER_VARIABLE: "systemd"}, timeout=3600
            )
        finally:
            machine.stop()
    sys.stdout.write(done.out)
    return done.code


def _give_processors(machine: Machine) -> None:
    """Where it has a cgroup of the controller cpu, it gets what it needs, whoever else is busy; all contenders do."""
    shares = Path(f"/sys/fs/cgroup/cpu/{machine.name}/cpu.shares")
    if shares.exists():
        shares.write_text("262144", encoding="ascii")  # the most that the kernel takes


def inside(rounds: int, more: dict[str, str]) -> int:
    """Measure, one round more than asked for, the first to warm up."""
    with tempfile.TemporaryDirectory(prefix="oci-systemd-") as scratch:
        directory = Path(scratch)
        contenders = [Contender(name, command, directory / name) for name, command in more.items()]
        contenders += everybody(directory, ("runc", "crun"))
        results = Results(machine(), {one.name: one.version() for one in contenders})
        bundles = [
            (one.bundle("staying", "sleep", "1000"), one.bundle("ending", "true")) for one in contenders
        ]
        laps: list[Laps] = [defaultdict(list) for _ in contenders]
        results.note_load()
        for _ in range(rounds + 1):
            for contender, (staying, ending), taken in zip(contenders, bundles, laps, strict=True):
                one_round(contender, staying, ending, taken)
        results.note_load()
    for operation in laps[0]:
        for contender, taken in zip(contenders, laps, strict=True):
            times = [lap.seconds * 1000 for lap in taken[operation][1:]]
            results.row(operation).add(contender.name, times)
    what = ", ".join(results.contenders.values())
    sys.stdout.write(f"{results.where()}, {rounds} rounds.\nContenders: {what}.\n\n{table(results)}\n")
    return 0


if __name__ == "__main__":
    _, asked, number, *others = sys.argv
    if VARIABLE not in os.environ:
        sys.exit(outside(asked, [number, *others]))
    sys.exit(inside(int(number), dict(word.split("=", 1) for word in others)))
