# SPDX-License-Identifier: Apache-2.0
"""Is the command the same as a snapshot? Compared with the launcher of this environment; without containers."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ociruntime.cli.snapshot import generated
from ociruntime.cli.snapshot.build import BuildError, build
from tests.harness.bundle import make_bundle
from tests.native.snapshots import LAUNCHER, Answer, call, same

if TYPE_CHECKING:
    from collections.abc import Sequence


def told(
    telling: str,
    *words: bytes,
    env: dict[bytes, bytes] | None = None,
    ignored: Sequence[int] = (),
    blocked: Sequence[int] = (),
) -> tuple[list[bytes], list[bytes], str]:
    """Arguments, environment and signals of the ordinary launcher."""

    def prepare() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGPIPE, signal.SIGXFSZ):  # this Python ignores them
            if number not in ignored:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    command = [telling.encode(), b"plan", *words]
    done = subprocess.run(
        command, env=env or {}, capture_output=True, preexec_fn=prepare, restore_signals=False, check=False
    )
    assert (done.returncode, done.stderr) == (42, b"")
    arguments, variables, signals = done.stdout.split(b"--\0")
    assert arguments.split(b"\0")[0] == b"plan"
    return arguments.split(b"\0")[1:-1], variables.split(b"\0")[:-1], signals.decode()


def without_times(answer: Answer) -> Answer:
    """A line of the log has the second in which it was written."""
    code, out, err = answer
    times = re.compile(rb"20\d\d-\d\d-\d\dT[0-9:.+Z-]+")
    return code, times.sub(b"", out), times.sub(b"", err)


def test_the_version_is_the_launcher_s(both: tuple[str, str]) -> None:
    """Engines parse its first lines; the last one says which form runs, and with which Python."""
    first, second = (call(command, "--version") for command in both)
    assert (second[0], second[2]) == (0, b"")
    assert first[1].startswith(b"ociruntime version ")
    python = f"python: {platform.python_version()}, in a".encode()
    assert first[1].endswith(python + b"n interpreter\n")
    assert second[1] == first[1].removesuffix(b"n interpreter\n") + b" snapshot\n"


def test_features_say_which_form_runs(both: tuple[str, str]) -> None:
    """Beside that both print the same document."""
    first, second = (json.loads(subprocess.check_output([command, "features"])) for command in both)
    assert first["annotations"].pop("run.ociruntime.form") == "interpreter"
    assert second["annotations"].pop("run.ociruntime.form") == "snapshot"
    assert first == second


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--help",),
        ("h",),
        ("create", "--help"),
        ("nonsense",),
        ("--nonsense",),
        ("state",),
        ("--root", "/nonexistent", "state", "unknown"),
        ("--root", "/nonexistent", "list"),
        ("--root", "/nonexistent", "kill", "unknown", "NOSUCHSIGNAL"),
        ("--root", "/nonexistent", "delete", "unknown"),
        ("--root", "/nonexistent", "exec", "unknown", "true"),
        ("--root", "/nonexistent", "--log-format", "json", "start", "unknown"),
        ("--root", "/nonexistent", "--debug", "state", "unknown"),
        ("--log", "/nonexistent/log", "state", "unknown"),
        ("--root", "/nonexistent", "create", "--bundle", "/nonexistent", "unknown"),
        ("--root", "/nonexistent", "create", "--config", "/dev/null", "unknown"),
        ("validate", "/nonexistent"),
    ],
)
def test_the_same_words_give_the_same_answer(both: tuple[str, str], words: tuple[str, ...]) -> None:
    """Output, errors and exit code. (A log line has the time.)"""
    first, second = (without_times(call(command, *words)) for command in both)
    assert first == second


@pytest.mark.parametrize(
    "word", [b"\xff\xfe", b"\xc3\xa9\xc3\xa8", b"\xed\xa0\x80", b"", b"a\nb", b"\x7f" * 300]
)
def test_arguments_of_any_bytes(both: tuple[str, str], word: bytes) -> None:
    """An id, a path and a flag that are not UTF-8."""
    same(both, "--root", "/nonexistent", "state", word)
    same(both, "--root", "/nonexistent", "create", "--bundle", word, "unknown")
    same(both, b"--" + word)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)])
def test_closed_descriptors(both: tuple[str, str], closed: tuple[int, ...]) -> None:
    """What is closed is neither written to nor taken for something else."""
    shell = " ".join(f"{number}>&-" for number in closed)
    for words in ("--root /nonexistent list", "--root /nonexistent state unknown"):
        first, second = (call("/bin/sh", "-c", f"{command} {words} {shell}") for command in both)
        assert first == second


def test_a_reader_that_has_gone(both: tuple[str, str]) -> None:
    """SIGPIPE is ignored, as in Python, and the exit code tells."""
    for command in both:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run([command, "features"], stdout=writing, stderr=subprocess.PIPE, check=False)
        os.close(writing)
        assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk(both: tuple[str, str]) -> None:
    """An output that can't be written is an error."""
    answers = []
    for command in both:
        with open("/dev/full", "wb") as full:
            done = subprocess.run([command, "features"], stdout=full, stderr=subprocess.PIPE, check=False)
        answers.append((done.returncode, done.stderr))
    assert answers[0] == answers[1]
    assert answers[1][0] != 0


