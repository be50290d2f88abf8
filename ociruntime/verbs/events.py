# SPDX-License-Identifier: Apache-2.0
"""`events`: statistics of a container, once or at intervals, and its out-of-memory events; one JSON object per line."""

from __future__ import annotations

from ociruntime.cli.log import emit
from ociruntime.container import Container
from ociruntime.errors import UsageError
from ociruntime.jsontext import compact
from ociruntime.operations import events as watching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings

_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "\u00b5s": 1e-6, "ns": 1e-9}


def run(settings: Settings, given: Arguments) -> int:
    """Print the events until the container ends, or only the first (--stats)."""
    interval = seconds(given.text("interval", "5s"))
    container = Container.load(settings.state_root(), given.words[0])
    if interval <= 0:
        raise UsageError("duration interval must be greater than 0")
    watching.require_alive(container)
    if given.on("stats"):
        emit(compact(watching.statistics(container)) + "\n")
        return 0
    for event in watching.events(container, interval):
        emit(compact(event) + "\n")
    return 0


def seconds(text: str) -> float:
    """A duration as Go writes it: "5s", "100ms", "1m30s", "1.5h", "0". Raises UsageError."""
    total, rest = 0.0, text.removeprefix("-").removeprefix("+")
    sign = -1 if text.startswith("-") else 1
    if rest == "0":
        return 0.0
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        letters = len(rest[digits:]) - len(rest[digits:].lstrip("hmsnu\u00b5"))
        number, unit, rest = rest[:digits], rest[digits : digits + letters], rest[digits + letters :]
        if unit not in _SECONDS or not number.strip(".") or number.count(".") > 1:
            total = -1.0
            break
        total += float(number) * _SECONDS[unit]
    if total < 0 or text in ("", "-", "+"):
        raise UsageError(f"flag --interval needs a duration such as 5s, 100ms or 1m30s, not {text!r}")
    return sign * total
