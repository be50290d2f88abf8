# SPDX-License-Identifier: Apache-2.0
"""Does a skip that is not permitted fail the session? A small session is run with tests/conftest.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import skips

_REPOSITORY = Path(__file__).parents[2]


def _session(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    """Run one test file in a session of its own, under the rules of tests/conftest.py."""
    (directory / "test_small.py").write_text(text)
    (directory / "pytest.ini").write_text("[pytest]\nmarkers = root: needs root\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", "test_small.py"],
        cwd=directory, env={**os.environ, "PYTHONPATH": str(_REPOSITORY)},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "import pytest\ndef test_one():\n    pytest.skip('because')\n",
        "import pytest\n@pytest.mark.skip(reason='because')\ndef test_one():\n    pass\n",
        "import pytest\npytest.skip('because', allow_module_level=True)\n",
    ],
)
def test_unlisted_skip_fails_the_session(tmp_path: Path, text: str) -> None:
    """A skip that is not in tests/skips.toml is reported, with its reason, and the session fails."""
    if os.geteuid() != 0 or not os.access("/dev/kvm", os.W_OK):
        text += "\n"  # entries for such hosts name tests/..., which this file is not below
    ended = _session(tmp_path, text + "def test_passes():\n    pass\n")
    if skips.permitted("test_small.py::test_one", skips.load()):
        assert "permitted skips" in ended.stdout  # as on every host without root
    else:
        assert ended.returncode != 0
        assert "skip not in tests/skips.toml" in ended.stdout
        assert "because" in ended.stdout


def test_session_without_skips_passes(tmp_path: Path) -> None:
    """The rules let a session without skips pass."""
    ended = _session(tmp_path, "def test_one():\n    pass\n")
    assert ended.returncode == 0, ended.stdout


def test_list_is_read() -> None:
    """The committed list names kinds of hosts that can be told, and gives reasons."""
    entries = skips.load()
    assert entries
    assert all(len(entry.reason) > 10 for entry in entries)


def test_unknown_kind_of_host(tmp_path: Path) -> None:
    """A kind of host that can't be detected is an error, not a skip for all."""
    path = tmp_path / "skips.toml"
    path.write_text('[[skip]]\ntest = "*"\nhost = "monday"\nreason = "none"\n')
    with pytest.raises(ValueError, match="monday"):
        skips.load(path)


def test_entry_holds_only_for_its_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry permits its tests on its kind of host, and nowhere else."""
    entries = [skips.Entry("tests/a/*", "not root", "a reason")]
    monkeypatch.setitem(skips.HOST_KINDS, "not root", lambda: True)
    assert skips.permitted("tests/a/test_x.py::test_y", entries)
    assert not skips.permitted("tests/b/test_x.py::test_y", entries)
    monkeypatch.setitem(skips.HOST_KINDS, "not root", lambda: False)
    assert not skips.permitted("tests/a/test_x.py::test_y", entries)
