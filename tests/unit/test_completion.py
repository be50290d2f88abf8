# SPDX-License-Identifier: Apache-2.0
"""Do bash, zsh and fish offer what can stand at a place: verbs, flags, values and the ids of containers?

The real shells read the committed scripts; the command that is asked for ids is one of the tests.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pexpect
import pytest

from ociruntime import signals
from ociruntime.cli import flags
from ociruntime.cli.completion import values

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPTS = Path(__file__).parents[2] / "docs/completion"
COMMAND = """#!/bin/sh
case "$*" in
"list -q") printf 'web\\nworker\\n$(touch expanded)\\n' ;;
"--root /other list -q") echo db ;;
*) echo "asked for $*" >>asked ;;
esac
"""
FORMATS = set({row[0]: row[2] for row in flags.VERB_FLAGS["plan"]}["format"].split("|"))
CASES = [
    (["st"], {"start", "state"}),
    (["--root", "/tmp", "del"], {"delete"}),
    (["--root", "create", "del"], {"delete"}),
    (["--debug", "--root=/tmp", "del"], {"delete"}),
    (["--log-f"], {"--log-format"}),
    (["--log-format", ""], {"text", "json"}),
    (["--log-format=te"], {"text"}),
    (["run", "--no-p"], {"--no-pivot"}),
    (["run", "web", "--no-p"], {"--no-pivot"}),
    (["run", "--preserve-fds", ""], set()),
    (["create", ""], set()),
    (["delete", "w"], {"web", "worker"}),
    (["delete", "--force", "wo"], {"worker"}),
    (["--root", "/other", "state", ""], {"db"}),
    (["--root=/other", "state", ""], {"db"}),
    (["kill", "--all", "web", "KI"], {"KILL"}),
    (["exec", "-u", "0", "we"], {"web"}),
    (["exec", "--env", "A=1", "web", "--cw"], {"--cwd"}),
    (["exec", "--env", "A="], set()),
    (["exec", "--cap", "CAP_SYSL"], {"CAP_SYSLOG"}),
    (["exec", "--cwd", ""], set()),
    (["exec", "web", "sh", "--cw"], set()),
    (["exec", "web", "sh", "w"], set()),
    (["ps", "web", "--form"], set()),
    (["plan", "-f", ""], FORMATS),
    (["help", "comp"], {"compare"}),
]  # fmt: skip


class Shell(Protocol):
    """What this shell offers at the end of a command line of these words."""

    def __call__(self, *words: str) -> set[str]: ...


def need(name: str) -> str:
    """The shell's path."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (apt-get install {name})")
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the command, a file and a directory."""
    directory = tmp_path_factory.mktemp("shells")
    (directory / "bin").mkdir()
    (directory / "bin/ociruntime").write_text(COMMAND)
    (directory / "bin/ociruntime").chmod(0o755)
    (directory / "bundle-of-mine").mkdir()
    (directory / "config-of-mine").touch()
    return directory


def environment(place: Path) -> dict[str, str]:
    """No settings of this user, and our command first."""
    return {"PATH": f"{place}/bin:/usr/bin:/bin", "HOME": str(place), "TERM": "dumb", "LC_ALL": "C.UTF-8"}


def bash(place: Path) -> Shell:
    """The function is called as readline calls it: with = in COMP_WORDBREAKS."""
    path = need("bash")
    script = (
        f'source {SCRIPTS}/ociruntime; compopt() {{ [[ $2 == dirnames ]] && kind=-d || kind=-f; compgen $kind -- "$current"; }}; '
        'COMP_WORDS=(ociruntime "$@"); COMP_CWORD=$#; _ociruntime; printf "%s\\n" "${COMPREPLY[@]}"'
    )  # fmt: skip

    def complete(*words: str) -> set[str]:
        split = [part for word in words for part in (re.split("(=)", word) if "=" in word else [word])]
        argv = [path, "--norc", "-c", script, "bash", *split]
        done = subprocess.run(
            argv, cwd=place, env=environment(place), capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        return set(done.stdout.split("\n")) - {""}

    return complete


def fish(place: Path) -> Shell:
    """`complete -C` says what fish would offer, without a terminal."""
    path = need("fish")

    def complete(*words: str) -> set[str]:
        argv = [path, "--no-config", "-c", f"source {SCRIPTS}/ociruntime.fish; complete -C $argv[1]"]
        line = " ".join(["ociruntime", *words])
        done = subprocess.run(
            [*argv, line], cwd=place, env=environment(place), capture_output=True, text=True, check=True
        )
        assert done.stderr == ""
        offered = {found.partition("\t")[0] for found in done.stdout.splitlines()}
        return {word.rpartition("=")[2] for word in offered}

    return complete


# An interactive zsh, which writes down what completion functions add.
ZSH = """
PROMPT='ready> '; setopt no_beep no_list_ambiguous; unsetopt zle_bracketed_paste; fpath=({docs} $fpath)
autoload -Uz compinit; compinit -u -D
zmodload zsh/complete
compadd() {{
  local -a matching
  [[ " $* " == *" -"[AOD]" "* ]] || {{ builtin compadd -O matching "$@"; print -rl -- $matching >>offered }}
  builtin compadd "$@"
}}
note() {{ print end >>offered; zle kill-whole-line }}
zle -N note; bindkey '^T' note
"""


@pytest.fixture(scope="module")
def zsh(place: Path) -> Iterator[Shell]:
    """One zsh for all cases, at a terminal, because its completion needs the line editor."""
    path = need("zsh")
    (place / ".zshrc").write_text(ZSH.format(docs=SCRIPTS))
    terminal = pexpect.spawn(
        path, ["-i"], cwd=place, env=environment(place), dimensions=(40, 300), timeout=20, encoding="utf-8"
    )
    offered = place / "offered"
    terminal.delaybeforesend = None
    terminal.expect("ready> ")

    def complete(*words: str) -> set[str]:
        offered.write_text("")
        terminal.send(" ".join(["ociruntime", *words]) + "\t\x14")
        deadline = time.monotonic() + 20
        while (lines := offered.read_text().splitlines())[-1:] != ["end"]:
            assert time.monotonic() < deadline, f"zsh does not answer: {terminal.before!r}"
            terminal.expect([pexpect.TIMEOUT, ".+"], timeout=0.01)  # reads, so that zsh can write
        return set(lines) - {"end", ""}

    yield complete
    terminal.close(force=True)


@pytest.fixture(params=["bash", "zsh", "fish"])
def shell(request: pytest.FixtureRequest, place: Path) -> Shell:
    """Each of the three."""
    if request.param == "zsh":
        return request.getfixturevalue("zsh")  # type: ignore[no-any-return]
    return bash(place) if request.param == "bash" else fish(place)


@pytest.mark.parametrize(("words", "expected"), CASES, ids=[" ".join(words) for words, _ in CASES])
def test_it_offers(shell: Shell, words: list[str], expected: set[str]) -> None:
    """What can stand there, and nothing else."""
    assert shell(*words) - {"$(touch expanded)"} == expected


def test_it_offers_every_verb_and_flag(shell: Shell) -> None:
    """Of each verb those that are not refused."""
    assert shell("") == set(flags.VERBS)
    for verb in ("create", "exec", "update", "spec"):
        assert {f"--{row[0]}" for row in flags.VERB_FLAGS[verb]} | {"--help"} == shell(verb, "--"), verb


def test_it_offers_files_and_directories(shell: Shell) -> None:
    """Where a path is expected."""
    assert {"bundle-of-mine", "config-of-mine"} <= {
        word.rstrip("/") for word in shell("create", "--config", "")
    }
    directories = {word.rstrip("/") for word in shell("create", "--bundle", "")}
    assert ("bundle-of-mine" in directories, "config-of-mine" in directories) == (True, False)
    assert {"bundle-of-mine", "config-of-mine"} <= {word.rstrip("/") for word in shell("plan", "")}


def test_an_id_is_never_a_command(shell: Shell, place: Path) -> None:
    """A name that a shell would expand is offered as it is, or not at all."""
    shell("delete", "")
    assert not (place / "expanded").exists()
    assert not (place / "asked").exists(), (place / "asked").read_text()


def test_the_signals_exist() -> None:
    """Each that is offered is one that `kill` knows."""
    assert [name for name in values.SIGNALS if not signals.parse(name)] == []
