# SPDX-License-Identifier: Apache-2.0
"""Has a verb more work than before (or less, and nobody has noted it)? System calls, page faults, modules: not time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.driver import TIMEOUT, runtime_under_test
from tests.perf import counts
from tests.perf.counts import Counts

REPOSITORY = Path(__file__).parents[2]
KNOWN = {"snapshot": {"state": Counts(calls=100, init=0, faults=500, modules=0)}}


def test_lines_of_strace_are_counted() -> None:
    """The command's own calls, init's until it executes the program, and the modules that were found and opened."""
    lines = [
        '10 execve("/usr/bin/ociruntime", ["ociruntime"], 0x7f /* 3 vars */) = 0',
        '10 openat(AT_FDCWD, "/lib/a.pyc", O_RDONLY|O_CLOEXEC) = 3',
        '10 openat(AT_FDCWD, "/lib/none.py", O_RDONLY|O_CLOEXEC) = -1 ENOENT (No such file or directory)',
        "10 clone3({flags=CLONE_VM}, 88) = 11",
        '11 execveat(4, "", ["init"], 0x7f /* 0 vars */, AT_EMPTY_PATH <unfinished ...>',
        "10 read(3,  <unfinished ...>",
        "11 <... execveat resumed>) = 0",
        '11 mount("a", "b", NULL, 0, NULL) = 0',
        '11 execve("/sbin/true", ["true"], 0x7f /* 1 var */) = -1 ENOENT (No such file or directory)',
        '11 execve("/bin/true", ["true"], 0x7f /* 1 var */) = 0',
        "11 brk(NULL) = 0x1",
        "10 <... read resumed>) = 1",
        "10 --- SIGCHLD {si_signo=SIGCHLD} ---",
        "10 exit_group(0) = ?",
        "10 +++ exited with 0 +++",
    ]
    assert counts.counts_in(lines) == (6, 4, 1)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"calls": 106}, "106 system calls, and 100 in the table: more"),
        ({"calls": 94}, "94 system calls, and 100 in the table: fewer"),
        ({"faults": 528}, "528 page faults"),
        ({"modules": 1}, "1 modules, and 0"),
        ({"init": 4}, "4 system calls of init"),
    ],
)
def test_a_number_that_has_changed_is_named(changed: dict[str, int], word: str) -> None:
    """More is worse; less is said as well, so that it stays."""
    now = KNOWN["snapshot"]["state"]._replace(**changed)
    (line,) = counts.complaints(KNOWN, {"snapshot": {"state": now}})
    assert line.startswith("snapshot state: ")
    assert word in line


def test_what_differs_a_little_is_the_same() -> None:
    """A few more or less are no change; a verb that is not in the table is said."""
    now = KNOWN["snapshot"]["state"]._replace(calls=105, faults=525)
    assert counts.complaints(KNOWN, {"snapshot": {"state": now}}) == []
    assert counts.complaints(KNOWN, {"launcher": {"run": now}}) == ["launcher run: not in the table"]


@pytest.mark.root
@pytest.mark.slow
def test_the_verbs_have_the_work_of_the_table() -> None:
    """Both forms of the command, every verb. A merge that changes the numbers needs only the table to be written anew.

    In a process of its own: it unmounts what other tests have mounted.
    """
    if runtime_under_test() != "ociruntime":
        pytest.skip("RUNTIME names a peer: the table is ours")
    machine, _ = counts.read()
    if machine != counts.kind_of_machine():
        pytest.skip(
            f"another kind of machine: the table is of {machine}; {counts.REWRITE} writes one of this"
        )
    done = subprocess.run(
        [sys.executable, "-m", "tests.perf.counts"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=10 * TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "launcher run " in done.stdout
