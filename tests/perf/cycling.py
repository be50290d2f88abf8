# SPDX-License-Identifier: Apache-2.0
"""A program that uses the library in a warm process: one container, or one exec, for each line that it reads.

    python3 -m tests.perf.cycling ROOT BUNDLE STAYING

Reads "cycle" or "exec", and answers with the time in seconds and the processor time, also that of the container.
"""

from __future__ import annotations

import gc
import os
import sys
import time

import ociruntime
from ociruntime import Options, Request, bundle
from tests.harness.driver import MARK


def main(root: str, ending: str, staying: str) -> int:
    """Serve until the end of the input."""
    beside = ociruntime.create(root, bundle.load(staying), Options(f"{MARK}-library"))
    try:
        beside.start()
        gc.freeze()  # what was loaded is not looked at again
        for number, line in enumerate(sys.stdin):
            print(*timed(line.strip(), number, root, ending, beside), flush=True)
    finally:
        beside.delete(force=True)
        beside.reap()
    return 0


def timed(
    what: str, number: int, root: str, ending: str, beside: ociruntime.Container
) -> tuple[float, float]:
    """Wall time and processor time of one, in seconds."""
    busy, begun = _processor(), time.monotonic()
    if what == "cycle":
        made = ociruntime.create(root, bundle.load(ending), Options(f"{MARK}-library-{number}"))
        made.start()
        status = made.wait()
        made.delete()
    else:
        with beside.exec(Request(["true"])) as process:
            status = process.wait()
    seconds = time.monotonic() - begun
    assert status == 0, (what, status)
    return seconds, _processor() - busy


def _processor() -> float:
    """Of this process and the children that it has waited for, in seconds."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
