# SPDX-License-Identifier: Apache-2.0
"""ociruntime/operations/ps.py: which lines of ps are the container's?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from ociruntime.errors import RuntimeFailure
from ociruntime.operations import ps as processes

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def ps(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Set what ps prints: with our column before the others ("" is an error), and without it."""
    answers = ["", ""]

    def run(arguments: list[str]) -> str:
        marked = arguments[:2] == ["-o", "pid=OCIRUNTIME"]
        if not answers[not marked]:
            raise RuntimeFailure("ps: exit status 1: conflicting format options")
        return answers[not marked]

    monkeypatch.setattr(processes, "_run", run)

    def set_answers(with_ours: str, without: str) -> None:
        answers[:] = with_ours, without

    return set_answers


def test_our_column_is_taken_away(ps: Callable[[str, str], None]) -> None:
    """It decides, and what is printed is what was asked for."""
    ps(
        "OCIRUNTIME COMMAND           PID\n       700 a 1                 700\n         1 x 700             1\n",
        "",
    )
    assert processes.table([700], ["-eo", "comm,pid"]) == ("COMMAND           PID\na 1                 700\n")


def test_what_has_columns_of_its_own(ps: Callable[[str, str], None]) -> None:
    """Where ours can't be added, PID comes before any name."""
    ps("", "UID        PID CMD\nroot       700 a 1\nroot         1 x 700\n")
    assert processes.table([700], ["-C", "foo", "-f"]) == "UID        PID CMD\nroot       700 a 1\n"


def test_a_format_that_is_ours_alone(ps: Callable[[str, str], None]) -> None:
    """Arguments without a format, that only look as if they had one, keep ps's own columns."""
    ps("OCIRUNTIME\n       700\n", "    PID TTY CMD\n    700 ?   foo\n      1 ?   foo\n")
    assert processes.table([700], ["-C", "foo"]) == "    PID TTY CMD\n    700 ?   foo\n"


def test_labels_of_apparmor(ps: Callable[[str, str], None]) -> None:
    """A label of two words comes before PID."""
    ps(
        "",
        "LABEL                         PID CMD\n"
        "docker-default (enforce)      700 sh\n"
        "unconfined                      1 (x 700)\n"
        "unconfined                    701 (sd-pam)\n",
    )
    assert processes.table([700, 701], ["-eM"]).splitlines()[1:] == [
        "docker-default (enforce)      700 sh",
        "unconfined                    701 (sd-pam)",
    ]


@pytest.mark.parametrize("without", ["COMMAND\nsh\n", "", "\n"])
def test_without_a_pid(ps: Callable[[str, str], None], without: str) -> None:
    """There is no telling whose the lines are: runc's words, or ps's own."""
    ps("OCIRUNTIME COMMAND\n       700 sh\n" if without else "", without)
    with pytest.raises(RuntimeFailure, match="couldn't find PID field" if without else "conflicting"):
        processes.table([700], ["-o", "comm"])


def test_the_real_ps() -> None:
    """Of this very machine: each form has this process, once."""
    for arguments in (
        [],
        ["aux"],
        ["-eo", "comm,pid,args"],
        ["axo", "args,pid"],
        ["-e", "--format=comm,pid"],
        ["-e"],
    ):
        lines = processes.table([os.getpid()], arguments).splitlines()
        assert len(lines) == 2, (arguments, lines)
        assert "PID" in lines[0]
        assert str(os.getpid()) in lines[1]
