# SPDX-License-Identifier: Apache-2.0
"""What happens next? One loop for everything that the shim waits for: sockets, fifos, terminals, ends of processes, time.

    watch, forget   a descriptor, and what is called when it is ready
    after           what is called later, once
    begin           an operation in several steps: a generator that yields a Pause wherever it has to wait

Nothing here blocks, and nothing that is called may block for long: everything else waits meanwhile. asyncio would do the same, for
28 to 65 ms of import and 9 MB. This module must not import anything of the package.
"""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_LONGEST_WAIT = 3600.0  # seconds: epoll takes milliseconds in 32 bits
IN, OUT = select.EPOLLIN, select.EPOLLOUT


class Pause:
    """What a step waits for: a descriptor that is ready (the generator gets True), or the time's end (it gets False)."""

    __slots__ = ("descriptor", "events", "seconds")

    def __init__(self, seconds: float, descriptor: int = -1, events: int = IN) -> None:
        self.seconds = seconds
        self.descriptor = descriptor
        self.events = events


if TYPE_CHECKING:
    Steps = Generator[Pause, bool, object]


class Timer:
    """Something that happens later, unless it is cancelled."""

    __slots__ = ("call", "due")

    def __init__(self, due: float, call: Callable[[], object]) -> None:
        self.due = due
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """It does not happen."""
        self.call = None


class Loop:
    """See above. An exception in what is called is written to stderr, and the loop goes on."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._watched: dict[int, Callable[[int], object]] = {}
        self._timers: list[Timer] = []
        self._running = True

    def watch(self, descriptor: int, events: int, call: Callable[[int], object]) -> None:
        """From now on call `call(events)` whenever the descriptor is ready, or hung up; replaces what was watched."""
        if descriptor in self._watched:
            self._poll.modify(descriptor, events)
        else:
            self._poll.register(descriptor, events)
        self._watched[descriptor] = call

    def forget(self, descriptor: int) -> None:
        """Watch it no more; before it is closed. May be called again."""
        if self._watched.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def after(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Call it once, that much later."""
        timer = Timer(time.monotonic() + seconds, call)
        self._timers.append(timer)
        return timer

    def begin(
        self, steps: Steps, done: Callable[[object], object], failed: Callable[[Exception], object]
    ) -> None:
        """Carry out an operation in steps; `done` gets what it returns, `failed` what it raises."""
        self._step(steps, None, done, failed)

    def _step(
        self,
        steps: Steps,
        ready: bool | None,
        done: Callable[[object], object],
        failed: Callable[[Exception], object],
    ) -> None:
        try:
            pause = next(steps) if ready is None else steps.send(ready)
        except StopIteration as end:
            done(end.value)
            return
        except Exception as failure:  # noqa: BLE001 - whoever began it says what becomes of it
            failed(failure)
            return

        def over(ready: bool) -> None:
            timer.cancel()
            if pause.descriptor >= 0:
                self.forget(pause.descriptor)
            self._step(steps, ready, done, failed)

        timer = self.after(pause.seconds, lambda: over(False))
        if pause.descriptor >= 0:
            self.watch(pause.descriptor, pause.events, lambda _: over(True))

    def stop(self) -> None:
        """End `run`."""
        self._running = False

    def run(self) -> None:
        """Until `stop`."""
        while self._running:
            self.turn()

    def turn(self) -> None:
        """Wait once, and call what is ready."""
        timeout = -1.0
        if self._timers:
            next_due = min(timer.due for timer in self._timers) - time.monotonic()
            timeout = max(min(next_due, _LONGEST_WAIT), 0)
        for descriptor, events in self._poll.poll(timeout):
            call = self._watched.get(descriptor)  # None: forgotten by another one in this turn
            if call is not None:
                guarded(call, events)
        if self._timers:
            now = time.monotonic()
            due = [timer for timer in self._timers if timer.due <= now or timer.call is None]
            self._timers = [timer for timer in self._timers if timer not in due]
            for timer in sorted(due, key=lambda one: one.due):
                if timer.call is not None:
                    guarded(timer.call)

    def close(self) -> None:
        """Give the descriptor back."""
        self._poll.close()


def guarded(call: Callable[..., object], *arguments: object) -> None:
    """Call it; an exception is told, and that is all."""
    try:
        call(*arguments)
    except Exception as failure:  # noqa: BLE001 - one container's bad luck must not end the others' shim
        tell(f"internal error: {type(failure).__name__}: {failure} {_places(failure)}")


def _places(failure: BaseException) -> str:
    """Where it was raised: file and line of each call, innermost last."""
    places, trace = [], failure.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return f"({' '.join(places)})"


def tell(text: str) -> None:
    """Write a line for containerd's log. If no one takes it, it is lost."""
    try:
        os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        return
