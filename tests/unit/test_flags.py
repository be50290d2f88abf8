# SPDX-License-Identifier: Apache-2.0
"""The flag table: how words are read, that it has every flag of runc, and that the committed pages show it."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ociruntime.cli import flags, help as helping, pages
from ociruntime.cli.manual import ENVIRONMENT, EXAMPLES
from ociruntime.errors import NotSupported, RuntimeFailure, UsageError

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

ROWS: tuple[flags.Row, ...] = (
    ("bundle", "b", "DIR", flags.WORKS, "runc", "", ""),
    ("force", "f", "", flags.WORKS, "runc", "", ""),
    ("count", "", "N", flags.WORKS, "runc", "", ""),
    ("format", "", "text|json", flags.WORKS, "runc", "", ""),
    ("tty", "", "", flags.REFUSED, "runc", "", "no terminals yet"),
    ("socket", "", "FILE", flags.REFUSED, "runc", "", "no sockets yet"),
)


def read(*words: str, stop_at_word: bool = False) -> tuple[dict[str, str], list[str], list[str]]:
    """(flags, words, rest) of a command line."""
    given = flags.Arguments()
    rest = flags.parse(list(words), ROWS, given, stop_at_word=stop_at_word)
    return given.flags, given.words, rest


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--bundle", "x", "id"], ({"bundle": "x"}, ["id"], [])),
        (["id", "--bundle", "x"], ({"bundle": "x"}, ["id"], [])),
        (["--bundle=x=y", "id"], ({"bundle": "x=y"}, ["id"], [])),
        (["-b", "x"], ({"bundle": "x"}, [], [])),
        (["-b=x"], ({"bundle": "x"}, [], [])),
        (["-bundle", "x"], ({"bundle": "x"}, [], [])),
        (["--bundle="], ({"bundle": ""}, [], [])),
        (["--bundle", "--force"], ({"bundle": "--force"}, [], [])),
        (["--bundle", "a", "--bundle", "b"], ({"bundle": "b"}, [], [])),
        (["-f"], ({"force": "true"}, [], [])),
        (["--force=0"], ({"force": "false"}, [], [])),
        (["--force=T"], ({"force": "true"}, [], [])),
        (["--tty=false"], ({"tty": "false"}, [], [])),
        (["--", "-f", "--"], ({}, ["-f", "--"], [])),
        (["a", "--", "-f"], ({}, ["a", "-f"], [])),
        (["a", "-", ""], ({}, ["a", "-", ""], [])),
        (["id", "-h"], ({"help": "true"}, ["id"], [])),
        (["--count", "12"], ({"count": "12"}, [], [])),
    ],
)
def test_words_are_read_as_runc_reads_them(
    words: list[str], expected: tuple[dict[str, str], list[str], list[str]]
) -> None:
    """Go's flag package: one dash or two, `=` or a space; flags before and after the arguments; `--` ends them."""
    assert read(*words) == expected


def test_global_flags_end_at_the_verb() -> None:
    """What comes after the verb is left to the verb."""
    assert read("-f", "verb", "--bundle", "x", stop_at_word=True) == (
        {"force": "true"},
        [],
        ["verb", "--bundle", "x"],
    )
    assert read("--", "-f", stop_at_word=True) == ({}, [], ["-f"])


@pytest.mark.parametrize(
    ("words", "kind", "told"),
    [
        (["--frob"], UsageError, "--frob"),
        (["--frob=secret"], UsageError, "--frob"),
        (["---force"], UsageError, "---force"),
        (["--bundle"], UsageError, "--bundle needs a value"),
        (["--force=maybe"], UsageError, "maybe"),
        (["--count", "-1"], UsageError, "--count"),
        (["--count", "1.5"], UsageError, "1.5"),
        (["--count", "٣"], UsageError, "--count"),
        (["--count", "9" * 5000], UsageError, "--count"),
        (["--format", "xml"], UsageError, "xml"),
        (["--tty"], NotSupported, "no terminals yet"),
        (["--socket", "s"], NotSupported, "--socket: no sockets yet"),
    ],
)
def test_a_mistake_is_named(words: list[str], kind: type[RuntimeFailure], told: str) -> None:
    """A flag that is unknown, incomplete, of a wrong value or refused is an error with its name in it."""
    with pytest.raises(kind, match=re.escape(told)):
        read(*words)


def test_what_was_read_before_a_mistake_is_kept() -> None:
    """--log must be known even if a later flag is refused, because the error belongs there."""
    given = flags.Arguments()
    with pytest.raises(NotSupported):
        flags.parse(["--bundle", "x", "--tty"], ROWS, given)
    assert given.text("bundle") == "x"


def all_tables() -> dict[str, tuple[flags.Row, ...]]:
    """Every table by verb, "" for the global flags."""
    return {"": flags.GLOBAL, **{verb: helping.rows_of(verb) for verb in helping.all_verbs()}}


