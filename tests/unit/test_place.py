# SPDX-License-Identifier: Apache-2.0
"""Does a snapshot find its launcher and its Python beside it, and refuse what somebody else may have put there?"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from ociruntime.cli.snapshot import place

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 65534
as_root = pytest.mark.root


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment whose command is being executed."""
    (tmp_path / "bin").mkdir(mode=0o755)
    for name in ("ociruntime", place.LAUNCHER, "python3"):
        (tmp_path / "bin" / name).touch(0o755)
    (tmp_path / "lib/python3.11/site-packages").mkdir(parents=True)
    (tmp_path / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    monkeypatch.setattr(os, "readlink", lambda _: str(tmp_path / "bin/ociruntime"))
    return tmp_path


def test_beside(prefix: Path) -> None:
    """Whatever the caller has called it."""
    assert place.launcher("/nonexistent/name") == f"{prefix}/bin/{place.LAUNCHER}"
    python, places = place.interpreter("", "3.11")
    assert (python, places) == (f"{prefix}/bin/python3", [f"{prefix}/lib/python3.11/site-packages"])


def test_the_system_s_python(prefix: Path) -> None:
    """Where the directory has none; and a prefix that is no virtual environment sees the system's packages."""
    (prefix / "bin/python3").unlink()
    (prefix / "pyvenv.cfg").unlink()
    system = [path for path in ("/usr/lib/python3/dist-packages",) if os.path.isdir(path)]
    python, places = place.interpreter("", "3.11")
    assert python == "/usr/bin/python3"
    assert set(system) < set(places)


def test_without_proc(prefix: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the caller has called, links followed; a bare name is looked for in PATH."""

    def fails(_: str) -> str:
        raise FileNotFoundError

    (tmp_path / "link").symlink_to("bin/ociruntime")
    monkeypatch.setenv("PATH", f"/nonexistent:{prefix}/bin")
    real = os.readlink
    monkeypatch.setattr(
        os, "readlink", lambda path, **more: fails(path) if path == "/proc/self/exe" else real(path, **more)
    )
    for called in (f"{prefix}/bin/ociruntime", f"{tmp_path}/link", "ociruntime"):
        assert place.launcher(called) == f"{prefix}/bin/{place.LAUNCHER}"
    with pytest.raises(place.NoPlaceError, match="/proc is not mounted"):
        place.launcher("another-name")


def test_missing(prefix: Path) -> None:
    """The error names the file."""
    (prefix / "bin" / place.LAUNCHER).unlink()
    with pytest.raises(place.NoPlaceError, match=f"{place.LAUNCHER}: no such file"):
        place.launcher("")
    (prefix / "bin/ociruntime").unlink()
    with pytest.raises(place.NoPlaceError, match="bin/ociruntime: no such file"):
        place.launcher("")


def test_a_link_is_not_followed(prefix: Path) -> None:
    """Nor a directory executed."""
    path = prefix / "bin" / place.LAUNCHER
    path.unlink()
    path.symlink_to("/bin/true")
    with pytest.raises(place.NoPlaceError, match="is not a regular file"):
        place.launcher("")


def test_everybody_may_write(prefix: Path) -> None:
    """To the directory, even with the sticky bit, or to the file."""
    for name, mode in (("bin", 0o777), ("bin", 0o1777), (f"bin/{place.LAUNCHER}", 0o757)):
        before = (prefix / name).stat().st_mode
        (prefix / name).chmod(mode)
        with pytest.raises(place.NoPlaceError, match="everybody may write to"):
            place.launcher("")
        (prefix / name).chmod(before)
    place.launcher("")


@as_root
def test_another_user_s(prefix: Path) -> None:
    """A hard link to root's snapshot in a directory of another user; and a file of that user in root's directory."""
    for name in ("bin", f"bin/{place.LAUNCHER}"):
        os.chown(prefix / name, NOBODY, NOBODY)
        with pytest.raises(place.NoPlaceError, match=f"belongs to user {NOBODY}"):
            place.launcher("")
        os.chown(prefix / name, 0, 0)
    os.chown(prefix / "lib/python3.11/site-packages", NOBODY, NOBODY)
    with pytest.raises(place.NoPlaceError, match=f"site-packages belongs to user {NOBODY}"):
        place.interpreter("", "3.11")


@as_root
def test_the_owner_of_the_snapshot(prefix: Path) -> None:
    """Who owns its file could have put anything there: root runs a user's installation as it runs the user's file."""
    for name in ("bin", "bin/ociruntime", f"bin/{place.LAUNCHER}"):
        os.chown(prefix / name, NOBODY, NOBODY)
    assert place.launcher("") == f"{prefix}/bin/{place.LAUNCHER}"
    shutil.rmtree(prefix / "lib")
    assert place.interpreter("", "3.11")[0] == f"{prefix}/bin/python3"
