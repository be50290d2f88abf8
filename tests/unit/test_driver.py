# SPDX-License-Identifier: Apache-2.0
"""tests/harness/driver.py: does `refused` see an error of another kind than the one that the test is about?"""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.harness import command
from tests.harness.driver import Result, command_of, runtime_under_test

_TOLD = "ociruntime: create: /root/path: no such directory: nowhere\n"


def _result(err: str, by: str = "ociruntime", code: int = 1) -> Result:
    return Result(code, "", err, 0.0, by)


def test_refused_needs_words() -> None:
    """Without words any failure would do, even an unknown verb: that asserts nothing."""
    with pytest.raises(TypeError, match="word"):
        _result(_TOLD).refused()  # type: ignore[call-arg]


def test_refused_with_its_words() -> None:
    """One line with all the words is the error that was expected; a warning beside it does not matter."""
    for err in (
        _TOLD,
        f"ociruntime: warning: /x: odd\n{_TOLD}",
        '{"level":"error","msg":"/root/path: no such"}\n',
    ):
        _result(err).refused("/root/path", "no such")


@pytest.mark.parametrize(
    ("err", "code"),
    [
        ("ociruntime: unknown verb state\n", 1),
        ("ociruntime: create: internal error: IndexError: /root/path\n", 1),
        (_TOLD + _TOLD, 1),
        ("Traceback (most recent call last):\n/root/path\n", 1),
        ("/root/path\n", 1),
        ("", 1),
        (_TOLD, 0),
    ],
)
def test_another_failure_is_seen(err: str, code: int) -> None:
    """Other words, a bug, two lines, another program's line, silence and success are not what was expected."""
    with pytest.raises(AssertionError):
        _result(err, code=code).refused("/root/path")


def test_peers_have_their_own_words() -> None:
    """Of a peer it is only expected that it fails; of an engine that its text has our words."""
    _result("FATA[0000] rootfs (/x) does not exist\n", by="runc").refused("/root/path")
    _result(f"docker: Error response from daemon: {_TOLD}", by="").refused("/root/path")
    with pytest.raises(AssertionError):
        _result("docker: no\n", by="").refused("/root/path")


def test_the_session_calls_a_snapshot() -> None:
    """Where one can be built; RUNTIME=launcher chooses the other form. The only skip that says that the suite runs without it."""
    if os.environ.get("RUNTIME", "ociruntime") not in {"ociruntime", "launcher"}:
        pytest.skip("RUNTIME names a peer")
    reason = command.why_launcher()
    if reason and os.environ.get("RUNTIME") != "launcher":
        pytest.skip(f"no snapshot: all tests call the launcher: {reason}")
    done = subprocess.run(
        [*command_of("ociruntime"), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.rpartition(", in a")[2] == ("n interpreter\n" if reason else " snapshot\n")


def test_runtime_launcher_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests that ask which runtime they are about hear the same name, and the command is the environment's."""
    monkeypatch.setenv("RUNTIME", "launcher")
    assert (runtime_under_test(), command_of("ociruntime")) == ("ociruntime", [command.LAUNCHER])
