# SPDX-License-Identifier: Apache-2.0
"""Does a shim that serves for a long time stay as it was? python3 -m tests.shim.cycles [CYCLES [PARTS]]

One pod's shim, asked directly: create, start, exec of true, its delete, kill, delete; and again. For each part of the cycles one
row is printed: memory and descriptors of the shim at its end, and how long a cycle and its steps took. As root. The first row has
what the first containers load. On a machine with other work the least time of a part says more than its median.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.harness.bundle import make_bundle
from tests.harness.driver import MARK
from tests.shim.shim import Shim, process

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.bundle import Bundle
    from tests.shim.client import Client

STEPS = ("create", "start", "exec", "end")
_WIDTH = 11


class Part(NamedTuple):
    """What one part of the cycles has shown.

    last         number of its last cycle
    rss          of the shim, in KiB
    anonymous    memory of its own, in KiB; its PSS also depends on who else runs
    descriptors  and threads of the shim
    cycle        milliseconds of each cycle
    steps        name -> milliseconds in each cycle
    """

    last: int
    rss: int
    anonymous: int
    descriptors: int
    threads: int
    cycle: list[float]
    steps: dict[str, list[float]]


def cycle(shim: Shim, client: Client, bundle: Bundle, name: str) -> list[float]:
    """One container's life with an exec in it; the moments between its steps, in milliseconds."""
    moments = [time.monotonic()]
    shim.create(client, bundle, name)
    moments.append(time.monotonic())
    client.call("Start", id=name)
    moments.append(time.monotonic())
    client.call("Exec", id=name, exec_id="e", spec=process("true"))
    client.call("Start", id=name, exec_id="e")
    assert client.call("Wait", id=name, exec_id="e").exit_status == 0
    client.call("Delete", id=name, exec_id="e")
    moments.append(time.monotonic())
    client.call("Kill", id=name, signal=9)
    assert client.call("Wait", id=name).exit_status == 137
    client.call("Delete", id=name)
    moments.append(time.monotonic())
    return [moment * 1000 for moment in moments]


def run(shim: Shim, client: Client, bundle: Bundle, cycles: int, parts: int) -> Iterator[Part]:
    """Do them, in parts of the same size."""
    size = cycles // parts
    for part in range(parts):
        times = [
            cycle(shim, client, bundle, f"{MARK}-cycle-{part * size + number}") for number in range(size)
        ]
        yield _part(shim.pids[0], (part + 1) * size, times)
        if shim.events is not None:
            shim.events.seen.clear()


def _part(pid: int, last: int, times: list[list[float]]) -> Part:
    memory = {
        line.split()[0]: int(line.split()[1])
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    }
    steps = {
        name: [moments[number + 1] - moments[number] for moments in times]
        for number, name in enumerate(STEPS)
    }
    return Part(
        last, memory["Rss:"], memory["Anonymous:"], len(os.listdir(f"/proc/{pid}/fd")),
        len(os.listdir(f"/proc/{pid}/task")), [moments[-1] - moments[0] for moments in times], steps,
    )  # fmt: skip


def row(part: Part) -> list[str]:
    """As it is printed: times are minimum, median."""
    times = [part.cycle, *part.steps.values()]
    return [
        str(part.last), str(part.rss), str(part.anonymous), str(part.descriptors), str(part.threads),
        *(f"{min(one):.1f}, {statistics.median(one):.1f}" for one in times),
    ]  # fmt: skip


def main(cycles: int = 10_000, parts: int = 10) -> None:
    """Print the rows."""
    heads = ["cycles", "RSS KiB", "own KiB", "open", "threads", "cycle ms", *(f"{name} ms" for name in STEPS)]
    print("".join(head.rjust(_WIDTH) for head in heads), flush=True)
    with tempfile.TemporaryDirectory(prefix="shim-cycles-", dir="/tmp") as directory:
        bundle = make_bundle(Path(directory) / "bundle", "sleep", "1000")
        shim = Shim(Path(directory) / "shim")
        try:
            client = shim.connect(shim.start(bundle, f"{MARK}-cycle"))
            for part in run(shim, client, bundle, cycles, parts):
                print("".join(text.rjust(_WIDTH) for text in row(part)), flush=True)
        finally:
            shim.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
