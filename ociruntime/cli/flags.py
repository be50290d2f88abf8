# SPDX-License-Identifier: Apache-2.0
"""Which verbs and flags does the command line have? The one table, and the parser that follows it.

Help texts, the manual page, the shells' completion and docs/command-line.md are made from these tables
(`python3 -m ociruntime.cli.pages write`); the flags of verbs that this
version refuses are in cli/flags_later.py, so that `state` does not read them.

The tables are tuples of plain constants: the interpreter loads them as one constant, without running code.
This module must not import anything of the package but errors, and argparse (6 ms) least of all.
"""

from __future__ import annotations

from ociruntime.errors import NotSupported, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# How a flag is treated.
WORKS = "works"
ACCEPTED = "accepted"  # without effect; the last column says why
REFUSED = "refused"  # named in the error; the last column says why

# (long name, short name, value, treatment, where it comes from, help, why)
# value: "" is a switch; "N" must be a number; "A|B" one of these words; anything else is free text.
Row = tuple[str, str, str, str, str, str, str]

_LATER = "not supported yet"

GLOBAL: tuple[Row, ...] = (
    ("root", "", "DIR", WORKS, "runc", "keep the containers' state in DIR", ""),
    ("log", "", "FILE", WORKS, "runc", "also append errors and warnings to FILE", ""),
    ("log-format", "", "text|json", WORKS, "runc", "format of log lines (default text)", ""),
    ("debug", "", "", WORKS, "runc", "log more, and show the traceback of an internal error", ""),
    ("trace", "", "FILE", WORKS, "ours", "create, start, run, exec: write the start and end of every step to FILE (Chrome trace JSON; a page if FILE ends with .html)", ""),
    ("cgroup-manager", "", "cgroupfs|disabled|systemd", WORKS, "crun", "how cgroups are managed (default cgroupfs)", ""),
    ("systemd-cgroup", "", "", WORKS, "runc", "the same as --cgroup-manager systemd: a scope unit for each container", ""),
    ("rootless", "", "auto|false|true", WORKS, "runc", "go on without the cgroups that may not be made (default auto: unless the caller is the host's root)", ""),
    ("criu", "", "FILE", ACCEPTED, "runc", "path of the criu program", "only checkpoint and restore would use it"),
    ("help", "h", "", WORKS, "runc", "show this help", ""),
    ("version", "v", "", WORKS, "runc", "show the version of the runtime and of the specification", ""),
)  # fmt: skip

_REPORT: Row = ("report", "", "FILE", WORKS, "ours", "write how the program ended, and what it used, to FILE (JSON)", "")  # fmt: skip

_TRACE: Row = ("trace", "", "FILE", WORKS, "ours", "the same as the global --trace", "")

_CREATE: tuple[Row, ...] = (
    ("bundle", "b", "DIR", WORKS, "runc", "the bundle's directory (default: the current one)", ""),
    ("config", "f", "FILE", WORKS, "crun", "read this file instead of the bundle's config.json", ""),
    ("pid-file", "", "FILE", WORKS, "runc", "write the process id of the container's init to FILE", ""),
    (
        "preserve-fds",
        "",
        "N",
        WORKS,
        "runc",
        "pass N additional descriptors, starting at 3, to the container",
        "",
    ),
    ("no-pivot", "", "", WORKS, "runc", "move the root mount instead of calling pivot_root", ""),
    ("no-new-keyring", "", "", WORKS, "runc", "keep the caller's session keyring", ""),
    _TRACE,
    ("console-socket", "", "FILE", WORKS, "runc", "send the terminal to this socket", ""),
    ("pidfd-socket", "", "FILE", WORKS, "runc", "send a pidfd of init to this socket", ""),
)

_RUN: tuple[Row, ...] = (
    ("detach", "d", "", WORKS, "runc", "return once the program runs", ""),
    ("keep", "", "", WORKS, "runc", "do not delete the container when its program ends", ""),
    _REPORT,
)

