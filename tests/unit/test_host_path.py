# SPDX-License-Identifier: Apache-2.0
"""Does a path of the host stay what the kernel finds under it?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ociruntime import bundle
from ociruntime.errors import UsageError
from ociruntime.host_path import absolute, joined
from ociruntime.verbs import config_of

PACKAGE = Path(__file__).parents[2] / "ociruntime"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/a/b", "/a/b"),
        ("/a/../b", "/a/../b"),
        ("/..", "/.."),
        ("//a/./b//", "/a/b"),
        ("/", "/"),
        ("x", "CWD/x"),
        ("../x", "CWD/../x"),
        ("./link/../x/", "CWD/link/../x"),
        ("", "CWD"),
        (".", "CWD"),
        ("a\udcff", "CWD/a\udcff"),
    ],
)
def test_dots_that_lead_up_stay(
    path: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what changes nothing is left out; `..` may lie behind a symbolic link."""
    monkeypatch.chdir(tmp_path)
    assert absolute(path) == expected.replace("CWD", str(tmp_path))
    assert joined(str(tmp_path), path) == expected.replace("CWD", str(tmp_path))


def test_a_current_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path in it is refused with the path; an absolute one needs none."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(UsageError, match=r"b: the current directory can't be found: ENOENT .*absolute path"):
        absolute("b")
    assert absolute("/b") == "/b"


def test_a_bundle_behind_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`link/../b` is the bundle beside the directory that the link leads to, for create, validate and plan."""
    for place, version in (("b", "1.0.0"), ("real/b", "1.2.0")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").write_text(
            f'{{"ociVersion": "{version}", "root": {{"path": "../r"}}}}'
        )
    (tmp_path / "real/deep").mkdir()
    (tmp_path / "link").symlink_to("real/deep")
    monkeypatch.chdir(tmp_path)
    for path in ("link/../b", f"{tmp_path}/link/../b", "./link/../b/"):
        found = bundle.load(path)
        assert found.config.at("ociVersion").text() == "1.2.0"
        assert found.directory == f"{tmp_path}/link/../b"
        assert found.rootfs == f"{tmp_path}/link/../b/../r"
    for words in (["link/../b"], ["link/../b/config.json"]):
        assert bundle.load(*config_of(words)).config.at("ociVersion").text() == "1.2.0"


def test_nothing_else_makes_paths_of_the_host_clean() -> None:
    """os.path.normpath and abspath take `..` for text; the rest are paths in the container, and our own program's."""
    used = {
        f"{file.relative_to(PACKAGE)}:{name}"
        for file in PACKAGE.rglob("*.py")
        for name in ("normpath", "abspath")
        if f"path.{name}(" in file.read_text()
    }
    assert used <= {
        "linux/mounts.py:normpath",
        "linux/bind_sources.py:normpath",  # which entry covers which source: compared, and never opened
        "linux/devices.py:normpath",
        "linux/cgroups/delegation.py:normpath",
        "native/_build.py:normpath",
        "check/schema_compiler.py:abspath",
    }
    assert os.path.normpath("/a/../b") == "/b"
