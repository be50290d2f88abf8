# SPDX-License-Identifier: Apache-2.0
"""When did each step begin and end? `--trace FILE`, in Chrome's trace event format (chrome://tracing, Perfetto).

Host steps are timed here; init leaves the time at which it began each record in its progress pages.
Both read CLOCK_REALTIME, the clock that no time namespace shifts, so they share one timeline. It costs
nothing when there is no file.
"""

from __future__ import annotations

import os
import time

from ociruntime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from ociruntime.step import Plan, Step

_HOST, _INIT = 1, 2  # the two rows of the picture


class Trace:
    """Collects events and writes them when the operation has ended."""

    def __init__(self, path: str, verb: str) -> None:
        self.path = path
        self.verb = verb
        self.events: list[dict[str, object]] = []
        self._begun = time.time_ns()

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
            self.add(index, step, begin, end, _INIT)

    def _cut_last(self, begin: int) -> None:
        """The end of the record that init was at when its stamps were read is only known from the next one."""
        last = next((event for event in reversed(self.events) if event["tid"] == _INIT), None)
        if last is not None:
            start, length = last["ts"], last["dur"]
            assert isinstance(start, float)
            assert isinstance(length, float)
            last["dur"] = max(min(length, begin / 1000 - start), 0.0)

    def add(self, index: int, step: Step, begin: int, end: int, row: int) -> None:
        """One event; times in nanoseconds."""
        self.events.append(
            {
                "name": step.describe(),
                "cat": step.where,
                "ph": "X",
                "ts": begin / 1000,
                "dur": (end - begin) / 1000,
                "pid": os.getpid(),
                "tid": row,
                "args": {"step": index, "pointer": step.pointer},
            }
        )

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
            self._write()
        except OSError as problem:
            told = RuntimeFailure(self.path, step="write trace", errno=problem.errno or 0)
            self.path = ""
            if failure is None:
                raise told from None
            if isinstance(failure, RuntimeFailure):
                failure.reason += f"; and then: {told}"

    def _write(self) -> None:
        from ociruntime.jsontext import compact

        whole = {
            "name": self.verb,
            "ph": "X",
            "ts": self._begun / 1000,
            "dur": (time.time_ns() - self._begun) / 1000,
            "pid": os.getpid(),
            "tid": 0,
        }
        names = [
            {"name": "thread_name", "ph": "M", "pid": os.getpid(), "tid": row, "args": {"name": name}}
            for row, name in ((0, "verb"), (_HOST, "runtime"), (_INIT, "init"))
        ]
        with open(self.path, "wb", buffering=0) as file:
            file.write(compact({"traceEvents": [*names, whole, *self.events]}).encode())


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
            self._trace.add(self._index, self._step, self._begin, time.time_ns(), _HOST)