_EXEC: tuple[Row, ...] = (
    ("cwd", "", "DIR", WORKS, "runc", "working directory in the container", ""),
    ("env", "e", "NAME=VALUE", WORKS, "runc", "add to the environment; may be repeated", ""),
    ("user", "u", "UID[:GID]", WORKS, "runc", "user and group of the process, decimal; without GID the container's group is kept", ""),
    ("additional-gids", "g", "GID", WORKS, "runc", "add a supplementary group; may be repeated", ""),
    ("process", "p", "FILE", WORKS, "runc", "read the whole process object from FILE, instead of naming a program", ""),
    ("detach", "d", "", WORKS, "runc", "return once the program runs", ""),
    ("pid-file", "", "FILE", WORKS, "runc", "write the process id to FILE", ""),
    ("no-new-privs", "", "", WORKS, "runc", "set no_new_privs", ""),
    ("cap", "c", "CAP", WORKS, "runc", "add a capability (never to the inheritable set); may be repeated", ""),
    ("preserve-fds", "", "N", WORKS, "runc", "pass N additional descriptors, starting at 3", ""),
    ("cgroup", "", "PATH", WORKS, "runc", "run in this cgroup below the container's; cgroup v1: CONTROLLER[,CONTROLLER]:PATH, may be repeated", ""),
    ("ignore-paused", "", "", WORKS, "runc", "in a paused container, wait until it is resumed instead of failing", ""),
    ("tty", "t", "", WORKS, "runc", "give the process a terminal", ""),
    ("console-socket", "", "FILE", WORKS, "runc", "with --detach: send the terminal to this socket", ""),
    ("pidfd-socket", "", "FILE", WORKS, "runc", "send a pidfd of the process to this socket", ""),
    ("process-label", "", "LABEL", WORKS, "runc", "SELinux label of the process", ""),
    ("apparmor", "", "PROFILE", WORKS, "runc", "AppArmor profile of the process", ""),
    _REPORT,
    _TRACE,
)  # fmt: skip

_SUBREAPER: Row = ("no-subreaper", "", "", ACCEPTED, "runc", "do not become a subreaper", "this runtime never does; it waits for init only")  # fmt: skip

_REGEX: Row = ("regex", "r", "", WORKS, "crun", "ID is a regular expression: act on every container whose id it matches", "")  # fmt: skip

_FORMAT_TEXT: Row = ("format", "f", "text|json", WORKS, "ours", "output format (default text)", "")

_UPDATE: tuple[Row, ...] = (
    ("resources", "r", "FILE", WORKS, "runc", "read the limits from FILE (- for stdin), a resources object as in config.json; other flags then have no effect", ""),
    ("blkio-weight", "", "WEIGHT", WORKS, "runc", "block I/O weight, 10 to 1000", ""),
    ("cpu-period", "", "USEC", WORKS, "runc", "CPU period, microseconds", ""),
    ("cpu-quota", "", "USEC", WORKS, "runc", "CPU time per period, microseconds; -1 means no limit", ""),
    ("cpu-burst", "", "USEC", WORKS, "runc", "CPU time that may be saved up, microseconds", ""),
    ("cpu-share", "", "SHARES", WORKS, "runc", "relative CPU weight", ""),
    ("cpu-rt-period", "", "USEC", WORKS, "runc", "real-time CPU period, microseconds", ""),
    ("cpu-rt-runtime", "", "USEC", WORKS, "runc", "real-time CPU time per period, microseconds", ""),
    ("cpu-idle", "", "0|1", WORKS, "runc", "1: run only when the CPU is otherwise idle", ""),
    ("cpuset-cpus", "", "LIST", WORKS, "runc", "CPUs to use", ""),
    ("cpuset-mems", "", "LIST", WORKS, "runc", "memory nodes to use", ""),
    ("kernel-memory", "", "BYTES", WORKS, "runc", "kernel memory limit (cgroup v1; obsolete, new kernels ignore it)", ""),
    ("kernel-memory-tcp", "", "BYTES", WORKS, "runc", "kernel TCP memory limit (cgroup v1; obsolete)", ""),
    ("memory", "", "BYTES", WORKS, "runc", "memory limit, in bytes or with a unit as in 10M or 1g; -1 means no limit", ""),
    ("memory-reservation", "", "BYTES", WORKS, "runc", "soft memory limit", ""),
    ("memory-swap", "", "BYTES", WORKS, "runc", "limit for memory and swap together", ""),
    ("pids-limit", "", "COUNT", WORKS, "runc", "maximum number of tasks; -1 means no limit", ""),
    ("l3-cache-schema", "", "TEXT", WORKS, "runc", "Intel RDT cache schema, as in L3:0=ff", ""),
    ("mem-bw-schema", "", "TEXT", WORKS, "runc", "Intel RDT memory bandwidth schema, as in MB:0=50", ""),
)  # fmt: skip

