# SPDX-License-Identifier: Apache-2.0
"""What can stand where on the command line? Read from the flag tables, for the completion of every shell.

Imported to make the committed scripts only. Must not import the spine.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ociruntime.cli import flags
from ociruntime.cli.flags import REFUSED, Row
from ociruntime.cli.help import HELP_ROW
from ociruntime.linux import capabilities

DIRECTORY, FILE, ID, WORDS, ANYTHING = "directory", "file", "id", "words", "anything"

# Verbs whose ID is a new one.
_MAKERS = ("create", "run")

# Flags whose path is one of the container, which the caller's files say nothing of.
_INSIDE = ("cwd",)

# Those that people send; the command knows all.
SIGNALS = ("TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT", "WINCH", "ABRT", "ALRM", "CHLD", "PIPE")  # fmt: skip


class Value(NamedTuple):
    """What a flag or an argument takes.

    name   as in the help: FILE, text|json
    kind   one of DIRECTORY, FILE, ID, WORDS, ANYTHING
    words  those that can be offered, of the kind WORDS
    """

    name: str
    kind: str
    words: tuple[str, ...] = ()


class Flag(NamedTuple):
    """A flag that is offered. value is None for a switch; repeated says that it may stand more than once."""

    long: str
    short: str
    value: Value | None
    help: str
    repeated: bool

    def spellings(self) -> list[str]:
        """`-b` and `--bundle`."""
        return [*([f"-{self.short}"] if self.short else []), f"--{self.long}"]


_KNOWN = {
    "DIR": Value("DIR", DIRECTORY),
    "BUNDLE|FILE": Value("BUNDLE|FILE", FILE),
    "ID": Value("ID", ID),
    "SIGNAL": Value("SIGNAL", WORDS, SIGNALS),
    "VERB": Value("VERB", WORDS, tuple(flags.VERBS)),
    "CAP": Value("CAP", WORDS, capabilities.NAMES),
    "NAMES": Value("NAMES", WORDS, ("runc", "crun", "runc,crun")),
}


def value(name: str) -> Value:
    """What the name of a value in the tables stands for."""
    if name in _KNOWN:
        return _KNOWN[name]
    if name.startswith("FILE"):
        return Value(name, FILE)
    if re.fullmatch(r"[a-z0-9]+(\|[a-z0-9]+)+", name):
        return Value(name, WORDS, tuple(name.split("|")))
    return Value(name, ANYTHING)


def flags_of(verb: str) -> list[Flag]:
    """The flags that a verb takes, those that it refuses left out; of the command itself for ""."""
    rows = (*flags.VERB_FLAGS[verb], HELP_ROW) if verb else flags.GLOBAL
    return [_flag(row) for row in rows if row[3] != REFUSED]


def _flag(row: Row) -> Flag:
    name, short, takes, _, _, text, _ = row
    kind = Value(takes, ANYTHING) if name in _INSIDE else value(takes)
    return Flag(name, short, kind if takes else None, text, "may be repeated" in text)


def arguments_of(verb: str) -> list[Value]:
    """The arguments of a verb, in order."""
    names = re.findall(r"[A-Z][A-Z|-]*", flags.VERBS[verb][0])
    return [Value(name, ANYTHING) if name == "ID" and verb in _MAKERS else value(name) for name in names]


def flags_end_after(verb: str) -> int | None:
    """The number of arguments after which no flag of ours can follow, or None."""
    if verb in flags.FOREIGN:
        return 1
    return 2 if verb in flags.PROGRAM else None
