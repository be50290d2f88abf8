# SPDX-License-Identifier: Apache-2.0
"""A sandbox for an agent's code: one warm container, one exec for each request. Usage: sandbox.py ROOTFS, a line is a request."""

import os
import sys

from ociruntime import Container, Options, Request, Result, bundle, create, make_config


def warm(rootfs: str) -> Container:
    """A container that only waits; deleting it ends whatever runs in it."""
    reaper = "while :; do sleep 1000000 & wait $!; done"  # what requests leave behind is init's to collect
    config = make_config(["/bin/sh", "-c", reaper], rootfs, memory=512 << 20, pids=100)
    return create("/run/sandbox", bundle.made(config), Options(f"sandbox-{os.getpid()}"))


def answer(container: Container, code: str) -> Result:
    request = Request(["/bin/sh", "-c", code], cwd="/tmp")
    return container.run(request, stdin=b"", capture=True, output_limit=100_000, timeout=10)


with warm(sys.argv[1]) as container:
    container.start()
    for line in sys.stdin:
        result = answer(container, line)
        print(
            f"exit {result.status}:",
            (result.stdout + result.stderr).decode(errors="replace").strip(),
            flush=True,
        )
