# SPDX-License-Identifier: Apache-2.0
"""`validate`: print everything that is wrong with a config.json; needs no root filesystem and no root.

error              the specification forbids it: create refuses it, and the exit code is 1
warning            create goes on (and logs it, if it is more than advice to the config's author)
not supported yet  valid, but this version refuses it; the exit code stays 0
"""

from __future__ import annotations

from ociruntime import bundle
from ociruntime.check import advice, check, unknown
from ociruntime.cli.log import emit
from ociruntime.config import escape
from ociruntime.errors import EXIT_ERROR, LINE_LIMIT, Violation, printable, shortened
from ociruntime.jsontext import indented
from ociruntime.verbs import config_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ociruntime.bundle import Bundle
    from ociruntime.cli.flags import Arguments
    from ociruntime.errors import Findings
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
        document = {"config": path, "valid": not broken, "violations": listed}
        if found.left_out():
            document["leftOut"] = found.left_out()
        emit(indented(document) + "\n")
    else:
        emit(as_text(path, found, found.left_out()))
    return EXIT_ERROR if broken else 0


def findings(loaded: Bundle) -> Findings:
    """All violations of a config: what create refuses or logs, advice, names that are unknown or come twice.

    Of a valid config also what this machine doesn't have.
    """
    found = check.violations(loaded.config)
    found.take(advice.advice(loaded.config))
    found.take(unknown.unknown_names(loaded.config))
    if not any(violation.severity == "error" for violation in found):
        from ociruntime.inspect.absent import absent

        found.take(absent(loaded.config))
    found.sort(key=lambda one: one.pointer)
    found.take(duplicate_names(loaded.raw))
    return found


def as_text(path: str, found: list[Violation], left_out: Sequence[str] = ()) -> str:
    """One line per violation, one for what is left out, and one that counts them."""
    lines = [shortened(f"{_LABELS[violation.severity]}: {violation}", LINE_LIMIT) for violation in found]
    lines += left_out
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
    """A name that occurs twice in one object (R003): parsers differ in which value they take; we take the last.

    raw   of a config that has been parsed: it is JSON, and not nested too deeply
    """
    import json

    reason = "occurs more than once in this object; the last one counts"
    found = sorted(_twice(json.loads(raw, object_pairs_hook=_Object), ""))
    return [Violation(pointer, reason, "R003", "warning") for pointer in found]


def _twice(value: object, pointer: str) -> Iterator[str]:
    if isinstance(value, _Object):
        yield from (f"{pointer}/{escape(name)}" for name in value.twice)
    members = (
        value.items() if isinstance(value, _Object) else enumerate(value if isinstance(value, list) else ())
    )
    for key, item in members:
        if isinstance(item, (_Object, list)):
            yield from _twice(item, f"{pointer}/{escape(str(key))}")


class _Object(dict[str, object]):
    """A JSON object that remembers which of its names came more than once."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.twice: list[str] = []
        if len(pairs) > len(self):
            seen: dict[str, int] = {}
            for name, _ in pairs:
                seen[name] = seen.get(name, 0) + 1
            self.twice = [name for name in self if seen[name] > 1]