def test_locale_and_python_variables(both: tuple[str, str]) -> None:
    """None of them changes anything."""
    for variables in (
        {"LC_ALL": "C"}, {"LANG": "de_DE.UTF-8", "LC_CTYPE": "xx"}, {"PYTHONPATH": "/nonexistent"}, {"PYTHONHOME": "/nonexistent"},
        {"PYTHONHASHSEED": "nonsense"}, {"PYTHONMALLOC": "debug"}, {"PYTHONSTARTUP": "/nonexistent"}, {"MALLOC_PERTURB_": "7"}, {},
    ):  # fmt: skip
        same(both, "--root", "/nonexistent", "state", b"\xff", env=variables)


def test_an_invalid_config_is_explained(both: tuple[str, str], tmp_path: Path) -> None:
    """By jsonschema, which a static program can't load."""
    bundle = make_bundle(
        tmp_path / "bundle", "true", edit=lambda config: config["process"].update(cwd="not/absolute", args=7)
    )
    words = ("--root", str(tmp_path / "state"), "create", "--bundle", str(bundle.directory), "unknown")
    code, _, err = same(both, *words)
    assert code == 1
    assert b"/process/args" in err
    assert not (tmp_path / "state").exists()


def test_the_launcher_is_missing(snapshot: str, tmp_path: Path) -> None:
    """Then a call that needs it says so."""
    target = tmp_path / "ociruntime"
    build(str(target), launcher="/nonexistent/ociruntime")
    code, _, err = call(str(target), "plan", "/nonexistent")
    assert (code, err) == (
        1,
        b"ociruntime: /nonexistent/ociruntime: no such file or directory (this call needs the ordinary launcher)\n",
    )
    assert call(str(target), "--version") == call(snapshot, "--version")


def test_what_the_linker_does_not_find_ends_the_build(
    snapshot: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not left to the call that would have jumped to nowhere."""
    assert snapshot
    monkeypatch.setattr(
        generated, "_UNUSED", {"pyexpat", "_elementtree"}
    )  # zlib's library is not given to the linker
    with pytest.raises(BuildError, match="undefined reference"):
        build(str(tmp_path / "ociruntime"))
    assert not list(tmp_path.iterdir())


def test_arguments_and_signals_reach_the_ordinary_launcher(telling: str) -> None:
    """As they were; and so does the mask."""
    words = (b"\xff\xfe", b"", b"\xed\xa0\x80", b"a b\n", b"\xc3\xa9")
    assert told(telling, *words)[0] == list(words)
    assert told(telling)[2] == ""
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGRTMIN + 3):
        assert told(telling, ignored=[number])[2] == f"{int(number)} "
    assert told(telling, blocked=[signal.SIGTERM])[2] == f"{int(signal.SIGTERM)}blocked "


def test_what_can_be_read_once_is_left_to_the_ordinary_launcher(telling: str, tmp_path: Path) -> None:
    """A config from a pipe: it could not begin anew after the first byte."""
    words = [
        telling,
        "--root",
        str(tmp_path / "state"),
        "create",
        "--bundle",
        str(tmp_path),
        "--config",
        "/dev/stdin",
        "x",
    ]
    done = subprocess.run(words, input=b"{}", capture_output=True, check=False)
    assert done.returncode == 42
    with open("/dev/null", "rb") as null:
        done = subprocess.run(words, stdin=null, capture_output=True, check=False)
    assert (done.returncode, b"not a regular file" in done.stderr) == (1, True)


def test_xdg_runtime_dir_is_the_caller_s(both: tuple[str, str], tmp_path: Path) -> None:
    """And so is the uid: the default root depends on both."""
    for directory in ("one", "two"):
        words = ("create", "--bundle", "/nonexistent", "unknown")
        same(
            both, *words, env={"XDG_RUNTIME_DIR": str(tmp_path / directory), "NOTIFY_SOCKET": "/nonexistent"}
        )


def status_of(command: str, *, ignored: Sequence[int]) -> tuple[int, bytes, bytes]:
    """The answer if these signals are ignored."""

    def ignore() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    return call(command, "--root", "/nonexistent", "state", "unknown", preexec_fn=ignore)


@pytest.mark.parametrize(
    "ignored", [(signal.SIGINT,), (signal.SIGHUP, signal.SIGTERM), (signal.SIGCHLD,), tuple(range(34, 40))]
)
def test_ignored_signals(both: tuple[str, str], ignored: tuple[int, ...]) -> None:
    """Answers stay the same."""
    first, second = (status_of(command, ignored=ignored) for command in both)
    assert first == second


def test_what_the_interpreter_says_of_itself(snapshot: str) -> None:
    """No module names the place where the build found it; the Python that it starts is that of its environment."""
    data = Path(snapshot).read_bytes()
    for module in ("cli/__init__", "native/spawn", "cli/snapshot/boot"):
        assert f"<snapshot>/ociruntime/{module}.py".encode() in data
    assert os.path.join(os.path.dirname(LAUNCHER), "python3").encode() in data
    assert str(sysconfig.get_config_var("DESTSHARED")).encode() in data


def test_init_is_a_part_of_it(snapshot: str) -> None:
    """So that no file has to be found and trusted."""
    from ociruntime.native import spawn

    assert Path(spawn._EXECUTABLE).read_bytes() in Path(snapshot).read_bytes()
