# SPDX-License-Identifier: Apache-2.0
"""How does a trace look in Chrome's trace event format, which chrome://tracing and Perfetto read?

In a trace of other programs (TRACEPARENT) each event is a span: `args` has trace_id, span_id and parent_id. The parent of the
verb is the caller's span, and the verb is the parent of all others.
"""

from __future__ import annotations

import os

from ociruntime.jsontext import compact
from ociruntime.launch.trace_event import HOST, INIT, VERB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ociruntime.launch.trace_event import Event
    from ociruntime.launch.trace_origin import Context


def document(whole: Event, events: Iterable[Event], context: Context | None) -> bytes:
    """The file. whole: the verb; events: what happened in it; context: the caller's trace, if there is one."""
    names: list[dict[str, object]] = [
        {"name": "thread_name", "ph": "M", "pid": os.getpid(), "tid": row, "args": {"name": name}}
        for row, name in ((VERB, "verb"), (HOST, "runtime"), (INIT, "init"))
    ]
    spans = [{**_event(whole), "cat": "verb"}, *map(_event, events)]
    if context is not None:
        _relate(spans, context)
    return compact({"traceEvents": names + spans}).encode()


def _event(event: Event) -> dict[str, object]:
    """One event; times in microseconds."""
    step, name, kind = event.step, event.name, "stage"
    arguments: dict[str, object] = {}
    if step is not None:
        name, kind = step.describe(), step.where
        arguments = {"step": event.index, "pointer": step.pointer}
    return {
        "name": name,
        "cat": kind,
        "ph": "X",
        "ts": event.begin / 1000,
        "dur": event.length / 1000,
        "pid": os.getpid(),
        "tid": event.row,
        "args": arguments,
    }


def _relate(spans: list[dict[str, object]], context: Context) -> None:
    """Give each event its ids; the first one is the verb."""
    own = os.urandom(8).hex()
    for index, span in enumerate(spans):
        arguments = span["args"]
        assert isinstance(arguments, dict)
        arguments["trace_id"] = context.trace_id
        arguments["span_id"] = os.urandom(8).hex() if index else own
        arguments["parent_id"] = own if index else context.parent_id
    if context.state:
        arguments = spans[0]["args"]
        assert isinstance(arguments, dict)
        arguments["tracestate"] = context.state