# verb -> its flags, besides -h and --help, which every verb has
VERB_FLAGS: dict[str, tuple[Row, ...]] = {
    "create": (*_CREATE, _SUBREAPER),
    "start": (_TRACE,),
    "state": (),
    "kill": (
        ("all", "a", "", WORKS, "runc", "signal every process in the container", ""),
        _REGEX,
    ),
    "delete": (
        ("force", "f", "", WORKS, "runc", "kill the container first; an unknown id is not an error", ""),
        _REGEX,
    ),
    "run": (*_CREATE, *_RUN, _SUBREAPER),
    "exec": _EXEC,
    "list": (
        ("format", "f", "table|json", WORKS, "runc", "output format (default table)", ""),
        ("quiet", "q", "", WORKS, "runc", "print only the ids", ""),
    ),
    "spec": (
        ("bundle", "b", "DIR", WORKS, "runc", "directory for config.json (default: the current one)", ""),
        ("rootless", "", "", WORKS, "runc", "write a config for the user who calls it", ""),
        (
            "preset",
            "",
            "untrusted|trusted",
            WORKS,
            "ours",
            "write the config that the library makes for such a program (docs/library.md)",
            "",
        ),
    ),
    "ps": (("format", "f", "table|json", WORKS, "runc", "output format (default table)", ""),),
    "pause": (),
    "resume": (),
    "events": (
        ("interval", "", "TIME", WORKS, "runc", "time between reports (default 5s)", ""),
        ("stats", "", "", WORKS, "runc", "print the statistics once and exit", ""),
    ),
    "update": _UPDATE,
    "features": (),
    "inspect": (),
    "validate": (_FORMAT_TEXT,),
    "plan": (
        (
            "format",
            "f",
            "text|json|html",
            WORKS,
            "ours",
            "output format (default text); html is a page to look at",
            "",
        ),
    ),
    "doctor": (_FORMAT_TEXT,),
    "gc": (),
    "compare": (
        (
            "with",
            "",
            "NAMES",
            WORKS,
            "ours",
            "the other runtimes, separated by commas (default runc,crun)",
            "",
        ),
        _FORMAT_TEXT,
    ),
    "help": (),
}

# verb -> (arguments, least, most, summary); most = -1 is any number
VERBS: dict[str, tuple[str, int, int, str]] = {
    "create": ("ID", 1, 1, "create a container from a bundle; its program waits for start"),
    "start": ("ID", 1, 1, "run the program of a created container"),
    "state": ("ID", 1, 1, "print the state of a container as JSON"),
    "kill": (
        "ID [SIGNAL]",
        1,
        2,
        "send a signal (default: the image's stop signal, or TERM) to the container's init",
    ),
    "delete": ("ID", 1, 1, "remove a stopped container and everything that create made for it"),
    "run": ("ID", 1, 1, "create, start, wait, delete; exits with the program's exit status"),
    "exec": (
        "ID [PROGRAM [ARGUMENT ...]]",
        1,
        -1,
        "run another program in a container; exits with that program's exit status",
    ),
    "update": ("ID", 1, 1, "change the resource limits of a container"),
    "ps": ("ID [PS-OPTION ...]", 1, -1, "list the processes of a container"),
    "pause": ("ID", 1, 1, "freeze every process of a container"),
    "resume": ("ID", 1, 1, "resume every process of a paused container"),
    "events": ("ID", 1, 1, "print statistics and out-of-memory events of a container"),
    "list": ("", 0, 0, "list the containers below --root"),
    "spec": ("", 0, 0, "write a config.json to start from"),
    "features": ("", 0, 0, "print what this runtime supports, as JSON"),
    "inspect": ("ID", 1, 1, "print everything that is known of a container, as JSON"),
    "validate": ("[BUNDLE|FILE]", 0, 1, "print everything that is wrong with a config.json"),
    "plan": ("[BUNDLE|FILE]", 0, 1, "print what create and start would do, step by step"),
    "doctor": (
        "[BUNDLE|FILE]",
        0,
        1,
        "try what a container (or this one) needs on this host, and say what is missing",
    ),
    "gc": ("", 0, 0, "clean up what a killed runtime left half done"),
    "compare": ("[BUNDLE|FILE]", 0, 1, "run a bundle under several runtimes and print what differs inside"),
    "help": ("[VERB]", 0, 1, "show the help of the command or of a verb"),
}

# Verbs whose words after the id, flags included, belong to another program.
FOREIGN = ("ps",)

# Verbs for which the first word after the id that is not a flag begins the command line of a program.
PROGRAM = ("exec",)

# Verbs of runc that are refused by name; cli/flags_later.py has their flags.
LATER: dict[str, str] = {
    "checkpoint": "save a running container to files",
    "restore": "restore a saved container",
    "mounts": "mount something in an existing container, or unmount it",
}

