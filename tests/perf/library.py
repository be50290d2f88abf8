# SPDX-License-Identifier: Apache-2.0
"""How fast is the library in a process that runs already, beside the commands' `run` and `exec`?

Must not import anything of `ociruntime`; tests/perf/cycling.py, a process of its own, does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from tests.harness.bundle import make_bundle
from tests.harness.driver import ENVIRONMENT
from tests.perf.stopwatch import CommandFailedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.perf.contender import Contender
    from tests.perf.results import Results
    from tests.perf.sections import Size

CYCLE = "library: create to delete, beside run"
EXEC = "library: exec, beside exec"
_REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class Library:
    """The library in a process of its own, which does what it is told and says how long it took."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        bundles = [make_bundle(directory / word, *program) for word, program in _PROGRAMS.items()]
        root = str(directory / "state")
        self._diagnostics = directory / "diagnostics"
        with open(self._diagnostics, "wb") as diagnostics:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.perf.cycling", root, *(str(one.directory) for one in bundles)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=diagnostics,
                cwd=_REPOSITORY,
                env=ENVIRONMENT,
                text=True,
            )

    def lap(self, what: str) -> float:
        """The time of one "cycle" or "exec", in ms."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(f"{what}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._process.wait()
        answer = self._process.stdout.readline().split()
        if not answer:
            raise CommandFailedError(f"the library's process has ended: {self._diagnostics.read_text()}")
        return float(answer[0]) * 1000

    def close(self) -> None:
        """End the process; it deletes its container."""
        self._process.communicate()


_PROGRAMS = {"ending": ("true",), "staying": ("sleep", "1000")}


def measure(results: Results, contenders: Sequence[Contender], size: Size) -> None:
    """The library and the commands take turns; the first rounds, in which the library loads its modules, don't count."""
    assert contenders
    library = Library(contenders[0].directory / "library")
    others = [one for one in contenders if one.name != "launcher"]
    bundles = [
        (one.bundle("library-ending", "true"), one.bundle("library-staying", "sleep", "1000"))
        for one in others
    ]
    beside = [one.begin(staying) for one, (_, staying) in zip(others, bundles, strict=True)]
    cycles: dict[str, list[float]] = defaultdict(list)
    execs: dict[str, list[float]] = defaultdict(list)
    try:
        for number in range(size.rounds + 2):
            if number == 2:
                cycles.clear()
                execs.clear()
            for _ in range(2):  # it is quick
                cycles["library"].append(library.lap("cycle"))
                execs["library"].append(library.lap("exec"))
            for contender, (ending, _), (container_id, _) in zip(others, bundles, beside, strict=True):
                cycles[contender.name].append(contender.run(ending).seconds * 1000)
                execs[contender.name].append(contender.lap("exec", container_id, "true").seconds * 1000)
    finally:
        library.close()
        for contender, (container_id, pidfd) in zip(others, beside, strict=True):
            contender.end(container_id, pidfd)
    for name, values in cycles.items():
        results.row(CYCLE).add(name, values)
    for name, values in execs.items():
        results.row(EXEC).add(name, values)
