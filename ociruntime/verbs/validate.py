# SPDX-License-Identifier: Apache-2.0
"""`validate`: print everything that is wrong with a config.json; needs no root filesystem and no root.

error              the specification forbids it: create refuses it, and the exit code is 1
warning            create logs it and goes on
not supported yet  valid, but this version refuses it; the exit code stays 0
"""

from __future__ import annotations

from ociruntime import check
from ociruntime.bundle import load_config
from ociruntime.config import escape
from ociruntime.errors import EXIT_ERROR, Violation
from ociruntime.jsontext import indented
from ociruntime.log import emit
from ociruntime.verbs import config_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.flags import Arguments
    from ociruntime.verbs import Settings

_LABELS = {"error": "error", "warning": "warning", "unsupported": "not supported yet"}


def run(settings: Settings, given: Arguments) -> int:
    """Print the violations, one a line, or all as JSON."""
    del settings
    _, path = config_of(given.words)
    found = [*check.violations(load_config(path)), *duplicate_names(path)]
    broken = any(violation.severity == "error" for violation in found)
    if given.text("format") == "json":
        listed = [violation.as_dict() for violation in found]
        emit(indented({"config": path, "valid": not broken, "violations": listed}) + "\n")
    else:
        emit(as_text(path, found))
    return EXIT_ERROR if broken else 0


def as_text(path: str, found: list[Violation]) -> str:
    """One line a violation, and one that counts them."""
    lines = [f"{_LABELS[violation.severity]}: {violation}" for violation in found]
    counts = []
    for severity, label in _LABELS.items():
        count = sum(violation.severity == severity for violation in found)
        if count:
            plural = "s" if count > 1 and severity != "unsupported" else ""
            counts.append(f"{count} {label}{plural}")
    verdict = "not valid" if any(violation.severity == "error" for violation in found) else "valid"
    return "\n".join([*lines, f"{path}: {verdict}" + (f" ({', '.join(counts)})" if counts else "")]) + "\n"


def duplicate_names(path: str) -> list[Violation]:
    """A name that stands twice in one object (R003): parsers differ in which value they take; we take the last."""
    import json

    with open(path, "rb") as file:
        document = json.loads(file.read(), object_pairs_hook=_Object)
    reason = "stands more than once in this object; the last one counts"
    return [Violation(pointer, reason, "R003", "warning") for pointer in _duplicates(document, "")]


class _Object(dict[str, object]):
    """A JSON object that remembers which of its names came twice."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.twice = [name for name, _ in pairs if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


def _duplicates(value: object, pointer: str) -> Iterator[str]:
    if isinstance(value, _Object):
        for name in dict.fromkeys(value.twice):
            yield f"{pointer}/{escape(name)}"
        for name, item in value.items():
            yield from _duplicates(item, f"{pointer}/{escape(name)}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _duplicates(item, f"{pointer}/{index}")
