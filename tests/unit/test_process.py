# SPDX-License-Identifier: Apache-2.0
"""What linux/process.py plans for the program: where it is looked for, and its environment; and why it can't be executed."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.config import Node
from ociruntime.errors import ProgramNotExecutable
from ociruntime.launch.context import Context
from ociruntime.launch.launch import explain
from ociruntime.linux import process
from ociruntime.native.spawn import ChildFailed
from ociruntime.step import InitStep

if TYPE_CHECKING:
    from ociruntime.step import Step

PATH = "PATH=/usr/bin:/bin"


def config(**properties: Any) -> Node:
    """A config whose process has these properties."""
    return Node({"process": {"cwd": "/", "args": ["sh"], "env": [PATH], **properties}})


@pytest.mark.parametrize(
    ("env", "program", "expected"),
    [
        ([PATH], "sh", ["/usr/bin/sh", "/bin/sh"]),
        ([PATH], "/sbin/init", ["/sbin/init"]),
        ([PATH], "./run", ["./run"]),
        ([PATH], "tools/run", ["tools/run"]),
        (["PATH=/a::b:"], "sh", ["/a/sh", "./sh", "b/sh", "./sh"]),
        (["PATH=/a", "PATH=/b"], "sh", ["/b/sh"]),
        (["PATH="], "sh", []),
        (["XPATH=/a"], "sh", []),
        ([], "sh", []),
        ([], "/bin/sh", ["/bin/sh"]),
    ],
)
def test_candidates_follow_execvp(env: list[str], program: str, expected: list[str]) -> None:
    """The program is looked for where execvp(3) would, in the PATH of process.env (R043)."""
    assert process.candidates(config(env=env, args=[program])) == expected


@pytest.mark.parametrize(
    ("env", "home", "expected"),
    [
        (["A=1"], "/root", ["A=1", "HOME=/root"]),
        (["A=1"], None, ["A=1", "HOME=/"]),
        (["A=1"], "", ["A=1", "HOME="]),
        (["HOME=/x", "A=1"], "/root", ["HOME=/x", "A=1"]),
        (["HOME=", "A=1"], "/root", ["HOME=/root", "A=1"]),
        (["A=1", "B=1", "A=2"], "/", ["A=2", "B=1", "HOME=/"]),
        (["A=b=c", "B="], "/", ["A=b=c", "B=", "HOME=/"]),
        (None, "/", ["HOME=/"]),
    ],
)
def test_environment_is_runcs(env: list[str] | None, home: str | None, expected: list[str]) -> None:
    """The last of two values wins at the place of the first, and HOME is added if it is missing or empty."""
    assert process.environment(config(env=env), home) == expected


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        ({}, []),
        ({"env": [PATH, "noequals"]}, [("/process/env/1", "error")]),
        ({"env": ["=value", PATH]}, [("/process/env/0", "error")]),
        ({"env": ["", PATH]}, [("/process/env/0", "error")]),
        ({"args": [""]}, [("/process/args/0", "error")]),
        ({"env": ["A=1"]}, [("/process/args/0", "warning")]),
        ({"env": None, "args": ["/bin/sh"]}, []),
    ],
)
def test_check_names_the_entry(properties: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """A bad environment entry or an empty program name is a violation at its own place."""
    assert [(one.pointer, one.severity) for one in process.check(config(**properties))] == expected


def test_no_process_is_no_violation_and_no_step() -> None:
    """A config without process is fine until start (R037, R231)."""
    empty, host = Node({}), SimpleNamespace()
    assert list(process.check(empty)) == []
    planned = [
        *process.plan(empty, host),
        *process.plan_enter(empty, host),
        *process.plan_program(empty, host),
        *process.plan_no_new_privs(empty, host),
        *process.plan_exec(empty, None),
    ]
    assert planned == []


def test_steps_have_the_op_arguments_and_pointer() -> None:
    """Each property becomes the op of plan.h with the arguments that it is declared with."""
    node = config(cwd="/work", noNewPrivileges=True, args=["sh", "-c", "true"])
    host = SimpleNamespace()
    steps = [
        *process.plan_enter(node, host),
        *process.plan_program(node, host),
        *process.plan_no_new_privs(node, host),
        *process.plan_exec(node, "/root"),
    ]
    found = ["/usr/bin/sh", "/bin/sh"]
    assert [(step.op, step.args, step.pointer) for step in steps] == [
        ("chdir", ("/work", 1), "/process/cwd"),
        ("find_program", (found,), "/process/args/0"),
        ("no_new_privs", (), "/process/noNewPrivileges"),
        ("exec", (found, ["sh", "-c", "true"], [PATH, "HOME=/root"]), "/process/args"),
    ]


@pytest.mark.parametrize("wanted", [False, None])
def test_no_new_privs_only_on_request(wanted: bool | None) -> None:
    """Without noNewPrivileges the flag stays as it is (R052)."""
    assert list(process.plan_no_new_privs(config(noNewPrivileges=wanted), SimpleNamespace())) == []


@pytest.mark.parametrize(("score", "steps"), [(None, 0), (0, 1), (-5, 1), (500, 1)])
def test_oom_score_is_touched_only_if_set(score: int | None, steps: int) -> None:
    """Unset leaves the score alone (R054), 0 does not (R053)."""
    planned = list(process.plan(config(oomScoreAdj=score), SimpleNamespace()))
    assert [step.args for step in planned] == [{"value": score}] * steps


def test_apply_writes_the_score_of_init() -> None:
    """The step really changes oom_score_adj of the process that run names, and of no other."""
    own = Path("/proc/self/oom_score_adj").read_text()
    child = subprocess.Popen(["sleep", "60"])
    try:
        context = Context("c", "/bundle", "/state", Node({}))
        context.pid = child.pid
        (step,) = process.plan(config(oomScoreAdj=987), SimpleNamespace())
        process.apply(step, context)
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text() == "987\n"
        assert Path("/proc/self/oom_score_adj").read_text() == own
    finally:
        child.kill()
        child.wait()


def test_bytes_that_are_not_utf8_pass_through() -> None:
    """A path with a byte that is not UTF-8 (a lone surrogate in JSON) keeps that byte."""
    strange = os.fsdecode(b"/bin/\xff")
    assert [os.fsencode(one) for one in process.candidates(config(args=[strange]))] == [b"/bin/\xff"]
    assert os.fsencode(process.environment(config(env=[f"A={strange}"]), None)[0]) == b"A=/bin/\xff"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EPERM, ": EPERM (operation not permitted) (does /linux/seccomp allow execve?)"),
        (errno.ENOSYS, ": ENOSYS (function not implemented) (does /linux/seccomp allow execve?)"),
        (errno.ENOEXEC, ": ENOEXEC (exec format error)"),
        (errno.E2BIG, ": E2BIG (argument list too long)"),
    ],
)
def test_whether_a_filter_is_to_blame(number: int, words: str) -> None:
    """Only for what filters answer: a program for another machine is no matter of the filter that engines give everything."""
    steps: list[Step] = [
        InitStep("seccomp"),
        InitStep("exec", name="exec", pointer="/process/args", text="/bin/data"),
    ]
    failure = explain(ChildFailed(1, "exec", number, "", ""), steps)
    assert isinstance(failure, ProgramNotExecutable)
    assert str(failure) == f'/process/args: exec "/bin/data"{words}'
