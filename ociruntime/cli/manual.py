# SPDX-License-Identifier: Apache-2.0
"""What does the manual page say? docs/ociruntime.8, in the man macros, from the tables of the command line.

Must not import the spine or a subject.
"""

from __future__ import annotations

import textwrap

from ociruntime import __version__
from ociruntime.cli import flags
from ociruntime.cli.help import all_verbs, remark, rows_of, spelled, summary, synopsis
from ociruntime.cli.reference import EXIT_CODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ociruntime.cli.flags import Row

_WIDTH = 70  # of the source, whose lines grow by a backslash for each hyphen


# When something of the page that the tables don't make was last changed; mandoc asks for a date.
_DATE = "2026-12-01"

# what it is for -> the commands
EXAMPLES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "A shell in a container. rootfs is a directory with a root filesystem, in the directory bundle:",
        ("ociruntime spec --bundle bundle", "ociruntime run --bundle bundle demo"),
    ),
    (
        "What is wrong with a config, what would be done, and what this host lacks for it; nothing is made:",
        ("ociruntime validate bundle", "ociruntime plan bundle", "ociruntime doctor bundle"),
    ),
    (
        "A container as an engine makes it. Its program must need no terminal:",
        (
            "ociruntime create --bundle bundle --pid-file demo.pid demo",
            "ociruntime start demo",
            "ociruntime state demo",
            "ociruntime exec demo ps",
            "ociruntime update --memory 200M --pids-limit 50 demo",
            "ociruntime kill demo TERM",
            "ociruntime delete demo",
        ),
    ),
    (
        "How a program ended and what it used, and when each step began and ended:",
        ("ociruntime --trace trace.json run --report report.json --bundle bundle demo",),
    ),
    ("Remove whatever is left of a container, alive or not:", ("ociruntime delete --force demo",)),
)

# path -> what it is
_FILES = (
    ("config.json", "In the bundle: what the container is to be, by the OCI runtime specification."),
    ("/run/ociruntime", "The containers' state of root, unless --root names another directory."),
    ("$XDG_RUNTIME_DIR/ociruntime", "The same of any other user; /run/user/UID/ociruntime if the variable is not set."),
    ("@seccomp", "In the directory of the state: compiled system call filters. It can be removed at any time."),
)  # fmt: skip

# variable -> what it does
ENVIRONMENT = (
    ("XDG_RUNTIME_DIR", "For users other than root: where the state is kept, and where the user's systemd listens."),
    ("USER", "In a user namespace, root with another name than root here keeps the state in XDG_RUNTIME_DIR."),
    ("DBUS_SESSION_BUS_ADDRESS, DBUS_SYSTEM_BUS_ADDRESS", "Where systemd is reached, with --cgroup-manager systemd: for a user, and for root."),
    ("NOTIFY_SOCKET", "Start and run: a socket of that kind is given to the container, and what its program says there is passed on."),
    ("LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES", "Create and run: descriptors that systemd has opened are passed on to the container's program."),
    ("TRACEPARENT, TRACESTATE", "The trace of --trace continues the caller's (W3C Trace Context)."),
    ("PATH", "Where newuidmap, newgidmap, ps and the runtimes of compare are looked for."),
)  # fmt: skip


def man_page() -> str:
    """docs/ociruntime.8, in the man macros."""
    lines = [
        '.\\" Made from ociruntime/cli/flags.py by `python3 -m ociruntime.cli.pages write`; do not edit.',
        f'.TH OCIRUNTIME 8 "{_DATE}" "ociruntime {__version__}" "System Administration"',
        ".SH NAME",
        "ociruntime \\- run OCI containers",
        ".SH SYNOPSIS",
        ".B ociruntime",
        "[global flags] VERB [flags and arguments]",
        ".SH DESCRIPTION",
        *_text(
            "Creates, starts, inspects, signals and deletes containers from OCI bundles: directories with a config.json "
            "and a root filesystem. The command line is compatible with runc(8)."
        ),
        ".SH GLOBAL FLAGS",
        *_man_flags(flags.GLOBAL),
        ".SH VERBS",
    ]
    for verb in all_verbs():
        lines += [".SS " + _man(synopsis(verb)), *_text(_sentence(summary(verb))), *_man_flags(rows_of(verb))]
    lines += [
        ".SH EXIT STATUS",
        *_list(".B", [(code, _sentence(when.replace("`", ""))) for code, when in EXIT_CODES]),
    ]
    lines += [".SH ENVIRONMENT", *_list(".B", ENVIRONMENT), ".SH FILES", *_list(".I", _FILES), ".SH EXAMPLES"]
    for number, (what, commands) in enumerate(EXAMPLES):
        lines += [*([".PP"] if number else []), *_text(what), ".PP", ".EX", *map(_man, commands), ".EE"]
    lines += [".SH SEE ALSO", ".BR crun (1),", ".BR containerd (8),", ".BR runc (8)"]
    return "\n".join(lines) + "\n"


def _list(macro: str, items: Iterable[tuple[str, str]]) -> list[str]:
    """Tagged paragraphs: the name in bold or italics, and what it is."""
    return [line for name, text in items for line in (".TP", f"{macro} {_man(name)}", *_text(text))]


def _man_flags(rows: tuple[Row, ...]) -> list[str]:
    texts = (
        (spelled(row), _sentence(row[5]) + (f" ({more})" if (more := remark(row)) else "")) for row in rows
    )
    return _list(".B", texts)


def _text(text: str) -> list[str]:
    """A paragraph in lines of the width that mandoc asks for."""
    return [
        _man(line) for line in textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _man(text: str) -> str:
    """Text as troff source: hyphens that can be copied, and no line that begins with a control character."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
