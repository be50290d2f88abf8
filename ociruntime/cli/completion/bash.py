# SPDX-License-Identifier: Apache-2.0
"""How is bash told what can stand where? docs/completion/ociruntime."""

from __future__ import annotations

from ociruntime.cli import flags
from ociruntime.cli.completion.values import ANYTHING, WORDS, Value, arguments_of, flags_end_after, flags_of


def script() -> str:
    """The file; bash-completion loads it as completions/ociruntime when the command is first completed."""
    return (
        _SCRIPT.replace("@FLAGS@", "\n".join(_flags(verb) for verb in ("", *flags.VERBS)))
        .replace("@VERBS@", " ".join(flags.VERBS))
        .replace("@ARGUMENTS@", "\n".join(_arguments()))
        .replace("@ENDS@", _ends())
    )


def _flags(verb: str) -> str:
    """The flags of a verb, and what each of them takes."""
    rows = flags_of(verb)
    lines = [f"  {verb or _quoted('')})", "    flags=" + _quoted(" ".join(f"--{flag.long}" for flag in rows))]
    by_value: dict[str, list[str]] = {}
    for flag in rows:
        if flag.value is not None:
            by_value.setdefault(_offer(flag.value), []).extend(flag.spellings())
    if by_value:
        lines += ["    case $2 in"]
        lines += [f"    {'|'.join(names)}) takes={_quoted(offer)} ;;" for offer, names in by_value.items()]
        lines += ["    esac"]
    return "\n".join([*lines, "    ;;"])


def _arguments() -> list[str]:
    """Which argument of which verb takes what, the same together."""
    by_value: dict[str, list[str]] = {}
    for verb in flags.VERBS:
        for position, argument in enumerate(arguments_of(verb), 1):
            if argument.kind != ANYTHING:
                by_value.setdefault(_offer(argument), []).append(f'"{verb} {position}"')
    return [
        f"    {'|'.join(places)}) _ociruntime_offer {_quoted(offer)} ;;" for offer, places in by_value.items()
    ]


def _ends() -> str:
    """The places of the words that belong to another program."""
    ends = {verb: flags_end_after(verb) for verb in flags.VERBS}
    return "|".join(f'"{verb} {last + 1}"' for verb, last in ends.items() if last is not None)


def _offer(value: Value) -> str:
    """The word of _ociruntime_offer for a value."""
    return " ".join(("words", *value.words)) if value.kind == WORDS else value.kind


def _quoted(text: str) -> str:
    return text if text.isalnum() else f'"{text}"'


_SCRIPT = """\
# bash completion for ociruntime
# Made from ociruntime/cli/flags.py by `python3 -m ociruntime.cli.pages write`; do not edit.

# _ociruntime_flags VERB FLAG: sets flags to those of the verb ("": those before a verb), and takes to what FLAG takes:
# "" if it is a switch.
_ociruntime_flags() {
  flags="" takes=""
  case $1 in
@FLAGS@
  esac
}

# _ociruntime_offer KIND [WORD...]: what begins like the current word. The ids are not given to compgen, which would expand them.
_ociruntime_offer() {
  local word
  case $1 in
  directory) compopt -o dirnames 2>/dev/null ;;
  file) compopt -o default 2>/dev/null ;;
  id)
    while read -r word; do
      [[ $word == "$current"* ]] && COMPREPLY+=("$word")
    done < <("${COMP_WORDS[0]/#\\~/$HOME}" ${root:+--root "$root"} list -q 2>/dev/null)
    ;;
  words*) mapfile -t COMPREPLY < <(compgen -W "${1#words}" -- "$current") ;;
  esac
}

_ociruntime() {
  local current=${COMP_WORDS[COMP_CWORD]} verb="" root="" flags takes word index expects="" position=1 only_words=""
  COMPREPLY=()
  _ociruntime_flags "" ""
  # What stands before the current word. With = in COMP_WORDBREAKS, --flag=value is three words.
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    if [[ $word == "=" ]]; then
      [[ $expects ]] || ((index++))
    elif [[ $expects ]]; then
      [[ $expects == --root && -z $verb ]] && root=${word/#\\~/$HOME}
      expects=""
    elif [[ $word == -- ]]; then
      only_words=yes
    elif [[ $word == -?* && -z $only_words ]]; then
      _ociruntime_flags "$verb" "$word"
      expects=${takes:+$word}
    elif [[ -z $verb ]]; then
      verb=$word only_words=""
    else
      ((position++))
      case "$verb $position" in
      @ENDS@) return ;; # the rest belongs to another program
      esac
    fi
  done
  ((index > COMP_CWORD)) && return # what is behind the = of NAME=VALUE
  [[ $current == "=" ]] && current=""
  _ociruntime_flags "$verb" "$expects"
  if [[ $expects ]]; then
    _ociruntime_offer "$takes"
  elif [[ $current == -* && -z $only_words ]]; then
    _ociruntime_offer "words $flags"
  elif [[ -z $verb ]]; then
    _ociruntime_offer "words @VERBS@"
  else
    case "$verb $position" in
@ARGUMENTS@
    esac
  fi
}
complete -F _ociruntime ociruntime
"""
