# SPDX-License-Identifier: Apache-2.0
"""The same as api/running.py and api/exchange.py, served by an asyncio loop: no thread, and nothing blocks while a program runs.

Making and removing a container still takes its few milliseconds in the loop's thread.
"""

from __future__ import annotations

import asyncio
import os
import time

from ociruntime.api.running import advance
from ociruntime.descriptors import Descriptors
from ociruntime.operations.exec import ExecProcess
from ociruntime.operations.result import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.api import Container
    from ociruntime.api.exchange import Exchange
    from ociruntime.api.running import InContainer, InExisting


async def driven(program: InContainer | InExisting) -> Result:
    """Run the program to its end. If this is cancelled, the program is ended and what was made for it removed."""
    with program:
        waits = program.waits()
        wait: tuple[int, float | None] | Result = next(waits)
        while not isinstance(wait, Result):
            wait = advance(waits, await served(program.streams.exchange, *wait))
        return wait


async def wait_async(waiting: Container | ExecProcess, timeout: float | None = None) -> int:
    """As `wait` of a container, or of a process of `exec`, without blocking the asyncio loop. Raises as that, and TimeoutError."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()

    def end() -> None:
        if not over.done():
            over.set_result(None)

    with Descriptors() as own:
        # A loop has one reader for a descriptor, and several tasks may wait for the same process.
        own["pidfd"] = os.dup(waiting.pidfd if isinstance(waiting, ExecProcess) else waiting.pidfd())
        loop.add_reader(own["pidfd"], end)
        try:
            await asyncio.wait_for(over, timeout)
        finally:
            loop.remove_reader(own["pidfd"])
    return waiting.wait()


async def served(exchange: Exchange, pidfd: int, deadline: float | None) -> bool:
    """As Exchange.serve."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[bool] = loop.create_future()
    watched: set[int] = set()
    failures: list[BaseException] = []

    def end(in_time: bool) -> None:
        if not over.done():
            over.set_result(in_time)

    def step(descriptor: int, forget: Callable[[int], object]) -> None:
        try:
            if exchange.step(descriptor, before_close=forget):
                return
        except BaseException as failure:  # noqa: BLE001 - the caller's function may raise anything: it is raised below
            failures.append(failure)
            end(False)
            return
        watched.discard(descriptor)
        if pidfd < 0 and not exchange.outputs():
            end(True)

    try:
        for descriptor in exchange.open:
            watched.add(descriptor)
            if exchange.is_input(descriptor):
                loop.add_writer(descriptor, step, descriptor, loop.remove_writer)
            else:
                loop.add_reader(descriptor, step, descriptor, loop.remove_reader)
        if pidfd >= 0:
            loop.add_reader(pidfd, end, True)
        elif not exchange.outputs():
            return True
        left = None if deadline is None else max(deadline - time.monotonic(), 0)
        try:
            in_time = await asyncio.wait_for(asyncio.shield(over), left)
        except TimeoutError:
            in_time = over.done() and over.result()
        if failures:
            raise failures[0]
        return in_time
    finally:
        for descriptor in watched:
            loop.remove_reader(descriptor)
            loop.remove_writer(descriptor)
        if pidfd >= 0:
            loop.remove_reader(pidfd)
