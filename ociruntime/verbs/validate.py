# SPDX-License-Identifier: Apache-2.0
"""`validate`: print everything that is wrong with a config.json; needs no root filesystem and no root.

error              the specification forbids it: create refuses it, and the exit code is 1
warning            create goes on (and logs it, if it is more than advice to the config's author)
not supported yet  valid, but this version refuses it; the exit code stays 0
"""

from __future__ import annotations

from ociruntime import advice, bundle, check
from ociruntime.config import escape
from ociruntime.errors import EXIT_ERROR, BundleError, Violation, printable
from ociruntime.jsontext import indented
from ociruntime.log import emit
from ociruntime.verbs import config_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.bundle import Bundle
    from ociruntime.flags import Arguments
    from ociruntime.verbs import Settings

_LABELS = {"error": "error", "warning": "warning", "unsupported": "not supported yet"}


def run(settings: Settings, given: Arguments) -> int:
    """Print the violations, one a line, or all as JSON."""
    del settings
    directory, path = config_of(given.words)
    found = findings(bundle.load(directory, path))
    broken = any(violation.severity == "error" for violation in found)
    if given.text("format") == "json":
        listed = [violation.as_dict() for violation in found]
        emit(indented({"config": path, "valid": not broken, "violations": listed}) + "\n")
    else:
        emit(as_text(path, found))
    return EXIT_ERROR if broken else 0


def findings(loaded: Bundle) -> list[Violation]:
    """All violations of a config: what create refuses or logs, advice, and names that stand twice."""
    found = [*check.violations(loaded.config), *advice.advice(loaded.config)]
    return [*sorted(found, key=lambda one: one.pointer), *duplicate_names(loaded.raw)]


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
    return (
        "\n".join([*lines, f"{printable(path)}: {verdict}" + (f" ({', '.join(counts)})" if counts else "")])
        + "\n"
    )


def duplicate_names(raw: bytes) -> list[Violation]:
    """A name that stands twice in one object (R003): parsers differ in which value they take; we take the last."""
    import json

    try:
        document = json.loads(raw, object_pairs_hook=_Object)
    except RecursionError:
        raise BundleError("not json: nested too deeply") from None
    reason = "stands more than once in this object; the last one counts"
    found = []
    waiting: list[tuple[str, object]] = [("", document)]
    while waiting:
        pointer, value = waiting.pop()
        if isinstance(value, _Object):
            found += [f"{pointer}/{escape(name)}" for name in value.twice]
            waiting += [(f"{pointer}/{escape(name)}", item) for name, item in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{pointer}/{index}", item) for index, item in enumerate(value)]
    return [Violation(pointer, reason, "R003", "warning") for pointer in sorted(found)]


class _Object(dict[str, object]):
    """A JSON object that remembers which of its names came more than once."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.twice: list[str] = []
        if len(pairs) > len(self):
            names = [name for name, _ in pairs]
            self.twice = [name for name in self if names.count(name) > 1]
