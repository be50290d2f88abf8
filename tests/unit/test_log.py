# SPDX-License-Identifier: Apache-2.0
"""How long is a line for people, and how is a longer one cut? (docs/internals/errors.md)"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from ociruntime.cli.log import Log
from ociruntime.errors import LINE_LIMIT, RuntimeFailure, StepFailed, shared_out, shortened, width

if TYPE_CHECKING:
    from pathlib import Path

GROUPS = ",".join(map(str, range(65_537)))


def failure(**parts: str) -> StepFailed:
    """An error of which every part is there; some are given."""
    known = {
        "reason": "setgroups",
        "pointer": "/process/user",
        "step": "groups 1",
        "hint": "ask somebody",
        **parts,
    }
    return StepFailed(known.pop("reason"), errno=22, **known)


def told(capfd: pytest.CaptureFixture[str], one: RuntimeFailure, log: Log | None = None) -> str:
    """The one line on stderr."""
    (log or Log()).failure(one, "create")
    (line,) = capfd.readouterr().err.splitlines()
    return line


def test_a_short_line_is_whole(capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is changed."""
    line = "ociruntime: create: /process/user: groups 1: setgroups: EINVAL (invalid argument) (ask somebody)"
    assert told(capfd, failure()) == line


@pytest.mark.parametrize(
    "long",
    [
        {"step": f"groups {GROUPS}"},
        {"reason": "it printed: BEGIN" + "x" * 1_000_000 + "END"},
        {"pointer": "/annotations/" + "n" * 1_000_000},
        {"hint": "h" * 1_000_000},
        {"step": f"groups {GROUPS}", "reason": "BEGIN" + "r" * 1_000_000 + "END"},
        {"step": "groups " + "ü" * 1_000_000},
        {"step": "groups " + "\x1b\U0001f600\udcff" * 300_000, "pointer": "/process/" + '"' * 100_000},
    ],
)
def test_a_long_part_is_cut_in_its_middle(
    long: dict[str, str], capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Pointer, step, the kernel's and the container's words, errno and hint are still there; the rest is counted."""
    lines = [told(capfd, failure(**long))]
    Log(str(tmp_path / "log")).failure(failure(**long), "create")
    (logged,) = (tmp_path / "log").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    capfd.readouterr()
    for line in (*lines, logged):
        assert len(line.encode("utf-8", "surrogateescape")) <= LINE_LIMIT
        for words in ("create: /", "groups ", "EINVAL (invalid argument)", "characters ...]"):
            assert words in line, words
        for name, words in (
            ("hint", "(ask somebody)"),
            ("pointer", "/process/user"),
            ("reason", "setgroups"),
        ):
            assert name in long or words in line
        assert "reason" not in long or ("BEGIN" in line and "END" in line)


def test_json_has_all_of_it(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In a log for programs nothing is cut, and stderr beside it is."""
    one = failure(step=f"groups {GROUPS}")
    line = told(capfd, one, Log(str(tmp_path / "log"), "json"))
    assert len(line) < LINE_LIMIT
    entry = json.loads((tmp_path / "log").read_text())
    assert entry["step"] == f"groups {GROUPS}"
    assert entry["msg"] == f"create: {one}"
    assert json.loads(told(capfd, one, Log(form="json")))["step"] == f"groups {GROUPS}"


def test_a_long_warning(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A warning, and an error of no kind of ours, are cut as well."""
    message = "create: /annotations/x: BEGIN" + "x" * 1_000_000 + "END [R049]"
    for log in (Log(), Log(str(tmp_path / "log")), Log(str(tmp_path / "log"), verbose=True)):
        log.tell_warning(message)
        log.tell_error(message)
        log.tell_debug(message)
    lines = [*capfd.readouterr().err.splitlines(), *(tmp_path / "log").read_text().splitlines()]
    assert len(lines) == 9
    for line in lines:
        assert len(line) <= LINE_LIMIT
        assert "/annotations/x: BEGIN" in line
        assert "END [R049]" in line
        assert "characters ...]" in line


def test_shortened() -> None:
    """Begin and end in so many bytes, with the number of characters that are missing."""
    assert shortened("abc", 3) == "abc"
    assert shortened("a" * 50 + "b" * 950, 100) == "a" * 38 + "[... 924 characters ...]" + "b" * 38
    for text in ("x" * 500, "ü" * 300, "\U0001f600" * 200, "\udcff" * 200):
        for limit in range(27, 600):
            short = shortened(text, limit)
            assert width(short) <= limit
            assert short == text or "characters ...]" in short


def test_shared_out() -> None:
    """Short parts stay whole, and the long ones get the same share of the rest."""
    assert shared_out(["a", "", "b" * 10], 11) == ["a", "", "b" * 10]
    first, second, third = shared_out(["a" * 1000, "word", "c" * 500], 204)
    assert second == "word"
    assert len(first) == len(third) == 100
