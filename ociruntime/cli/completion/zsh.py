# SPDX-License-Identifier: Apache-2.0
"""How is zsh told what can stand where? docs/completion/_ociruntime, whose name zsh gives it."""

from __future__ import annotations

from ociruntime.cli import flags
from ociruntime.cli.completion.values import (
    ANYTHING,
    DIRECTORY,
    FILE,
    ID,
    WORDS,
    Flag,
    Value,
    arguments_of,
    flags_end_after,
    flags_of,
)
from ociruntime.cli.help import summary


def script() -> str:
    """The file; zsh finds it in a directory of $fpath."""
    verbs = "\n".join(f"    {_quoted(f'{verb}:{summary(verb)}')}" for verb in flags.VERBS)
    return (
        _SCRIPT.replace("@GLOBAL@", _specs([_flag(flag) for flag in flags_of("")], 4))
        .replace("@VERBS@", verbs)
        .replace("@CASES@", "\n".join(_case(verb) for verb in flags.VERBS))
    )


def _case(verb: str) -> str:
    """The branch of a verb: its flags and arguments."""
    specs = [_flag(flag) for flag in flags_of(verb)]
    last = flags_end_after(verb)
    for position, argument in enumerate(arguments_of(verb)[:last], 1):
        alone = "(-)" if position == last and verb in flags.PROGRAM else ""
        specs.append(_quoted(f"{alone}{position}:{_action(argument)}"))
    if last is not None:
        specs.append(_quoted("(-)*:: :_message 'for another program'"))
    return f"  {verb})\n    _arguments -S \\\n{_specs(specs, 6)}\n    ;;"


def _flag(flag: Flag) -> str:
    """The spec of a flag, in one spelling or two of which only one may stand."""
    takes = "=" if flag.value else ""
    text = flag.help.replace("[", "\\[").replace("]", "\\]")
    rest = f"[{text}]" + (f":{_action(flag.value)}" if flag.value else "")
    names = [f"{name}{takes}" for name in flag.spellings()]
    if len(names) == 1:
        return _quoted(f"{'*' if flag.repeated else ''}{names[0]}{rest}")
    before = "'*'" if flag.repeated else _quoted(f"({' '.join(flag.spellings())})")
    return before + "{" + ",".join(names) + "}" + _quoted(rest)


def _action(value: Value) -> str:
    """`FILE:_files`: the name, and how candidates are found."""
    name = value.name.replace(":", "\\:")
    actions = {DIRECTORY: "_directories", FILE: "_files", ID: "_ociruntime_ids", ANYTHING: " "}
    return f"{name}:({' '.join(value.words)})" if value.kind == WORDS else f"{name}:{actions[value.kind]}"


def _specs(specs: list[str], indent: int) -> str:
    return " \\\n".join(" " * indent + spec for spec in specs)


def _quoted(text: str) -> str:
    """In single quotes, or in double ones if there is one in it that those can hold."""
    if "'" in text and not set(text) & set('"$`\\!'):
        return f'"{text}"'
    return "'" + text.replace("'", "'\\''") + "'"


_SCRIPT = """\
#compdef ociruntime
# zsh completion for ociruntime
# Made from ociruntime/cli/flags.py by `python3 -m ociruntime.cli.pages write`; do not edit.

_ociruntime_ids() {
  local -a ids expl
  ids=(${(f)"$(_call_program ids ${(q)ociruntime} list -q 2>/dev/null)"})
  _wanted ids expl container compadd -a ids
}

_ociruntime_verbs() {
  local -a verbs=(
@VERBS@
  )
  _describe verb verbs
}

_ociruntime() {
  local context state state_descr line
  local -a ociruntime=($words[1])
  typeset -A opt_args

  _arguments -C -S \\
@GLOBAL@ \\
    '(-): :_ociruntime_verbs' \\
    '(-)*:: :->verb' && return
  [[ $state == verb ]] || return 1

  # The command with the containers' place, to ask it for ids.
  (( $+opt_args[--root] )) && ociruntime+=(--root ${(Q)~opt_args[--root]})
  case $words[1] in
@CASES@
  esac
}

_ociruntime "$@"
"""
