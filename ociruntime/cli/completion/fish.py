# SPDX-License-Identifier: Apache-2.0
"""How is fish told what can stand where? docs/completion/ociruntime.fish."""

from __future__ import annotations

from ociruntime.cli import flags
from ociruntime.cli.completion.values import (
    ANYTHING,
    DIRECTORY,
    FILE,
    ID,
    Flag,
    Value,
    arguments_of,
    flags_end_after,
    flags_of,
)
from ociruntime.cli.help import summary


def script() -> str:
    """The file; fish finds it in vendor_completions.d."""
    cases = "\n".join(
        f"        case {verb or _quoted('')}\n            {_specs(verb)}" for verb in ("", *flags.VERBS)
    )
    verbs = [
        f"complete -c ociruntime -n {_quoted('__ociruntime_at')} -a {verb} -d {_quoted(summary(verb))}"
        for verb in flags.VERBS
    ]  # fmt: skip
    parts = [_section(verb) for verb in ("", *flags.VERBS)]
    return (
        _SCRIPT.replace("@CASES@", cases)
        .replace("@FLAGS@", parts[0])
        .replace("@VERBS@", "\n".join(verbs))
        .replace("@SECTIONS@", "\n\n".join(f"# {verb}\n{part}" for verb, part in zip(flags.VERBS, parts[1:], strict=True)))
    )  # fmt: skip


def _specs(verb: str) -> str:
    """The flags of a verb in the words of argparse: `b/bundle=`, and `+` at the end of one that may be repeated."""
    names = [
        f"{flag.short}{'/' if flag.short else ''}{flag.long}{'=' if flag.value else ''}{'+' if flag.repeated else ''}"
        for flag in flags_of(verb)
    ]
    return f"string join \\n {' '.join(names)}"


def _section(verb: str) -> str:
    """The lines of a verb: flags and arguments."""
    last = flags_end_after(verb) if verb else None
    places = " ".join(str(number) for number in range(1, last + 1)) if last is not None else ""
    place = _quoted(" ".join(part for part in ("__ociruntime_at", verb, places) if part))
    lines = [f"complete -c ociruntime -n {place} {_flag(flag)}" for flag in flags_of(verb)]
    for position, argument in enumerate(arguments_of(verb) if verb else (), 1):
        if argument.kind != ANYTHING:
            lines.append(
                f"complete -c ociruntime -n {_quoted(f'__ociruntime_at {verb} {position}')} {_offer(argument)}"
            )
    return "\n".join(lines)


def _flag(flag: Flag) -> str:
    """`-s b -l bundle -x -a ... -d ...`."""
    parts = [f"-s {flag.short}"] if flag.short else []
    parts.append(f"-l {flag.long}")
    if flag.value is not None:
        parts.append("-r -F" if flag.value.kind == FILE else f"-x {_offer(flag.value)}".rstrip())
    return " ".join([*parts, f"-d {_quoted(flag.help)}"])


def _offer(value: Value) -> str:
    """The candidates for a value, as options of `complete`."""
    if value.kind == ANYTHING:
        return ""
    if value.kind == FILE:
        return "-F"
    offers = {DIRECTORY: "(__fish_complete_directories)", ID: "(__ociruntime_ids)"}
    return f"-a {_quoted(offers.get(value.kind, ' '.join(value.words)))}"


def _quoted(text: str) -> str:
    """In single quotes, or in double ones if there is one in it that those can hold."""
    if "'" in text and not set(text) & set('"$\\'):
        return f'"{text}"'
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SCRIPT = """\
# fish completion for ociruntime
# Made from ociruntime/cli/flags.py by `python3 -m ociruntime.cli.pages write`; do not edit.

# The flags of a verb, for argparse; without a verb those before it.
function __ociruntime_flags
    switch "$argv[1]"
@CASES@
    end
end

# __ociruntime_at: true before the verb. __ociruntime_at VERB [POSITION ...]: true in the words of this verb, if given only where one
# of these arguments is to come, counted from 1.
function __ociruntime_at
    set -l wanted $argv
    set -l words (commandline -opc) @cursor
    argparse -s (__ociruntime_flags) -- $words[2..] 2>/dev/null
    or return
    if not set -q argv[1]; or test "$argv[1]" = @cursor
        not set -q wanted[1]
        return
    end
    set -l verb $argv[1]
    test "$verb" = "$wanted[1]"
    or return
    set -q wanted[2]
    or return 0
    argparse (__ociruntime_flags $verb) -- $argv[2..] 2>/dev/null
    or return
    contains (count (string match -v @cursor -- $argv) x) $wanted[2..]
end

# The containers' ids.
function __ociruntime_ids
    set -l words (commandline -opc)
    argparse -s (__ociruntime_flags) -- $words[2..] 2>/dev/null
    set -q _flag_root
    and set -l root --root $_flag_root
    $words[1] $root list -q 2>/dev/null
end

complete -c ociruntime -f
@FLAGS@

@VERBS@

@SECTIONS@
"""
