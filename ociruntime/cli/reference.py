# SPDX-License-Identifier: Apache-2.0
"""Which pages of docs/ are made from the tables of the command line? command-line.md and exit-codes.md.

Must not import the spine or a subject.
"""

from __future__ import annotations

from ociruntime.cli import flags
from ociruntime.cli.flags import ACCEPTED, REFUSED, Row
from ociruntime.cli.help import all_verbs, rows_of, spelled, summary, synopsis

# code -> when
EXIT_CODES: tuple[tuple[str, str], ...] = (
    ("0", "success; `delete --force` also succeeds if there is no such container"),
    ("1", "an error; one line on stderr (and in the log) says which. `validate`: the config breaks the specification; `doctor`: something that is needed does not work"),
    ("128+n", "`create`, `run`, `exec`: signal n arrived before the program ran; what had been done has been undone"),
    ("130", "any other verb: interrupted by SIGINT"),
    ("141", "the reader of standard output went away (128 + SIGPIPE), as in `ociruntime plan | head -1`"),
    ("255", "`exec`: the program could not be run in the container; a mistake in the command line is 1"),
    ("program's", "`run` and `exec` in the foreground: the exit status of the program, or 128+n if signal n ended it"),
)  # fmt: skip


def markdown() -> str:
    """docs/command-line.md."""
    lines = [
        "# The command line",
        "",
        "Made from the flag table in `ociruntime/cli/flags.py` by `python3 -m ociruntime.cli.pages markdown`; do not edit.",
        "",
        "    ociruntime [global flags] VERB [flags and arguments]",
        "",
        "Flags are read as runc reads them: `-flag` is `--flag`, `--flag=value` is `--flag value`, a verb's flags may",
        "come before and after its arguments, and `--` ends the flags. `-h` and `--help` work with every verb.",
        "*From* says where the flag comes from: runc, crun, or this runtime alone (ours).",
        "",
        "## Global flags",
        "",
        *_flag_table(flags.GLOBAL),
    ]
    for verb in all_verbs():
        lines += ["", f"## {verb}", "", f"`ociruntime {synopsis(verb)}`: {summary(verb)}"]
        if rows_of(verb):
            lines += ["", *_flag_table(rows_of(verb))]
    return "\n".join(lines) + "\n"


def _flag_table(rows: tuple[Row, ...]) -> list[str]:
    lines = ["| flag | from | what it does | here |", "|---|---|---|---|"]
    for row in rows:
        here = {ACCEPTED: "accepted but ignored", REFUSED: "refused"}.get(row[3], "works")
        here += f": {row[6]}" if row[6] else ""
        lines.append(f"| `{_cell(spelled(row))}` | {row[4]} | {row[5]} | {here} |")
    return lines


def _cell(text: str) -> str:
    """A | would end the table's cell, even inside backquotes."""
    return text.replace("|", "\\|")


def exit_codes() -> str:
    """docs/exit-codes.md."""
    lines = [
        "# Exit codes",
        "",
        "Made from the table in `ociruntime/cli/reference.py` by `python3 -m ociruntime.cli.pages exit-codes`; do not edit.",
        "The codes are stable. Where runc gives a code a meaning, it is the same here.",
        "",
        "| code | when |",
        "|---|---|",
        *(f"| {code} | {_cell(when)} |" for code, when in EXIT_CODES),
    ]
    return "\n".join(lines) + "\n"
