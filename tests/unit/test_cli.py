# SPDX-License-Identifier: Apache-2.0
"""The command line: dispatch, errors on stderr and in the log, exit codes, and the verbs that need no container."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ociruntime import errors
from ociruntime.cli import flags, main
from ociruntime.cli.log import Log
from ociruntime.errors import RuntimeFailure, StepFailed, UsageError, errno_text, printable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ociruntime.verbs import Settings

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def test_version_is_in_the_form_that_engines_parse(capfd: pytest.CaptureFixture[str]) -> None:
    """First line "NAME version X"; "spec: Y" on its own; the word "version" nowhere else (docker takes the last)."""
    assert main(["--version"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert re.fullmatch(r"ociruntime version \d+\.\d+\.\d+", lines[0])
    assert "spec: 1.3.0" in lines
    assert not [line for line in lines[1:] if "version" in line]


@pytest.mark.parametrize("words", [["--help"], ["-h"], [], ["help"], ["h"]])
def test_help_names_every_verb(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """The help of the command lists all verbs, also those that are refused, and ends with 0."""
    assert main(words) == 0
    text = capfd.readouterr().out
    for verb in [*flags.VERBS, *flags.LATER]:
        assert re.search(rf"^  {verb} ", text, re.MULTILINE), verb


@pytest.mark.parametrize("verb", [*flags.VERBS, *flags.LATER])
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_verb_has_help(verb: str, flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    """-h and --help show the verb's usage, even where the arguments are missing."""
    assert main([verb, flag]) == 0
    assert capfd.readouterr().out.startswith("usage: ociruntime ")
    assert main(["help", verb]) == 0
    assert f" {verb}" in capfd.readouterr().out


