# SPDX-License-Identifier: Apache-2.0
"""What came before a traced operation: when did the command's process begin, and in whose trace is it?

Only a command is traced from the begin of its process; a Python program that calls the library has lived for long.
"""

from __future__ import annotations

import os
import time

from ociruntime.identity import start_time_of

_SCHEDSTAT = "/proc/self/schedstat"
_HEX = frozenset("0123456789abcdef")


class Command:
    """`--trace FILE` of a command: made as soon as its flags have been read.

    path    the file
    begun   when its process began, in ns of CLOCK_REALTIME
    entered now: the interpreter runs, the verb has not been imported
    """

    __slots__ = ("begun", "entered", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.entered = time.time_ns()
        self.begun = min(_begun(), self.entered)


def _begun() -> int:
    """When this process began, in ns of CLOCK_REALTIME.

    The kernel tells it only in ticks of 10 ms (proc_pid_stat(5), starttime). Within that tick, the begin is set to the last
    moment that is possible: the time on a CPU, and the time spent waiting for one, have passed since. That is exact if the
    process has not slept, as for a file that is not in memory. What is read first is too small if the process has to wait
    meanwhile, so that the begin is never too early.
    """
    ticks = start_time_of(os.getpid())
    age = _scheduled()
    if ticks:  # else there is no /proc
        tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        most = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - ticks * tick
        age = min(max(age, most - tick), most)
    return time.time_ns() - age


def _scheduled() -> int:
    """Nanoseconds on a CPU and waiting for one. Documentation/scheduler/sched-stats.rst"""
    try:
        with open(_SCHEDSTAT, "rb", buffering=0) as file:
            running, waiting, _ = file.read().split()
    except OSError:  # a kernel without CONFIG_SCHED_INFO, or a masked /proc
        return time.process_time_ns()
    return int(running) + int(waiting)


class Context:
    """A W3C trace context: the trace that a span belongs to, and the span that caused it; ids in hexadecimal.

    trace_id   32 digits
    parent_id  16 digits
    state      of tracestate, passed on as it is
    """

    __slots__ = ("parent_id", "state", "trace_id")

    def __init__(self, trace_id: str, parent_id: str, state: str) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id
        self.state = state


def context() -> Context | None:
    """The caller's, from TRACEPARENT and TRACESTATE (OpenTelemetry: Environment Variables as Context Propagation Carriers).

    None if there is none, or if it breaks the form of https://www.w3.org/TR/trace-context/#traceparent-header; such a one is
    to be ignored. A later version may have more after the fields of version 00.
    """
    fields = os.environ.get("TRACEPARENT", "").split("-")
    lengths = [len(field) for field in fields[:4]]
    if lengths != [2, 32, 16, 2] or not _HEX.issuperset("".join(fields[:4])):
        return None
    version, trace_id, parent_id, _ = fields[:4]
    if (
        version == "ff"
        or (version == "00" and len(fields) > 4)
        or not trace_id.strip("0")
        or not parent_id.strip("0")
    ):
        return None
    return Context(trace_id, parent_id, os.environ.get("TRACESTATE", ""))
