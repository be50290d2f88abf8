# SPDX-License-Identifier: Apache-2.0
"""What does --help print? And the words for verbs and flags that the pages made from the same tables share (cli/pages.py).

Must not import the spine or a subject.
"""

from __future__ import annotations

from ociruntime.cli import flags, flags_later
from ociruntime.cli.flags import ACCEPTED, REFUSED, Row
from ociruntime.errors import UsageError

HELP_ROW: Row = ("help", "h", "", flags.WORKS, "runc", "show this help", "")


def synopsis(verb: str) -> str:
    """`create [flags] ID`."""
    words = flags.VERBS[verb][0] if verb in flags.VERBS else "ID"
    return " ".join(part for part in (verb, "[flags]" if rows_of(verb) else "", words) if part)


def rows_of(verb: str) -> tuple[Row, ...]:
    """The flags of a verb, from either table."""
    return flags.VERB_FLAGS[verb] if verb in flags.VERB_FLAGS else flags_later.LATER_FLAGS[verb]


def all_verbs() -> list[str]:
    """Every verb by name: those that work, then those that are refused."""
    return [*flags.VERBS, *flags.LATER]


def summary(verb: str) -> str:
    """What a verb is for."""
    return flags.VERBS[verb][3] if verb in flags.VERBS else f"{flags.LATER[verb]} (not supported yet)"


def spelled(row: Row) -> str:
    """`-b, --bundle DIR`."""
    return (f"-{row[1]}, " if row[1] else "") + f"--{row[0]}" + (f" {row[2]}" if row[2] else "")


def remark(row: Row) -> str:
    """What --help adds to the description of a flag that doesn't simply work."""
    if row[3] == REFUSED:
        return f"refused: {row[6]}"
    if row[3] == ACCEPTED:
        return f"accepted but ignored: {row[6]}"
    return row[6]


def help_text(verb: str) -> str:
    """What --help prints: of the command for "", of a verb otherwise. Raises UsageError for an unknown verb."""
    if not verb:
        lines = ["usage: ociruntime [global flags] VERB [flags and arguments]", "", "verbs:"]
        lines += [f"  {name:11} {summary(name)}" for name in all_verbs()]
        lines += ["", "global flags:", *_flag_lines(flags.GLOBAL)]
        lines += ["", "`ociruntime VERB --help` shows the flags of a verb."]
        return "\n".join(lines) + "\n"
    if verb not in all_verbs():
        raise UsageError(
            f"unknown verb {verb}",
            hint=flags.meant(verb, [*flags.VERBS, *flags.LATER], "--help lists the verbs"),
        )
    lines = [f"usage: ociruntime [global flags] {synopsis(verb)}", "", summary(verb)]
    lines += ["", "flags (may also follow the arguments):", *_flag_lines((*rows_of(verb), HELP_ROW))]
    return "\n".join(lines) + "\n"


def _flag_lines(rows: tuple[Row, ...]) -> list[str]:
    width = max(len(spelled(row)) for row in rows)
    lines = []
    for row in rows:
        more = remark(row)
        lines.append(f"  {spelled(row):{width}}  {row[5]}" + (f" ({more})" if more else ""))
    return lines
