# SPDX-License-Identifier: Apache-2.0
"""How does a trace look as a page? `--trace FILE.html`: host and init side by side, each step with property and duration.

At the top is the command from the begin of its process; then all steps in two lanes, on an axis of time that begins with the
first one; then a row for each step, with its bar on the same axis.
Nothing is fetched, and no script runs: see plan/html.py. Times are nanoseconds of CLOCK_REALTIME.
"""

from __future__ import annotations

from ociruntime.launch.trace_event import INIT
from ociruntime.plan.html import SUBJECTS, document, escaped, header, legend, operation, pairs, subject_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.launch.trace_event import Event
    from ociruntime.launch.trace_origin import Context
    from ociruntime.step import Step

_TICKS = 8  # at most
_HEIGHT, _GAP = 20, 8  # of a bar, and between two, in px
_COLUMNS = '<p class="columns"><span>Host</span><span>Container</span><span>property</span><span>ms</span>'
_FOOTER = "<footer>Enter or a click opens a step. At a sync, init waits until the host has done the steps that follow.</footer>"


class Axis:
    """Where moments lie between the begin and the end of all, in percent: as attributes of SVG."""

    def __init__(self, begin: int, end: int) -> None:
        self.begin = begin
        self.length = max(end - begin, 1)

    def at(self, moment: int) -> str:
        """The place of a moment."""
        return f"{min(max(100 * (moment - self.begin) / self.length, 0), 100):.3f}%"

    def across(self, begin: int, end: int) -> str:
        """The place and width of a bar; in a trace of start, that of init's waiting begins before the axis."""
        begin = max(begin, self.begin)
        return f'x="{self.at(begin)}" width="{self.at(self.begin + max(end - begin, 0))}"'

    def ticks(self) -> range:
        """Moments at round distances from the begin: 1, 2 or 5 times a power of ten."""
        step, turn = 1000, 0
        while self.length > _TICKS * step:
            step = step * (2, 5, 10)[turn % 3] // (1, 2, 5)[turn % 3]
            turn += 1
        return range(self.begin, self.begin + self.length + 1, step)


def page(whole: Event, events: list[Event], failure: str, context: Context | None) -> bytes:
    """The page. whole: the verb; events: what happened in it; failure: how it failed, or ""."""
    stages = [event for event in events if event.step is None]
    steps = sorted(
        (event for event in events if event.step is not None), key=lambda event: (event.begin, event.row)
    )
    notes = {name: [event for event in steps if _subject(event) == name] for name in SUBJECTS}
    axis = Axis(max(steps[0].begin, whole.begin) if steps else whole.begin, whole.end)
    body = [
        header("Where the time went", f"ociruntime {whole.name}", _facts(whole, stages, steps, context)),
        f'<p class="failed"><strong>It failed.</strong> {escaped(failure)}</p>' if failure else "",
        legend({name: f"{len(found)} \u00b7 {_sum(found)}" for name, found in notes.items() if found}),
        '<main class="trace">',
        _overview(whole, stages, axis, steps),
        f"{_COLUMNS}<svg>{''.join(_labels(axis))}</svg></p>",
        f'<div class="rows"><svg class="grid" aria-hidden="true">{"".join(_lines(axis))}</svg><ol>',
        *(_row(axis, event) for event in steps),
        "</ol></div>",
        "</main>",
        _FOOTER,
    ]
    return document(f"trace: {whole.name}", body).encode("utf-8", "backslashreplace")


def _facts(whole: Event, stages: list[Event], steps: list[Event], context: Context | None) -> dict[str, str]:
    facts = {"in all": _sum([whole]), **{stage.name: _sum([stage]) for stage in stages}}
    for side in ("host", "init"):
        facts[f"steps of {side}"] = _sum(
            [event for event in steps if event.step and event.step.where == side]
        )
    facts["begun"] = _clock(whole.begin)
    if context is not None:
        facts["trace"] = context.trace_id
    return facts


