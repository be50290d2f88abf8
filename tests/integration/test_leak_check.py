# SPDX-License-Identifier: Apache-2.0
"""Does the leak check see what it is there to see? Each kind of remains is made, found and cleaned up."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

from tests.harness import leaks
from tests.harness.driver import ENVIRONMENT, MARK, PATIENCE


def _kinds(lines: list[str]) -> set[str]:
    return {line.split()[0] for line in lines}


def test_process_is_found(tmp_path: Path) -> None:
    """A process that has left this session is found by its mark, and ended."""
    before = leaks.take(tmp_path)
    # The shell ends at once, so that the sleeper belongs to init and only its environment tells whose it is.
    subprocess.run(["sh", "-c", "setsid sleep 100 > /dev/null 2>&1 &"], env=ENVIRONMENT, cwd="/", check=True)
    end = time.monotonic() + 10 * PATIENCE
    while not (seen := leaks.left_behind(before, tmp_path, 0))[
        0
    ]:  # it has no environment while it is executed
        assert time.monotonic() < end
    lines, now = seen
    assert _kinds(lines) == {"process"}
    assert "sleep 100" in lines[0]
    leaks.clean(before, now)
    assert leaks.left_behind(before, tmp_path)[0] == []


def test_mount_is_found(tmp_path: Path) -> None:
    """A mount below the test's directory is found and taken away."""
    before = leaks.take(tmp_path)
    subprocess.run(["mount", "-t", "tmpfs", "left", str(tmp_path)], check=True)
    lines, now = leaks.left_behind(before, tmp_path, 0)
    assert lines == [f"mount {tmp_path}"]
    leaks.clean(before, now)
    assert not os.path.ismount(tmp_path)


def test_cgroup_is_found(tmp_path: Path) -> None:
    """A cgroup with this session's mark is found wherever it is, and removed."""
    before = leaks.take(tmp_path)
    root = Path(leaks.CGROUP_ROOT)
    made = next(one for one in (root / "pids", root) if one.is_dir()) / f"{MARK}-left" / "below"
    made.mkdir(parents=True)
    lines, now = leaks.left_behind(before, tmp_path, 0)
    assert lines == [f"cgroup {made.parent}", f"cgroup {made}"]
    leaks.clean(before, now)
    assert not made.parent.exists()


def test_state_directory_is_found(tmp_path: Path) -> None:
    """A container's state directory is found and removed."""
    before = leaks.take(tmp_path)
    left = tmp_path / "stage" / "state" / "some-id"
    left.mkdir(parents=True)
    lines, now = leaks.left_behind(before, tmp_path, 0)
    assert lines == [f"state {left}"]
    leaks.clean(before, now)
    assert not left.exists()


def test_network_namespace_is_found(tmp_path: Path) -> None:
    """A network namespace that is bound to a file is found, and unbound."""
    before = leaks.take(tmp_path)
    name = tmp_path / "net"
    name.touch()
    subprocess.run(["unshare", f"--net={name}", "true"], check=True)
    lines, now = leaks.left_behind(before, tmp_path, 0)
    assert _kinds(lines) == {"mount", "namespace"}
    leaks.clean(before, now)
    assert leaks.left_behind(before, tmp_path, 0)[0] == []


def test_what_others_do_is_not_ours(tmp_path: Path) -> None:
    """A process of another session, without our mark, is not taken for ours."""
    before = leaks.take(tmp_path)
    child = subprocess.run(
        ["sh", "-c", "setsid sleep 1 > /dev/null 2>&1 & echo $!"],
        env={"PATH": ENVIRONMENT["PATH"]}, cwd="/", check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert child.stdout.strip().isdigit()
    assert leaks.left_behind(before, tmp_path, 0)[0] == []
