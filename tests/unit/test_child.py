# SPDX-License-Identifier: Apache-2.0
"""Does a child answer for a process that can't load libraries, and is it told why if it does not?"""

from __future__ import annotations

import errno
import os
import stat
import sys
import sysconfig
import threading
from pathlib import Path

import pytest

from ociruntime import bundle
from ociruntime.check import schema
from ociruntime.errors import RuntimeFailure, StepFailed
from ociruntime.native import child, full_python
from tests.unit.house import REPOSITORY


@pytest.fixture(autouse=True)
def interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of the tests."""
    monkeypatch.setattr(full_python, "find_interpreter", lambda: (sys.executable, path()))


def path() -> list[str]:
    """Where a child finds the package."""
    return [str(REPOSITORY), sysconfig.get_paths()["platlib"]]


def test_an_answer() -> None:
    """Arguments and result pass through JSON, also bytes of a path that are not UTF-8."""
    assert child.ask("ociruntime.host_path", "absolute", "/a//\udcff") == "/a/\udcff"


def test_a_large_answer() -> None:
    """Neither side waits for the other's pipe."""
    assert child.ask("builtins", "list", ["x" * 1000] * 5000) == ["x" * 1000] * 5000


@pytest.mark.parametrize("kind", [StepFailed, RuntimeFailure])
def test_an_error_of_the_function(
    kind: type[RuntimeFailure], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is raised again, with all that it says."""
    (tmp_path / "failing.py").write_text(
        f"from ociruntime.errors import {kind.__name__} as kind\n"
        "def fail():\n    raise kind('why', pointer='/p', step='s', errno=2, hint='h')\n"
    )
    monkeypatch.setattr(full_python, "find_interpreter", lambda: (sys.executable, [*path(), str(tmp_path)]))
    with pytest.raises(RuntimeFailure) as caught:
        child.ask("failing", "fail")
    assert type(caught.value) is kind
    assert str(caught.value) == str(kind("why", pointer="/p", step="s", errno=2, hint="h"))


@pytest.mark.parametrize(
    ("module", "function", "words"),
    [
        ("os", "abort", "a child for os.abort ended with -6"),
        (
            "nowhere",
            "x",
            "a child for nowhere.x ended with 1 (ModuleNotFoundError: No module named 'nowhere')",
        ),
        ("os", "_exit", "a child for os._exit has not answered"),
    ],
)
def test_a_child_that_fails(module: str, function: str, words: str) -> None:
    """How it ended, and its last words."""
    with pytest.raises(RuntimeFailure) as caught:
        child.ask(module, function, *([0] if function == "_exit" else []))
    assert str(caught.value) == words


def children() -> set[str]:
    """Process ids of the children of this process; other tests may have left some that end by themselves."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_a_child_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed, and the error says after how long."""
    monkeypatch.setattr(child, "_PATIENCE", 0.3)
    before = children()
    with pytest.raises(RuntimeFailure, match=r"^a child for time\.sleep took longer than 0\.3 s$"):
        child.ask("time", "sleep", 100)
    assert children() <= before


def test_no_descriptor_for_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended and reaped, and the error has the kernel's reason."""

    def refuse(_pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    before = children()
    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(RuntimeFailure, match=r"^no child for time\.sleep: wait for it: EMFILE"):
        child.ask("time", "sleep", 100)
    assert children() <= before


def test_no_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path is in the error."""
    monkeypatch.setattr(full_python, "find_interpreter", lambda: ("/nowhere/python3", []))
    with pytest.raises(RuntimeFailure, match=r"no child for os\.getpid: /nowhere/python3: ENOENT"):
        child.ask("os", "getpid")


def test_another_version_has_been_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its functions may have changed since the shim began."""
    monkeypatch.setattr("ociruntime.__version__", "0.0.9")
    with pytest.raises(RuntimeFailure) as caught:
        child.ask("os", "getpid")
    assert "has been installed since this shim of 0.0.9 began" in str(caught.value)


def test_in_threads() -> None:
    """Each gets its own answer."""
    answers: dict[int, object] = {}

    def work(number: int) -> None:
        answers[number] = child.ask("builtins", "abs", -number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: number for number in range(4)}


def test_the_schema_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child's violations are those that this process would find."""
    config = {"process": {"args": 7}, "hostname": []}
    wanted = schema.explain(config)
    monkeypatch.setattr(full_python, "ask", child.ask)
    assert schema.explain(config) == wanted
    assert len(wanted) > 2


def test_need_in_a_shim(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no child can do is refused by name; nothing is executed."""
    full_python.need("x")  # of an ordinary process: nothing
    monkeypatch.setattr(full_python, "ask", child.ask)
    with pytest.raises(
        RuntimeFailure, match=r"^x needs a library, which the shim in a snapshot can't load \("
    ):
        full_python.need("x")


def test_a_pipe_in_a_shim(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document from a pipe is simply read: the shim does not begin anew."""
    monkeypatch.setattr(full_python, "ask", child.ask)
    reading, writing = os.pipe()
    os.write(writing, b"{}")
    os.close(writing)
    assert stat.S_ISFIFO(os.fstat(reading).st_mode)
    assert bundle._read(f"/dev/fd/{reading}") == b"{}"
    os.close(reading)
