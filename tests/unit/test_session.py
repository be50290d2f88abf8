# SPDX-License-Identifier: Apache-2.0
"""Do the rules of a session hold across workers? Small sessions are run with tests/conftest.py and two of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import leaks, session

_REPOSITORY = Path(__file__).parents[2]
_root = pytest.mark.root
_COMPARED = (
    "from tests.harness.peers import compared\ndef test_one():\n    compared.update({'runc': 5, 'crun': 5})\n"
)
# Two files that meet, so that each is run by a worker of its own.
_MEETS = """
import os, pathlib, time
from tests.harness.driver import MARK
def test_one(tmp_path):
    place = pathlib.Path(os.environ["MEETING"])
    mine = [MARK, os.readlink("/proc/self/ns/mnt"), os.stat(tmp_path).st_dev, str(tmp_path)]
    (place / str(os.getpid())).write_text(" ".join(map(str, mine)))
    end = time.monotonic() + 60
    while len(list(place.iterdir())) < 2:
        assert time.monotonic() < end
        time.sleep(0.02)
"""


def _session(directory: Path, files: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    """Run test files in a session of their own, under the rules of tests/conftest.py, with two workers."""
    for name, text in files.items():
        (directory / name).write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\nmarkers =\n    root: needs root\n    slow: is slow\n")
    (directory / "meeting").mkdir(exist_ok=True)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "RUNTIME"))
    }
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "-n", "2", *options],
        cwd=directory, env={**environment, "PYTHONPATH": str(_REPOSITORY), "MEETING": str(directory / "meeting")},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


@_root
def test_unlisted_skip_of_a_worker_fails_the_session(tmp_path: Path) -> None:
    """A skip that is not in tests/skips.toml is reported with its reason, whether a test or a whole file is skipped."""
    files = {
        "test_a.py": "import pytest\ndef test_one():\n    pytest.skip('because')\n",
        "test_b.py": "import pytest\npytest.skip('all of it', allow_module_level=True)\n",
        "test_c.py": "def test_passes():\n    pass\n",
    }
    ended = _session(tmp_path, files)
    assert ended.returncode == 1, ended.stdout
    assert "skip not in tests/skips.toml: test_a.py::test_one: Skipped: because" in ended.stdout
    assert "skip not in tests/skips.toml: test_b.py: Skipped: all of it" in ended.stdout
    assert "1 passed, 2 skipped" in ended.stdout.splitlines()[-1]


def test_comparisons_of_workers_are_added_up(tmp_path: Path) -> None:
    """What each worker has compared with each peer is in the summary."""
    ended = _session(tmp_path, {"test_a.py": _COMPARED, "test_b.py": _COMPARED})
    assert ended.returncode == 0, ended.stdout
    assert "compared with runc on 10 bundles, crun on 10 bundles" in ended.stdout


@_root
def test_too_few_comparisons_of_all_workers_fail_the_session(tmp_path: Path) -> None:
    """Where the whole suite is run, the workers together must have compared enough."""
    whole = "import tests.conftest\ntests.conftest.is_whole_suite = lambda config: True\n"
    files = {"conftest.py": whole, "test_a.py": _COMPARED, "test_b.py": "def test_two():\n    pass\n"}
    ended = _session(tmp_path, files)
    assert ended.returncode == 1, ended.stdout
    assert "runc compared on 5 bundles, at least 10 are needed" in ended.stdout
    assert _session(tmp_path, {"test_b.py": _COMPARED}).returncode == 0


@_root
def test_each_worker_is_by_itself(tmp_path: Path) -> None:
    """A worker has its own mark, which the leak check looks for, and its own mount namespace; files are in memory."""
    ended = _session(tmp_path, {"test_a.py": _MEETS, "test_b.py": _MEETS})
    assert ended.returncode == 0, ended.stdout
    seen = [path.read_text().split() for path in (tmp_path / "meeting").iterdir()]
    marks, namespaces, devices, places = zip(*seen, strict=True)
    assert len(set(marks)) == 2
    assert not any(one != other and one.startswith(other) for one in marks for other in marks)
    assert len({*namespaces, os.readlink("/proc/self/ns/mnt")}) == 3
    assert len(set(devices)) == 1
    assert os.stat("/tmp").st_dev not in {int(device) for device in devices}
    assert not any(os.path.exists(place) for place in places)


@_root
def test_a_directory_that_is_named_is_kept(tmp_path: Path) -> None:
    """With --basetemp the files of the tests are there, on its file system."""
    kept = tmp_path / "kept"
    files = {"test_a.py": "def test_one(tmp_path):\n    (tmp_path / 'file').write_text('x')\n"}
    assert _session(tmp_path, files, f"--basetemp={kept}", "-n", "0").returncode == 0
    assert [path.name for path in kept.rglob("file")] == ["file"]


class _Item:
    """What is asked of a test."""

    def __init__(self, nodeid: str, slow: bool = False) -> None:
        self.nodeid = nodeid
        self.slow = slow

    def get_closest_marker(self, _name: str) -> bool:
        return self.slow


def test_what_takes_long_comes_first() -> None:
    """Engines, then files with a slow test, then those with many; the tests of a file stay in their order."""
    names = [
        "tests/a/test_small.py::test_a", "tests/a/test_large.py::test_z", "tests/a/test_large.py::test_b",
        "tests/a/test_slow.py::test_y", "tests/a/test_slow.py::test_slow", "tests/engines/test_b.py::test_a",
        "tests/engines/test_a.py::test_a",
    ]  # fmt: skip
    items = [_Item(name, name.endswith("test_slow")) for name in names]
    session.longest_first(items)  # type: ignore[arg-type]
    assert [item.nodeid for item in items] == [*names[5:], *names[3:5], *names[1:3], names[0]]
    assert {session.scope_of(name) for name in names[5:]} == {"tests/engines/"}


def test_alone_is_without_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that looks at everything on the machine runs its tests itself, and so does one on a single CPU."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(64))
    assert session.number_of_workers() == session.MOST_WORKERS
    monkeypatch.setattr(leaks, "ALONE", True)
    assert session.number_of_workers() == 0
    monkeypatch.setattr(leaks, "ALONE", False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: range(1))
    assert session.number_of_workers() == 0
