# SPDX-License-Identifier: Apache-2.0
"""When did each step begin and end? `--trace FILE`, in Chrome's trace event format, or as a page if FILE ends with .html.

Host steps are timed here; init leaves the time at which it began each record in its progress pages.
Both read CLOCK_REALTIME, the clock that no time namespace shifts, so they share one timeline. It costs
nothing when there is no file. The page is made by launch/trace_page.py; a trace that other programs belong to is continued
(launch/trace_origin.py).
"""

from __future__ import annotations

import os
import time

from ociruntime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from ociruntime.launch.trace_event import Event
    from ociruntime.launch.trace_origin import Command
    from ociruntime.step import Plan, Step

# What a command does before its operation, and an operation before its first step.
_LOADED = {"start": "imports, state", "exec": "imports, state"}
_PREPARED = {"start": "ask init"}


class Trace:
    """Collects events and writes them when the operation has ended.

    target   the file, "" if none is wanted; or a command, which is then traced from the begin of its process
    """

    def __init__(self, target: str | Command, verb: str) -> None:
        self.verb = verb
        self.events: list[Event] = []
        self._begun = self._prepares = time.time_ns()
        if isinstance(target, str):
            self.path = target
        else:
            self.path, self._begun = target.path, target.begun
            self._stage("interpreter", target.begun, target.entered)
            self._stage(_LOADED.get(verb, "imports, bundle"), target.entered, self._prepares)

    def host(self, index: int, step: Step) -> _Span:
        """A context manager around one host step."""
        return _Span(self, index, step)

    def init(self, progress: int, plan: Plan, start: bool = False) -> None:
        """Take over what init stamped: the create part, or (start) what came after."""
        if not self.path:
            return
        from ociruntime.progress import stamps_in

        stamps = stamps_in(os.pread(progress, os.fstat(progress).st_size, 0))
        border = plan.start_index()
        for record, (index, step) in enumerate(plan.init_steps()[: len(stamps)]):
            if (index >= border) != start:
                continue
            begin = stamps[record]
            self._cut_last(begin)
            end = stamps[record + 1] if record + 1 < len(stamps) else time.time_ns()
            self.add(index, step, begin, end)

    def _cut_last(self, begin: int) -> None:
        """The end of the record that init was at when its stamps were read is only known from the next one."""
        of_init = (one for one in reversed(self.events) if one.step is not None and one.step.where != "host")
        last = next(of_init, None)
        if last is not None:
            last.end = max(min(last.end, begin), last.begin)

    def add(self, index: int, step: Step, begin: int, end: int) -> None:
        """One step; times in nanoseconds."""
        from ociruntime.launch.trace_event import Event

        self.events.append(Event(begin, end, index=index, step=step))

    def _stage(self, name: str, begin: int, end: int) -> None:
        from ociruntime.launch.trace_event import Event

        self.events.append(Event(begin, end, name=name))

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.write(value)

    def write(self, failure: BaseException | None = None) -> None:
        """Write the file; with no path, or after it could not be written, nothing is done.

        failure   of the operation itself, if it failed: that the file can't be written either is added to it
        Raises RuntimeFailure if the file can't be written and nothing else has failed.
        """
        if not self.path:
            return
        try:
            self._write("" if failure is None else str(failure) or type(failure).__name__)
        except OSError as problem:
            told = RuntimeFailure(self.path, step="write trace", errno=problem.errno or 0)
            self.path = ""
            if failure is None:
                raise told from None
            if isinstance(failure, RuntimeFailure):
                failure.and_then([str(told)])

    def _write(self, failure: str) -> None:
        from ociruntime.launch.trace_event import Event
        from ociruntime.launch.trace_origin import context

        whole = Event(self._begun, time.time_ns(), name=self.verb)
        # In a trace of start, init's step of waiting has begun long before.
        begins = [one.begin for one in self.events if one.step is not None and one.begin >= self._prepares]
        if begins:
            self._stage(_PREPARED.get(self.verb, "check, plan"), self._prepares, min(begins))
        if self.path.endswith(".html"):
            from ociruntime.launch.trace_page import page

            data = page(whole, self.events, failure, context())
        else:
            from ociruntime.launch.trace_json import document

            data = document(whole, self.events, context())
        with open(self.path, "wb", buffering=0) as file:
            file.write(data)


class _Span:
    __slots__ = ("_begin", "_index", "_step", "_trace")

    def __init__(self, trace: Trace, index: int, step: Step) -> None:
        self._trace = trace
        self._index = index
        self._step = step
        self._begin = 0

    def __enter__(self) -> None:
        if self._trace.path:
            self._begin = time.time_ns()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._trace.path:
            self._trace.add(self._index, self._step, self._begin, time.time_ns())
