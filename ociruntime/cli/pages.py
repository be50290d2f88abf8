# SPDX-License-Identifier: Apache-2.0
"""What is made from the flag tables: help texts, the manual page, docs/command-line.md, the shell completion.

    python3 -m ociruntime.cli.pages man|markdown|completion|exit-codes

A test compares the committed files with what is made here. Imported for --help and by that test only;
must not import the spine or a subject.
"""

from __future__ import annotations

from ociruntime import __version__
from ociruntime.cli import flags, flags_later
from ociruntime.cli.flags import ACCEPTED, REFUSED, Row
from ociruntime.errors import UsageError
from ociruntime.jsontext import quote

_HELP_ROW: Row = ("help", "h", "", flags.WORKS, "runc", "show this help", "")

# code -> when
EXIT_CODES: tuple[tuple[str, str], ...] = (
    ("0", "success; `delete --force` also succeeds if there is no such container"),
    ("1", "an error; one line on stderr (and in the log) says which. `validate`: the config breaks the specification"),
    ("128+n", "`create`, `run`, `exec`: signal n arrived before the program ran; what had been done has been undone"),
    ("130", "any other verb: interrupted by SIGINT"),
    ("141", "the reader of standard output went away (128 + SIGPIPE), as in `ociruntime plan | head -1`"),
    ("255", "`exec`: the program could not be run in the container; a mistake in the command line is 1"),
    ("program's", "`run` and `exec` in the foreground: the exit status of the program, or 128+n if signal n ended it"),
)  # fmt: skip


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
    lines += ["", "flags (may also follow the arguments):", *_flag_lines((*rows_of(verb), _HELP_ROW))]
    return "\n".join(lines) + "\n"


def _flag_lines(rows: tuple[Row, ...]) -> list[str]:
    width = max(len(spelled(row)) for row in rows)
    lines = []
    for row in rows:
        more = remark(row)
        lines.append(f"  {spelled(row):{width}}  {row[5]}" + (f" ({more})" if more else ""))
    return lines


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
        "Made from the table in `ociruntime/cli/pages.py` by `python3 -m ociruntime.cli.pages exit-codes`; do not edit.",
        "The codes are stable. Where runc gives a code a meaning, it is the same here.",
        "",
        "| code | when |",
        "|---|---|",
        *(f"| {code} | {_cell(when)} |" for code, when in EXIT_CODES),
    ]
    return "\n".join(lines) + "\n"


def man_page() -> str:
    """docs/ociruntime.8, in the man macros."""
    lines = [
        '.\\" Made from ociruntime/cli/flags.py by `python3 -m ociruntime.cli.pages man`; do not edit.',
        f'.TH OCIRUNTIME 8 "" "ociruntime {__version__}" "System Administration"',
        ".SH NAME",
        "ociruntime \\- run OCI containers",
        ".SH SYNOPSIS",
        ".B ociruntime",
        "[global flags] VERB [flags and arguments]",
        ".SH DESCRIPTION",
        "Creates, starts, inspects, signals and deletes containers from OCI bundles: directories with a config.json",
        "and a root filesystem. The command line is compatible with runc(8).",
        ".SH GLOBAL FLAGS",
        *_man_flags(flags.GLOBAL),
        ".SH VERBS",
    ]
    for verb in all_verbs():
        lines += [".SS " + _man(synopsis(verb)), _man(_sentence(summary(verb))), *_man_flags(rows_of(verb))]
    lines.append(".SH EXIT STATUS")
    for code, when in EXIT_CODES:
        lines += [".TP", f".B {_man(code)}", _man(_sentence(when.replace("`", "")))]
    lines += [
        ".SH FILES",
        ".TP",
        ".I /run/ociruntime",
        "The containers' state, unless \\-\\-root names another directory; $XDG_RUNTIME_DIR/ociruntime without root.",
        ".SH SEE ALSO",
        ".BR runc (8),",
        ".BR crun (1)",
    ]
    return "\n".join(lines) + "\n"


def _man_flags(rows: tuple[Row, ...]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        more = remark(row)
        lines += [
            ".TP",
            f".B {_man(spelled(row))}",
            _man(_sentence(row[5])) + (f" ({_man(more)})" if more else ""),
        ]
    return lines


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _man(text: str) -> str:
    """Text as troff source: hyphens that can be copied, and no line that begins with a control character."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text


def completion() -> str:
    """The completion for bash; install it as /usr/share/bash-completion/completions/ociruntime."""
    cases = [f"    {verb}) words={quote(_dashed((*rows_of(verb), _HELP_ROW)))} ;;" for verb in flags.VERBS]
    with_value = " ".join(f"--{row[0]}" for row in flags.GLOBAL if row[2] and row[0] != "root")
    return _COMPLETION.format(
        global_flags=quote(_dashed(flags.GLOBAL)),
        with_value=with_value.replace(" ", "|"),
        verbs=quote(" ".join(flags.VERBS)),
        with_id="|".join(verb for verb, row in flags.VERBS.items() if row[0].startswith("ID") and verb not in {"create", "run"}),
        cases="\n".join(cases),
    )  # fmt: skip


def _dashed(rows: tuple[Row, ...]) -> str:
    return " ".join(f"--{row[0]}" for row in rows if row[3] != REFUSED)


_COMPLETION = """\
# bash completion for ociruntime
# Made from ociruntime/cli/flags.py by `python3 -m ociruntime.cli.pages completion`; do not edit.
_ociruntime() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} verb="" words index
  local -a root=()
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    case ${{COMP_WORDS[index]}} in
    --root) root=(--root "${{COMP_WORDS[index+1]}}"); ((index++)) ;;
    {with_value}) ((index++)) ;;
    -*) ;;
    *) verb=${{COMP_WORDS[index]}}; break ;;
    esac
  done
  case $previous in
  --bundle|-b|--root) compopt -o dirnames 2>/dev/null; return ;;
  --config|--pid-file|--log|--trace) compopt -o default 2>/dev/null; return ;;
  --log-format) mapfile -t COMPREPLY < <(compgen -W "text json" -- "$current"); return ;;
  --cgroup-manager) mapfile -t COMPREPLY < <(compgen -W "cgroupfs disabled" -- "$current"); return ;;
  esac
  if [[ -z $verb ]]; then
    words={verbs}
    [[ $current == -* ]] && words={global_flags}
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    return
  fi
  if [[ $current == -* ]]; then
    case $verb in
{cases}
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
    return
  fi
  case $verb in
  {with_id}) words=$(ociruntime "${{root[@]}}" list -q 2>/dev/null); mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current") ;;
  validate|plan) compopt -o default 2>/dev/null ;;
  esac
}}
complete -F _ociruntime ociruntime
"""

# What `python3 -m ociruntime.cli.pages NAME` prints, and the committed file that must be the same.
PAGES = {
    "man": (man_page, "docs/ociruntime.8"),
    "markdown": (markdown, "docs/command-line.md"),
    "exit-codes": (exit_codes, "docs/exit-codes.md"),
    "completion": (completion, "docs/ociruntime.bash"),
}


def main(argv: list[str]) -> int:
    """Print one of the pages, or write all of them with `write`."""
    import sys

    if argv == ["write"]:
        for make, path in PAGES.values():
            with open(path, "w", encoding="utf-8") as file:
                file.write(make())
        return 0
    if len(argv) != 1 or argv[0] not in PAGES:
        sys.stderr.write(f"usage: python3 -m ociruntime.cli.pages {'|'.join(PAGES)}|write\n")
        return 1
    sys.stdout.write(PAGES[argv[0]][0]())
    return 0


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