_TRUE = ("true", "1", "t", "T", "TRUE", "True")
_FALSE = ("false", "0", "f", "F", "FALSE", "False")


class Arguments:
    """What was given: flags by their long name, and the words between them, in order.

    rest  the words that were not looked at; set before a flag's value is refused, so that the error can name the verb
    """

    __slots__ = ("flags", "repeated", "rest", "words")

    def __init__(self) -> None:
        self.rest: list[str] = []
        self.flags: dict[str, str] = {}
        self.repeated: dict[str, list[str]] = {}
        self.words: list[str] = []

    def text(self, name: str, default: str = "") -> str:
        """The value of a flag that takes one."""
        return self.flags.get(name, default)

    def all(self, name: str) -> list[str]:
        """Every value of a flag that may be repeated, in order."""
        return self.repeated.get(name, [])

    def on(self, name: str) -> bool:
        """True if a switch is on."""
        return self.flags.get(name) == "true"

    def number(self, name: str) -> int:
        """The value of a flag that takes a number; 0 if it was not given."""
        return int(self.flags.get(name, "0"))


def parse(argv: list[str], rows: Iterable[Row], given: Arguments, *, stop_at_word: bool = False) -> list[str]:
    """Read flags by the rules of Go's flag package, which are runc's: `-x` is `--x`, `--x=v` is `--x v`.

    argv          the words
    rows          the flags that may occur
    given         is filled in, even with what was read before a mistake (the caller may need --log)
    stop_at_word  end at the first word that is not a flag (global flags); otherwise flags may stand anywhere
    Returns the words that were not looked at. After `--` every word is an argument.
    Raises UsageError, or NotSupported for a flag that is refused, naming the flag.
    """
    known: dict[str, Row] = {}
    for row in rows:
        known[row[0]] = row
        if row[1]:
            known[row[1]] = row
    rest: list[str] = []
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if word == "--" or (stop_at_word and not _is_flag(word)):
            rest = argv[index - (word != "--") :]
            break
        if not _is_flag(word):
            given.words.append(word)
            continue
        name, equals, value = word[2 if word[1] == "-" else 1 :].partition("=")
        if name in {"help", "h"}:
            given.flags["help"] = "true"
            continue
        if name not in known:
            hint = meant(name, [row[0] for row in rows], "--help lists the flags", "--")
            raise UsageError(f"unknown flag {word.partition('=')[0]}", hint=hint)
        row = known[name]
        if row[2] and not equals:
            if index == len(argv):
                raise UsageError(f"flag --{row[0]} needs a value")
            value = argv[index]
            index += 1
        given.flags[row[0]] = value if equals or row[2] else "true"
        given.repeated.setdefault(row[0], []).append(value)
    given.rest = rest
    for name in given.flags.keys() & known.keys():
        given.flags[name] = checked(known[name], given.flags[name])
    if not stop_at_word:
        given.words += rest
        rest = []
    return rest


def parse_before_program(argv: list[str], rows: tuple[Row, ...], given: Arguments) -> None:
    """Read the words of a verb in PROGRAM: flags, the id, more flags, and then those that belong to the program.

    argv, rows, given, errors: as for `parse`
    """
    rest = parse(argv, rows, given, stop_at_word=True)
    given.words += rest[:1]
    given.words += parse(rest[1:], rows, given, stop_at_word=True)


def meant(word: str, known: list[str], otherwise: str, dashes: str = "") -> str:
    """The hint after an unknown word: the known one that is most like it, or `otherwise`."""
    from difflib import get_close_matches  # 4 ms, after a mistake only

    found = get_close_matches(word, known, n=1, cutoff=0.7)
    return f"did you mean {dashes}{found[0]}? {otherwise}" if found else otherwise


def _is_flag(word: str) -> bool:
    return len(word) > 1 and word[0] == "-"


def checked(row: Row, value: str) -> str:
    """`value` as the flag of this row needs it, or UsageError."""
    name, kind = row[0], row[2]
    if not kind:
        if value not in _TRUE and value not in _FALSE:
            raise UsageError(f"flag --{name} is a switch: {value!r} is neither true nor false")
        value = "true" if value in _TRUE else "false"
    elif kind == "N" and not (value.isascii() and value.isdigit() and len(value) < 8):
        raise UsageError(f"flag --{name} needs a number, not {value!r}")
    elif "|" in kind and value not in kind.split("|"):
        raise UsageError(f"flag --{name} must be one of {kind.replace('|', ', ')}, not {value!r}")
    if row[3] == REFUSED and value != "false":
        raise NotSupported(f"flag --{name}: {row[6]}")
    return value
