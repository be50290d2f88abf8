# SPDX-License-Identifier: Apache-2.0
"""How much memory has a `run` that waits for its program? PSS, and what belongs to this process alone (smaps_rollup).

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import select
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.perf.stopwatch import CommandFailedError, spawn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.harness.bundle import Bundle
    from tests.perf.contender import Contender
    from tests.perf.results import Results
    from tests.perf.sections import Size

PSS, PRIVATE = "a waiting run, PSS", "a waiting run, private memory"
_PATIENCE = 30_000  # milliseconds for a program to begin


def measure(results: Results, contenders: Sequence[Contender], size: Size) -> None:
    """A few processes of each: PSS of one that is alone, private memory of one beside another.

    Alone, every page of the program's file would count as private: it is what one more `run` costs that is asked for.
    """
    for contender in contenders:
        bundle = contender.bundle("waiting", "sh", "-c", "echo begun; exec sleep 1000")
        alone, more = [], []
        for _ in range(min(size.rounds, 5)):
            with waiting(contender, bundle) as first:
                alone.append(sizes(first)["Pss"])
                with waiting(contender, bundle) as second:
                    seen = sizes(second)
                    more.append(seen["Private_Clean"] + seen["Private_Dirty"])
        results.row(PSS, "KiB").add(contender.name, alone)
        results.row(PRIVATE, "KiB").add(contender.name, more)


@contextmanager
def waiting(contender: Contender, bundle: Bundle) -> Iterator[int]:
    """The process id of one `run` whose program has begun, and goes on until the end of the block."""
    container_id = contender.new_id()
    reading, writing = os.pipe()
    argv = contender.argv("run", "--bundle", str(bundle.directory), container_id)
    pid = spawn(argv, str(contender.directory / "diagnostics"), writing)
    os.close(writing)
    try:
        begun, _, _ = select.select([reading], [], [], _PATIENCE / 1000)
        if not begun or os.read(reading, 100) != b"begun\n":
            raise CommandFailedError(f"{' '.join(argv)}: its program has not begun")
        yield pid
    finally:
        os.close(reading)
        contender.runtime.call("kill", container_id, "KILL")
        os.waitpid(pid, 0)


def sizes(pid: int) -> dict[str, int]:
    """What /proc/PID/smaps_rollup says, in KiB."""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        for line in file:
            name, _, text = line.partition(":")
            if text.endswith(" kB\n"):
                found[name] = int(text.removesuffix(" kB\n"))
    return found