def _overview(whole: Event, stages: list[Event], axis: Axis, steps: list[Event]) -> str:
    """The command from the begin of its process, and below it its steps with an axis of their own, in two lanes."""
    command = Axis(whole.begin, whole.end)
    lane = _HEIGHT + _GAP
    first = command.at(axis.begin)
    parts = [
        *(_bar(command, event, 0, event.name) for event in stages),
        f'<rect class="all" {command.across(axis.begin, whole.end)} y="0" height="{_HEIGHT}"/>',
        f'<line class="zoom" x1="{first}" x2="0" y1="{_HEIGHT}" y2="{lane + _GAP}"/>',
        f'<line class="zoom" x1="100%" x2="100%" y1="{_HEIGHT}" y2="{lane + _GAP}"/>',
        f'<svg y="{lane + _GAP}" height="{2 * lane}">{"".join(_lines(axis))}</svg>',
        *(_bar(axis, event, _GAP + lane * (2 if event.row == INIT else 1)) for event in steps),
        f'<svg y="{_GAP + 3 * lane}" height="{_HEIGHT}">{"".join(_labels(axis))}</svg>',
    ]
    return (
        '<figure role="img" aria-label="the whole command; below it its steps, in the lanes of host and container">'
        "<figcaption><span>Command</span><span>Host</span><span>Container</span><span>ms</span></figcaption>"
        f'<svg height="{_GAP + 3 * lane + _HEIGHT}">{"".join(parts)}</svg></figure>'
    )


def _bar(axis: Axis, event: Event, y: int, label: str = "") -> str:
    """A bar that says what it is when the mouse is on it; if it is broad enough, it has a label."""
    name = event.step.describe() if event.step is not None else event.name
    shown = ""
    if label and event.length * 8 > axis.length:
        shown = f'<text class="on" x="{axis.at(event.begin)}" y="{y + _HEIGHT - 6}">{escaped(label)}</text>'
    return (
        f'<rect class="{_subject(event)}" {axis.across(event.begin, event.end)} y="{y}"'
        f' height="{_HEIGHT}"><title>{escaped(name)}: {_sum([event])}</title></rect>{shown}'
    )


def _lines(axis: Axis) -> Iterator[str]:
    for moment in axis.ticks():
        place = axis.at(moment)
        yield f'<line x1="{place}" x2="{place}" y1="0" y2="100%"/>'


def _labels(axis: Axis) -> Iterator[str]:
    """In ms from the begin of the first step."""
    for moment in axis.ticks():
        if (moment - axis.begin) * 100 > 97 * axis.length:
            return  # there is no room for it
        yield f'<text x="{axis.at(moment)}" y="1em">{(moment - axis.begin) / 1_000_000:g}</text>'


def _row(axis: Axis, event: Event) -> str:
    step = event.step
    assert step is not None
    return (
        f'<li class="{"init" if event.row == INIT else "host"} {step.where} {_subject(event)}" id="step-{event.index + 1}">'
        f"<details><summary><b>{event.index + 1}</b><span><strong>{escaped(step.name)}</strong> {escaped(step.text)}</span>"
        f"<code>{escaped(step.pointer)}</code><small>{_ms(event.length)}</small>"
        f'<svg aria-hidden="true"><rect {axis.across(event.begin, event.end)}'
        f' height="100%"/></svg></summary>{pairs(_told(axis, event, step))}</details></li>'
    )


def _told(axis: Axis, event: Event, step: Step) -> Iterator[tuple[str, object]]:
    """What an opened step says."""
    yield "step", f"{step.name} {step.text}"
    yield (
        "done by",
        f"{'init' if event.row == INIT else 'the runtime on the host'}, operation {operation(step) or 'sync'}",
    )
    yield "subject", _subject(event)
    yield "property", step.pointer or "none: every container has this step"
    yield "begin", f"{_ms(event.begin - axis.begin)} ms on the axis"
    yield "end", f"{_ms(event.end - axis.begin)} ms"
    yield "duration", f"{_ms(event.length)} ms"


def _subject(event: Event) -> str:
    return "runtime" if event.step is None else subject_of(event.step)


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1_000_000:.3f}"


def _sum(events: list[Event]) -> str:
    return f"{_ms(sum(event.length for event in events))} ms"


def _clock(moment: int) -> str:
    """The time of day in UTC, to the millisecond."""
    seconds, rest = divmod(moment // 1_000_000, 1000)
    minutes, second = divmod(seconds % 86_400, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}.{rest:03} UTC"
