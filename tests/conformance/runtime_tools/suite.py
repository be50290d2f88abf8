# SPDX-License-Identifier: Apache-2.0
"""How is a program of runtime-tools run, and what does its output say? A time limit, TAP, one verdict.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.harness.driver import ENVIRONMENT, PATIENCE, decode
from tests.harness.rootfs import cache_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE = Path(__file__).parent / "expectations.toml"
VARIABLE = "RUNTIME_TOOLS"
# Seconds for one program; the longest take about 20 here.
LIMIT = 90.0 * PATIENCE
CAUSES = {
    "suite": "a mistake of the suite, or a check that the specification has overtaken",
    "kernel": "a property of current kernels",
    "host": "a property of this kind of machine",
    "specification": "the suite asks for what the specification forbids",
    "missing": "a feature that this runtime doesn't have yet",
}
_POINT = re.compile(r"(not )?ok\b(?:\s+\d+)?(.*)")
_PLAN = re.compile(r"1\.\.(\d+)\s*(#.*)?$")
_DIRECTIVE = re.compile(r"#\s*(skip|todo)\b", re.IGNORECASE)


class Expectation(NamedTuple):
    """One row of the table: "pass" or "fail" with us and with Debian's runc, and why it does not pass."""

    name: str
    ociruntime: str
    runc: str
    cause: str = ""
    reason: str = ""
    # The program is a race by itself: it may be run again, once.
    race: bool = False
    # "pass" if it passes, with both, when its containers have a user namespace.
    in_user_namespace: str = ""


class Verdict(NamedTuple):
    """What one run came to: no complaints is a pass. `silent`: nothing was counted."""

    complaints: tuple[str, ...]
    passed: int
    skipped: int

    @property
    def word(self) -> str:
        return "fail" if self.complaints else "pass"


def expectations() -> dict[str, Expectation]:
    """The committed table, by the program's name."""
    with open(TABLE, "rb") as file:
        rows = [Expectation(**row) for row in tomllib.load(file)["program"]]
    assert len({row.name for row in rows}) == len(rows), "a program stands twice in the table"
    return {row.name: row for row in rows}


def programs(checkout: Path) -> dict[str, Path]:
    """The built programs of a checkout, by name."""
    return {path.stem: path for path in sorted(checkout.glob("validation/*/*.t"))}


def judge(output: str, code: int) -> Verdict:
    """What TAP says, and the exit status: a failed point, or a plan that was not kept, is a complaint.

    A file may have several documents (each with a plan of its own), and blocks of JSON, which are indented.
    """
    complaints: list[str] = []
    passed = skipped = since_plan = plans = 0
    for line in output.splitlines():
        point = _POINT.match(line)
        plan = _PLAN.match(line)
        if point:
            since_plan += 1
            excused = _DIRECTIVE.search(point[2])
            if excused:
                skipped += 1
            elif point[1]:
                complaints.append(line)
            else:
                passed += 1
        elif plan:
            plans += 1
            if int(plan[1]) != since_plan:
                complaints.append(f"{since_plan} checks, planned were {plan[1]}")
            since_plan = 0
        elif line.startswith("Bail out!"):
            complaints.append(line)
    # seven programs count nothing, and one prints nothing when it is content
    if since_plan or (plans == 0 and (passed or complaints)):
        complaints.append("it broke off")
    if code:
        complaints.append(f"exit status {code}")
    return Verdict(tuple(complaints), passed, skipped)


def run(
    program: Path, checkout: Path, runtime: str, *, in_user_namespace: bool = False
) -> tuple[Verdict, str]:
    """Run one program under the runtime whose command is given; its verdict, and what it wrote.

    Only one at a time on a machine: the programs share names of cgroups.
    """
    with (
        open(cache_directory() / "runtime-tools.lock", "w", encoding="ascii") as lock,
        tempfile.TemporaryDirectory(prefix="ociruntime-test-") as scratch,
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        environment = {**ENVIRONMENT, "TMPDIR": scratch}
        if in_user_namespace:
            environment["RUNTIME_TOOLS_COMMAND"] = runtime
            runtime = str(TABLE.with_name("with-user-namespace"))
        os.chmod(scratch, 0o755)  # it has bundles with a user namespace, whose root is another user
        process = subprocess.Popen(
            [str(TABLE.with_name("run-alone")), runtime, str(program)],
            cwd=checkout, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            out, err = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            err += f"not ended after {LIMIT} s".encode()
    verdict = judge(decode(out), process.returncode)
    return verdict, "\n".join(_tail(verdict, decode(err)))


def _tail(verdict: Verdict, errors: str) -> Iterator[str]:
    yield from verdict.complaints[:20]
    yield from errors.splitlines()[-10:]
