# SPDX-License-Identifier: Apache-2.0
"""Do the programs of docs/examples do what they say, also with hostile submissions and requests, and leave nothing behind?"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.rootfs import busybox_template

pytestmark = pytest.mark.skipif(
    runtime_under_test() in ("runc", "crun"), reason="the library is this runtime's own"
)

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
SUBMISSIONS = {
    "good": ("read a b; echo $((a+b))", "accepted"),
    "wrong": ("echo 4", "wrong answer"),
    "sleeps": ("sleep 1000", "time limit exceeded"),
    "forks": ("f() { f | f & }; f; sleep 1000", "time limit exceeded"),
    "allocates": ("x=$(dd if=/dev/zero bs=200M count=1 2>/dev/null | tr '\\0' a)", "memory limit exceeded"),
    "floods": ("yes", "output limit exceeded"),
    "exits-137": ("exit 137", "runtime error (signal 0, exit code 137)"),
    # init of a pid namespace can't be killed from inside: one that faults is what there is
    "ends-by-a-signal": ("exec /bin/fault", "runtime error (signal 11, exit code None)"),
    "network": (
        "nc -w 1 127.0.0.1 9 </dev/null 2>/dev/null && echo 3",
        "runtime error (signal 0, exit code 1)",
    ),
    "daemon": ("(setsid sleep 1000 &); read a b; echo $((a+b))", "accepted"),
}
# How often each is judged. With JUDGE_TIMES=100 this takes some ten minutes.
TIMES = int(os.environ.get("JUDGE_TIMES", "2"))


@pytest.fixture(scope="module")
def judged_rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """busybox, and a program that ends by SIGSEGV."""
    place = tmp_path_factory.mktemp("judge") / "rootfs"
    shutil.copytree(busybox_template(), place, symlinks=True)
    place.parent.chmod(0o755)
    source = place.parent / "fault.c"
    source.write_text("int main(void) { *(volatile int *)0 = 1; }\n")
    subprocess.run(["gcc", "-static", "-o", place / "bin/fault", source], check=True)
    return place


@pytest.mark.parametrize("first", range(0, TIMES, 2))
def test_the_judge(first: int, tmp_path: Path, judged_rootfs: Path) -> None:
    """docs/examples/judge.py gives the right verdicts, on 20 at once, and leaves nothing after each."""
    place = tmp_path / "submissions"
    place.mkdir()
    code = (EXAMPLES / "judge.py").read_text().replace("/run/judge", str(tmp_path / "judged"))
    (tmp_path / "judge.py").write_text(code)
    wanted = []
    for name, (script, verdict) in sorted(SUBMISSIONS.items()):
        for number in (first, first + 1):
            program = place / f"{name}-{number}"
            program.write_text(f"#!/bin/sh\n{script}\n")
            program.chmod(0o755)
            wanted.append(f"{program.name}: {verdict}")
    programs = [place / line.partition(":")[0] for line in wanted]
    command = [sys.executable, tmp_path / "judge.py", judged_rootfs, "1 2", "3", *programs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said, _ = process.communicate(timeout=60 * PATIENCE)
    assert said.splitlines() == wanted
    assert [name for name in os.listdir(tmp_path / "judged") if not name.startswith("@")] == []
    assert _left(f"judge-{process.pid}-") == []


def _left(prefix: str) -> list[str]:
    """Cgroups and mounts of containers whose id begins so."""
    found = [
        path for path, names, _ in os.walk("/sys/fs/cgroup") for name in names if name.startswith(prefix)
    ]
    return [*found, *(line for line in Path("/proc/mounts").read_text().splitlines() if f"/{prefix}" in line)]


def test_the_sandbox(tmp_path: Path) -> None:
    """docs/examples/sandbox.py: each line is answered, in order, 20 at a time; files of /tmp stay, processes don't."""
    lines = {
        "echo hi >a; cat a": "exit 0: hi",
        "exit 3": "exit 3:",
        "sleep 1000 & echo $(id -u)": "exit 0: 65534",
        "kill -9 $$": "exit 137:",
        "exit 137": "exit 137:",
        **{f"sleep 2; echo {number}": f"exit 0: {number}" for number in range(15)},
        "sleep 3; cat a; ps | grep -c '[s]leep 1000$'": "exit 1: hi\n0",
    }
    began = time.monotonic()
    done = _sandbox(tmp_path, "\n".join(lines))
    assert done.splitlines() == "\n".join(lines.values()).splitlines()
    if PATIENCE == 1:
        assert time.monotonic() - began < 20  # one after the other they sleep 33 s


def _sandbox(place: Path, lines: str) -> str:
    code = (EXAMPLES / "sandbox.py").read_text().replace("/run/sandbox", str(place / "sandbox"))
    (place / "sandbox.py").write_text(code)
    done = subprocess.run(
        [sys.executable, place / "sandbox.py", busybox_template()],
        input=lines, stdout=subprocess.PIPE, text=True, check=True, timeout=60 * PATIENCE,
    )  # fmt: skip
    return "\n".join(line.rstrip() for line in done.stdout.splitlines())


def test_the_test(tmp_path: Path) -> None:
    """docs/examples/test_in_rootfs.py passes."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", tmp_path, "-p", "no:cacheprovider",
         "--basetemp", tmp_path / "base", EXAMPLES / "test_in_rootfs.py"],
        env={**os.environ, "ROOTFS": str(busybox_template())},
        stdout=subprocess.PIPE, text=True, check=False, timeout=60 * PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_an_example_is_short_and_typed(name: str, tmp_path: Path) -> None:
    """Under 40 lines, and clean under mypy --strict."""
    assert len((EXAMPLES / name).read_text().splitlines()) < 40
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", tmp_path, EXAMPLES / name],
        cwd=EXAMPLES.parents[1], stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
