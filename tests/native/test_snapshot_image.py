# SPDX-License-Identifier: Apache-2.0
"""What is in the file of a snapshot, and what must not be?"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ociruntime.cli.snapshot.build import build
from tests.native.snapshots import call

if TYPE_CHECKING:
    from collections.abc import Mapping

MARKER = "marker-of-the-build-37be"


def built(sources: Path, target: Path, *prefix: str, env: Mapping[str, str] | None = None) -> bytes:
    """The file, built by a new interpreter; the order of its objects is kept for all builds of a test session."""
    words = [
        *prefix,
        sys.executable,
        "-m",
        "ociruntime.cli.snapshot",
        "--seed",
        "7",
        "--order",
        str(target.parent.parent / "order"),
        str(target),
    ]
    variables = {
        **(os.environ if env is None else env),
        "PYTHONPATH": str(sources),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    subprocess.run(words, env=variables, cwd=target.parent, check=True, timeout=100)
    return target.read_bytes()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy: files that come and go beside the modules, of tests that run meanwhile, would move things in memory."""
    directory = tmp_path_factory.mktemp("sources")
    package = Path(__file__).parents[2] / "ociruntime"
    shutil.copytree(package, directory / "ociruntime", ignore=shutil.ignore_patterns("__pycache__"))
    for place in (directory, directory / "ociruntime", directory / "ociruntime/cli"):
        (place / f"{MARKER}-file").touch()  # these directories are listed, and what is freed must not be left
    return directory


def differing(one: bytes, other: bytes) -> int:
    """How many bytes; at least one if the lengths differ."""
    return sum(a != b for a, b in zip(one, other, strict=False)) + (len(one) != len(other))


@pytest.fixture(scope="module")
def marked(snapshot: str, sources: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A build whose environment and directories have names that can be looked for."""
    assert snapshot
    directory = tmp_path_factory.mktemp(f"{MARKER}-directory")
    variables = {
        "PATH": os.environ["PATH"], "HOME": f"/{MARKER}-home", "USER": f"{MARKER}-user", "TMPDIR": str(directory),
        "SECRET": f"{MARKER}-value", "XDG_RUNTIME_DIR": f"/{MARKER}-run", "LANG": f"{MARKER}-lang",
    }  # fmt: skip
    rename = ("unshare", "--uts", "sh", "-c", f'hostname {MARKER}-host && exec "$@"', "sh")
    return built(sources, directory / "ociruntime", *(() if os.geteuid() else rename), env=variables)


def permitted(*prefix: str) -> tuple[str, ...]:
    """The prefix of a command, or nothing where it can't be used: personality(2) is forbidden in many a container."""
    return (
        prefix if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0 else ()
    )


def test_builds_with_a_seed_are_equal(marked: bytes, sources: Path, tmp_path: Path) -> None:
    """Whatever the directory of temporary files, the environment, the length of both, the addresses and the pids."""
    longer = tmp_path / ("directory" * 10)
    longer.mkdir()
    again = built(sources, tmp_path / "again", env={**os.environ, "TMPDIR": str(longer), "MORE": "x" * 3000})
    fixed = built(sources, tmp_path / "fixed", *permitted("setarch", "-R"))
    small = built(sources, tmp_path / "small", *permitted("unshare", "--pid", "--fork", "--mount-proc"))
    assert [differing(marked, other) for other in (again, fixed, small)] == [0, 0, 0]


def test_a_seed_is_drawn_for_each_build(snapshot: str, tmp_path: Path, marked: bytes) -> None:
    """So that nobody can prepare keys that collide."""
    build(str(tmp_path / "drawn"))
    build(str(tmp_path / "eight"), seed=8)
    files = [
        (tmp_path / "drawn").read_bytes(),
        Path(snapshot).read_bytes(),
        (tmp_path / "eight").read_bytes(),
        marked,
    ]
    assert len(set(files)) == 4
    assert call(str(tmp_path / "eight"), "--version") == call(snapshot, "--version")


def test_nothing_of_the_build_is_in_it(marked: bytes) -> None:
    """Its environment, its directories, the name of the machine (if root built it: it could be changed), the kernel."""
    assert MARKER.encode() not in marked
    assert tempfile.gettempdir().encode() + b"/tmp" not in marked
    assert platform.release().encode() not in marked


def segments(path: str) -> list[tuple[str, int, int, str]]:
    """(type, address, size in memory, flags) of each program header."""
    done = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True, check=True)
    lines = re.findall(
        r"^ +([A-Z_]+) +0x\w+ (0x\w+) 0x\w+ 0x\w+ (0x\w+) ([R ][W ][E ]) 0x", done.stdout, re.MULTILINE
    )
    return [(kind, int(address, 16), int(size, 16), flags) for kind, address, size, flags in lines]


def test_no_segment_is_writable_and_executable(snapshot: str) -> None:
    """And the stack isn't executable."""
    flags = [flags for kind, _, _, flags in segments(snapshot) if kind in {"LOAD", "GNU_STACK"}]
    assert len(flags) > 5
    assert [flag for flag in flags if "W" in flag and "E" in flag] == []
