# SPDX-License-Identifier: Apache-2.0
"""A sandbox for an agent's code: one warm container, an exec for each request, 20 at once.

Usage: sandbox.py ROOTFS, and each line of stdin is a request.
"""

import asyncio
import os
import sys

from ociruntime import Container, Options, Result, bundle, create, make_config


def warm(rootfs: str) -> Container:
    """A container that only waits; it ends with this process, and whatever runs in it."""
    reaper = "while :; do sleep 1000000 & wait $!; done"  # what requests leave behind is init's to collect
    config = make_config(["/bin/sh", "-c", reaper], rootfs, memory=512 << 20, pids=200)
    options = Options(f"sandbox-{os.getpid()}")
    return create("/run/sandbox", bundle.made(config), options, life_line=True)


async def answer(container: Container, code: str, slots: asyncio.Semaphore) -> Result:
    async with slots:
        request = ["/bin/sh", "-c", f"cd /tmp; {code}"]
        return await container.run_async(request, stdin=b"", capture=True, output_limit=100_000, timeout=10)


async def main(rootfs: str) -> None:
    slots = asyncio.Semaphore(20)
    with warm(rootfs) as container:
        container.start()
        for result in await asyncio.gather(*(answer(container, line, slots) for line in sys.stdin)):
            said = (result.stdout + result.stderr).decode(errors="replace").strip()
            print(f"exit {result.status}:", said, flush=True)


asyncio.run(main(sys.argv[1]))