@pytest.mark.parametrize("verb", all_tables())
def test_the_table_is_sound(verb: str) -> None:
    """No name twice in a table, known treatments only, and a reason wherever a flag does not simply work."""
    rows = all_tables()[verb]
    names = [name for row in rows for name in row[:2] if name]
    assert len(names) == len(set(names))
    for row in rows:
        assert row[3] in {flags.WORKS, flags.ACCEPTED, flags.REFUSED}
        assert row[4] in {"runc", "crun", "ours"}
        assert row[5]
        assert row[6] or row[3] == flags.WORKS


def flags_of_help(text: str) -> set[tuple[str, bool]]:
    """(long name, takes a value) of each flag in a help text of runc."""
    found = set()
    for line in text.splitlines():
        match = re.match(r" {3}--([a-z0-9-]+)( value)?(?:, -\w(?: value)?)?(?: |$)", line)
        if match:
            found.add((match[1], bool(match[2])))
    return found


def test_every_flag_of_runc_is_in_the_table() -> None:
    """`runc --help` and `runc VERB --help` show no verb and no flag that our tables lack."""
    runc = shutil.which("runc")
    if runc is None:
        pytest.skip("runc is not installed (apt-get install runc)")
    shown = subprocess.run([runc, "--help"], capture_output=True, text=True, check=True).stdout
    verbs = re.findall(
        r"^ {3}([a-z]+)(?:, h)? {2,}", shown.partition("COMMANDS:")[2].partition("GLOBAL")[0], re.MULTILINE
    )
    assert {"create", "exec", "restore"} <= set(verbs)
    assert set(verbs) <= set(helping.all_verbs())
    compared = 0
    for verb in ["", *verbs]:
        if verb == "help":
            continue
        text = subprocess.run(
            [runc, *verb.split(), "--help"], capture_output=True, text=True, check=True
        ).stdout
        ours = {(row[0], bool(row[2])) for row in all_tables()[verb]} | {("help", False)}
        theirs = flags_of_help(text)
        compared += len(theirs)
        assert theirs <= ours, verb
    assert compared > 80


@pytest.mark.parametrize("page", pages.PAGES)
def test_the_committed_page_is_what_the_table_makes(page: str) -> None:
    """`python3 -m ociruntime.cli.pages write` would change nothing."""
    make, path = pages.PAGES[page]
    with open(os.path.join(REPOSITORY, path), encoding="utf-8") as file:
        assert file.read() == make()


def test_the_manual_page_has_no_mistakes() -> None:
    """Known macros only, no stray control line; and man(1), where there is one, formats it without a warning."""
    path = os.path.join(REPOSITORY, "docs/ociruntime.8")
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()
    macros = {line.split()[0] for line in lines if line.startswith((".", "'"))}
    assert macros == {'.\\"', ".TH", ".SH", ".SS", ".TP", ".B", ".I", ".BR", ".PP", ".EX", ".EE"}
    for line, following in itertools.pairwise(lines):
        if line == ".TP":
            assert following.startswith((".B ", ".I ")), following
    man = shutil.which("man")
    if man is not None:
        environment = {**os.environ, "MANWIDTH": "100", "LC_ALL": "C.UTF-8"}
        argv = [man, "-l", "--warnings", path]
        done = subprocess.run(argv, capture_output=True, text=True, env=environment, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("argv", [("mandoc", "-T", "lint"), ("groff", "-ww", "-man", "-T", "utf8", "-z")])
def test_formatters_have_nothing_to_say(argv: tuple[str, ...]) -> None:
    """Neither of an error nor of style."""
    if shutil.which(argv[0]) is None:
        pytest.skip(f"{argv[0]} is not installed (apt-get install {argv[0]})")
    command = [*argv, f"{REPOSITORY}/docs/ociruntime.8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_manual_names_the_environment() -> None:
    """Every variable that the command reads, and no other. The shim, which containerd calls, has a page of its own."""
    named = {name for names, _ in ENVIRONMENT for name in names.split(", ")}
    read = set()
    for path in Path(REPOSITORY, "ociruntime").rglob("*.py"):
        if not {"shim", "snapshot", "native"} & set(path.parts):
            read.update(
                re.findall(
                    r"""(?:os\.environ|environment)(?:\.get\(|\[)['"](\w+)""",
                    path.read_text(encoding="utf-8"),
                )
            )
    assert read == named


@pytest.mark.parametrize("line", [line for _, commands in EXAMPLES for line in commands])
def test_the_manual_s_examples_are_read(line: str) -> None:
    """Each is a command line without a mistake."""
    command, *words = line.split()
    assert command == "ociruntime"
    given = flags.Arguments()
    verb, *rest = flags.parse(words, flags.GLOBAL, given, stop_at_word=True)
    own = flags.Arguments()
    read = flags.parse_before_program if verb in flags.PROGRAM else flags.parse
    read(rest, flags.VERB_FLAGS[verb], own)
    _, least, most, _ = flags.VERBS[verb]
    assert least <= len(own.words) <= (most if most >= 0 else len(own.words))