@pytest.mark.parametrize("verb", flags.LATER)
def test_a_later_verb_is_refused_by_name(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Never "unknown verb", and never accepted."""
    assert main([verb, "--some-flag", "id"]) == 1
    assert capfd.readouterr() == ("", f"ociruntime: {verb}: not supported yet\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["frob"], "frob: unknown verb"),
        (["--frob", "list"], "unknown flag --frob"),
        (["list", "--frob"], "list: unknown flag --frob"),
        (["crate", "a"], "crate: unknown verb (did you mean create? --help lists the verbs)"),
        (["checkpointt", "a"], "checkpointt: unknown verb (did you mean checkpoint?"),
        (["help", "deletee"], "unknown verb deletee (did you mean delete?"),
        (["--rooot", "/x", "list"], "unknown flag --rooot (did you mean --root? --help lists the flags)"),
        (["run", "-detatch", "a"], "run: unknown flag -detatch (did you mean --detach?"),
        (["list", "-x"], "list: unknown flag -x (--help lists the flags)"),
        (["state"], "state: takes ID, but got 0 arguments"),
        (["state", "a", "b"], "state: takes ID, but got 2 arguments"),
        (["start"], "start: takes ID"),
        (["kill", "a", "b", "c"], "kill: takes ID [SIGNAL]"),
        (["list", "a"], "list: takes no argument, but got 1 argument"),
        (["create", "--bundle"], "create: flag --bundle needs a value"),
        (["create", "--preserve-fds", "x", "id"], "create: flag --preserve-fds needs a number"),
        (["--systemd-cgroup", "--cgroup-manager", "cgroupfs", "list"], "flag --systemd-cgroup: --cgroup-manager says cgroupfs"),
        (["--cgroup-manager", "frob", "list"], "flag --cgroup-manager must be one of"),
        (["--rootless", "maybe", "list"], "flag --rootless must be one of auto, false, true"),
        (["--log-format", "xml", "list"], "flag --log-format must be one of text, json"),
        (["--log", "/nonexistent/log", "list"], "flag --log: /nonexistent/log: ENOENT"),
        (["help", "frob"], "unknown verb frob"),
        (["kill", "id", "FROB"], "kill: unknown signal 'FROB'"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_is_one_line_and_exit_1(
    words: list[str], told: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line names the verb and the mistake; nothing is printed on stdout."""
    assert main(words) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("ociruntime: ")
    assert err.count("\n") == 1
    assert told in err


@pytest.mark.parametrize(
    "words", [["--rootless", "auto"], ["--rootless=false"], ["--criu", "/x"], ["--systemd-cgroup=false"]]
)
def test_accepted_flags_have_no_effect(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """What is accepted but ignored changes nothing in what a verb prints."""
    assert main(["features"]) == 0
    plain = capfd.readouterr()
    assert main([*words, "features"]) == 0
    assert capfd.readouterr() == plain


def raising(failure: BaseException) -> Callable[[Settings, flags.Arguments], int]:
    """A verb that fails."""

    def run(settings: Settings, given: flags.Arguments) -> int:
        del settings, given
        raise failure

    return run


FULL = StepFailed("tmpfs on /dev/shm", pointer="/mounts/3", step="mount", errno=28, hint="fs.mount-max")


def test_a_hint_is_said_once() -> None:
    """What went wrong after it may have the same hint, or another one."""
    failure = RuntimeFailure("no systemd", hint="start\nit")
    failure.and_then([])
    assert str(failure) == "no systemd (start\\nit)"
    failure.and_then([f"undo: {failure}", f"stop: {RuntimeFailure('busy', hint='wait')}"])
    assert str(failure) == "no systemd; and then: undo: no systemd; stop: busy (wait) (start\\nit)"
    plain = RuntimeFailure("no file")
    plain.and_then([str(FULL)])
    assert str(plain) == f"no file; and then: {FULL}"


def test_an_error_names_verb_pointer_step_and_reason(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """DESIGN section 7: `verb: pointer: step: reason (hint)`."""
    monkeypatch.setattr("ociruntime.verbs.features.run", raising(FULL))
    assert main(["features"]) == 1
    expected = f"features: /mounts/3: mount: tmpfs on /dev/shm: {errno_text(28)} (fs.mount-max)"
    assert capfd.readouterr().err == f"ociruntime: {expected}\n"


def test_the_json_log_has_what_engines_read(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """One JSON object a line with level, msg and time, our fields beside them; stderr has the plain line too."""
    monkeypatch.setattr("ociruntime.verbs.features.run", raising(FULL))
    path = tmp_path / "log.json"
    path.write_text("before\n")
    assert main(["--log", str(path), "--log-format", "json", "features"]) == 1
    before, line = path.read_text().splitlines()
    assert before == "before"
    entry = json.loads(line)
    assert re.fullmatch(TIME, entry.pop("time"))
    assert entry == {
        "level": "error",
        "msg": f"features: {FULL}",
        "error": "StepFailed",
        "pointer": "/mounts/3",
        "step": "mount",
        "errno": 28,
        "hint": "fs.mount-max",
    }
    assert capfd.readouterr().err == f"ociruntime: features: {FULL}\n"


def test_the_text_log_is_logrus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """time="..." level=error msg="..." with quotes and line ends escaped."""
    monkeypatch.setattr("ociruntime.verbs.features.run", raising(UsageError('a "b"\nc')))
    path = tmp_path / "log"
    assert main(["--log", str(path), "features"]) == 1
    assert re.fullmatch(
        rf'time="{TIME}" level=error msg="features: a \\"b\\"\\\\nc" error="UsageError"\n', path.read_text()
    )


def test_json_without_a_log_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """--log-format json alone makes stderr's line JSON."""
    assert main(["--log-format", "json", "frob"]) == 1
    assert json.loads(capfd.readouterr().err)["msg"].startswith("frob: unknown verb")


@pytest.mark.parametrize("words", [["--cgroup-manager", "frob"], ["--log-format", "xml"], ["--frob"]])
def test_a_wrong_global_flag_is_logged_too(words: list[str], tmp_path: Path) -> None:
    """Engines show the log's last error: it must be there even if a flag after --log is refused."""
    path = tmp_path / "log"
    assert main(["--log", str(path), *words, "list"]) == 1
    assert words[0] in path.read_text()


def test_warnings_go_to_the_log_only(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With a log, create's stderr stays the container's; without one, a warning is shown."""
    Log(str(tmp_path / "log"), "json").tell_warning("x")
    assert json.loads((tmp_path / "log").read_text())["level"] == "warning"
    assert capfd.readouterr().err == ""
    Log().tell_warning("x")
    assert capfd.readouterr().err == "ociruntime: warning: x\n"


def test_debug_lines_are_for_debug(capfd: pytest.CaptureFixture[str]) -> None:
    """--debug logs what the verb was called with; without it nothing is said."""
    assert main(["features"]) == 0
    assert capfd.readouterr().err == ""
    assert main(["--debug", "features"]) == 0
    assert "level=debug" in capfd.readouterr().err


def test_an_internal_error_is_printable(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A bug of ours is an error with exit 1 as well; --debug adds the traceback."""
    monkeypatch.setattr("ociruntime.verbs.features.run", raising(ZeroDivisionError("x")))
    assert main(["features"]) == 1
    err = capfd.readouterr().err
    assert err == "ociruntime: features: internal error: ZeroDivisionError: x (--debug shows where)\n"
    assert main(["--debug", "features"]) == 1
    assert "Traceback" in capfd.readouterr().err


def test_too_little_memory_has_words(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It is no bug of ours: a limit of the process, as a rule."""
    monkeypatch.setattr("ociruntime.verbs.features.run", raising(MemoryError()))
    assert main(["features"]) == 1
    err = capfd.readouterr().err
    assert err == "ociruntime: features: out of memory (ulimit -v and ulimit -d show this process's limits)\n"


def test_an_ordinary_error_has_no_traceback(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An engine may give --debug always: it is about our bugs, not about a container that does not exist."""
    assert main(["--debug", "--root", str(tmp_path), "state", "one"]) == 1
    err = capfd.readouterr().err
    assert "does not exist" in err
    assert "Traceback" not in err


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """KeyboardInterrupt ends with 128 + SIGINT and no traceback."""
    monkeypatch.setattr("ociruntime.verbs.features.run", raising(KeyboardInterrupt()))
    assert main(["features"]) == 130
    assert capfd.readouterr().err == "ociruntime: features: interrupted by signal 2\n"


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    """`ociruntime features | head -1`: exit 141 as if SIGPIPE had come, and nothing on stderr."""
    reader, writer = os.pipe()
    os.close(reader)
    argv = [sys.executable, "-m", "ociruntime", "features"]
    done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, cwd=REPOSITORY, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_full_disk_under_stdout_is_an_error() -> None:
    """What could not be printed was not printed: exit 1 and a reason."""
    with open("/dev/full", "wb") as full:
        argv = [sys.executable, "-m", "ociruntime", "features"]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, cwd=REPOSITORY, check=False)
    assert done.returncode == 1
    assert b"standard output can't be written: ENOSPC" in done.stderr


@pytest.mark.parametrize("closed", ["2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_change_no_exit_code(closed: str, tmp_path: Path) -> None:
    """An error that can't be shown is still an error, and a log is never opened as descriptor 0, 1 or 2."""
    log = tmp_path / "log"
    script = f"exec {sys.executable} -m ociruntime --log {log} frob {closed}"
    assert subprocess.run(["/bin/sh", "-c", script], cwd=REPOSITORY, check=False).returncode == 1
    assert log.read_text().count("\n") == 1
    script = f"exec {sys.executable} -m ociruntime --log {log} features {closed}"
    assert (
        subprocess.run(
            ["/bin/sh", "-c", script], cwd=REPOSITORY, check=False, stdout=subprocess.DEVNULL
        ).returncode
        == 0
    )
    assert log.read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a b", "a b"),
        ("a\nb", r"a\nb"),
        ("\x1b[2J", r"\x1b[2J"),
        ("\x7f\x9b", r"\x7f\x9b"),
        ("\u202e\ud800", r"\u202e\ud800"),
        ("grün\udcff", r"grün\udcff"),
    ],
)
def test_what_is_shown_moves_no_cursor(text: str, shown: str) -> None:
    """Control characters that a config puts into a message, and bytes that are not UTF-8, are escaped."""
    assert printable(text) == shown


def test_half_a_surrogate_pair_can_be_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """JSON can say what UTF-8 can't."""
    path = tmp_path / "config.json"
    path.write_text('{"ociVersion": "1.0.2", "root": {"path": "x"}, "annotations": {"\\ud800": 5}}')
    assert main(["validate", str(path)]) == 1
    assert r"/annotations/\ud800" in capfd.readouterr().out


def test_words_that_are_not_utf8_are_shown_escaped() -> None:
    """A name in another encoding is shown in an error, and is never a traceback."""
    argv = [sys.executable.encode(), b"-X", b"utf8", b"-m", b"ociruntime", b"frob\xff"]
    done = subprocess.run(argv, capture_output=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(rb"ociruntime: frob\udcff: unknown verb")


def test_a_verb_that_fails_leaves_the_exit_code_of_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception decides: 1, 255, or 128 + n."""
    failure = RuntimeFailure("x")
    failure.exit_code = 255
    monkeypatch.setattr("ociruntime.verbs.features.run", raising(failure))
    assert main(["features"]) == 255


def test_the_first_signal_ends_the_operation_and_the_second_not_its_undo() -> None:
    """SIGTERM raises Interrupted (exit 143) once; a second one while things are undone does nothing."""
    program = (
        "import os, signal, sys; from ociruntime import cli, verbs; import ociruntime.verbs.features as verb\n"
        "def run(settings, given):\n"
        "    verbs.raise_on_signals()\n"
        "    try:\n"
        "        signal.raise_signal(signal.SIGTERM)\n"
        "    finally:\n"
        "        signal.raise_signal(signal.SIGTERM); signal.raise_signal(signal.SIGINT)\n"
        "        print('undone', flush=True)\n"
        "verb.run = run\n"
        "sys.exit(cli.main(['features']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert (done.returncode, done.stdout) == (143, "undone\n")
    assert done.stderr == "ociruntime: features: interrupted by signal 15\n"


def test_ignored_signals_stay_ignored() -> None:
    """Under nohup SIGHUP does not interrupt."""
    program = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); from ociruntime import verbs\n"
        "verbs.raise_on_signals(); signal.raise_signal(signal.SIGHUP); print('on')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert (done.returncode, done.stdout) == (0, "on\n")


def test_the_document_on_errors_names_every_exception() -> None:
    """docs/internals/errors.md has a row for each class of errors.py, and no others."""
    with open(os.path.join(REPOSITORY, "docs/internals/errors.md"), encoding="utf-8") as file:
        listed = set(re.findall(r"^\| `([A-Z]\w+)` \|", file.read(), re.MULTILINE))
    classes = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert listed == classes - {"RuntimeFailure"}


def test_a_refused_global_flag_names_the_verb(capfd: pytest.CaptureFixture[str]) -> None:
    """Engines give it, and their users see the error: which verb it was."""
    assert main(["--cgroup-manager", "frob", "create", "x"]) == 1
    error = capfd.readouterr().err
    assert error.startswith("ociruntime: create: flag --cgroup-manager must be one of")


def test_a_word_that_is_no_verb_is_not_taken_for_one(capfd: pytest.CaptureFixture[str]) -> None:
    """Behind a refused flag as well."""
    assert main(["--cgroup-manager", "frob", "no-such-verb"]) == 1
    assert capfd.readouterr().err.startswith("ociruntime: flag --cgroup-manager ")
