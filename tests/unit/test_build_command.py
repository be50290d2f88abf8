# SPDX-License-Identifier: Apache-2.0
"""When is the ordinary launcher installed in place of a snapshot, and does the build say why?

tests/native/test_wheel.py installs a wheel with a snapshot.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.harness import skips
from tests.unit.test_package import TREE, build, copy_sources

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources, in which what a build has made once is kept."""
    return copy_sources(tmp_path_factory.mktemp("tree"))


def scripts(tree: Path, form: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Build the scripts only."""
    program = "from setuptools import setup; setup(script_args=['-q', 'build_scripts'])"
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=tree,
        env={**os.environ, "OCIRUNTIME_COMMAND": form, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


SHIM = "containerd-shim-ociruntime-v1"  # a launcher like the command


def built(tree: Path) -> dict[str, bytes]:
    """The scripts' names and first bytes."""
    (directory,) = (tree / "build").glob("scripts-*")
    return {path.name: path.read_bytes()[:4] for path in directory.iterdir()}


def without(patch: str, directory: Path) -> str:
    """A PYTHONPATH with which sysconfig says something else."""
    (directory / "sitecustomize.py").write_text(
        f"import sys, sysconfig\nreal = sysconfig.get_config_var\n{patch}\n"
    )
    return str(directory)


NO_ARCHIVE = "sysconfig.get_config_var = lambda name: '/nowhere' if name == 'LIBPL' else real(name)"


def test_an_unknown_form(tree: Path) -> None:
    """The error has the words that may be said."""
    done = scripts(tree, "nonsense")
    assert done.returncode == 1
    assert "OCIRUNTIME_COMMAND is 'nonsense', and must be one of auto, snapshot, launcher" in done.stderr


def test_no_static_library(tree: Path, tmp_path: Path) -> None:
    """The launcher is installed, and the build says why; what a former build has left is removed."""
    assert scripts(tree, "launcher").returncode == 0
    (directory,) = (tree / "build").glob("scripts-*")
    (directory / "ociruntime-launcher").write_text("of a former build")
    path = without(NO_ARCHIVE, tmp_path)
    done = scripts(tree, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("ociruntime: ")]
    assert len(said) == 1
    assert said[0].startswith("ociruntime: the command is installed as a launcher of Python (")
    if not skips.HOST_KINDS["no static libpython"]():
        assert f"/nowhere/libpython3.{sys.version_info.minor}.a missing" in said[0]
    assert built(tree) == {"ociruntime": b"#!/b", SHIM: b"#!/b"}
    done = scripts(tree, "snapshot", PYTHONPATH=path)
    assert done.returncode == 1
    assert "error: OCIRUNTIME_COMMAND=snapshot, but there is no snapshot: " in done.stderr


def test_the_self_test_fails(tree: Path) -> None:
    """A snapshot that does not work is not installed."""
    boot = tree / "ociruntime/cli/snapshot/boot.py"
    before = boot.read_text()
    broken = before.replace("    status = cli.main(words[1:])\n", "    status = 77\n")
    assert broken != before
    boot.write_text(broken)
    try:
        done = scripts(tree)
        assert done.returncode == 0, done.stderr
        assert "the command is installed as a launcher of Python (" in done.stdout
        if not skips.HOST_KINDS["no static libpython"]():
            assert "(--version ended with 77" in done.stdout
        assert built(tree) == {"ociruntime": b"#!/b", SHIM: b"#!/b"}
    finally:
        boot.write_text(before)


def test_aarch64_must_be_asked_for(tree: Path, tmp_path: Path) -> None:
    """No container has been made there by a snapshot, so a user does not get one by surprise."""
    path = without("import platform\nplatform.machine = lambda: 'aarch64'", tmp_path)
    done = scripts(tree, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "tried under emulation only; OCIRUNTIME_COMMAND=snapshot asks for one)" in done.stdout
    assert built(tree) == {"ociruntime": b"#!/b", SHIM: b"#!/b"}


def test_an_editable_install(tree: Path, tmp_path: Path) -> None:
    """It would not see what is edited."""
    environment = {**os.environ, "OCIRUNTIME_COMMAND": "auto"}
    done = build("editable", tree, tmp_path, environment)
    assert done.returncode == 0, done.stderr
    assert "as a launcher of Python (in an editable install it would not see what is edited)\n" in done.stdout
    done = build("editable", tree, tmp_path, {**environment, "OCIRUNTIME_COMMAND": "snapshot"})
    assert done.returncode == 1
    assert "there is no snapshot: in an editable install" in done.stderr


def test_the_sdist_has_the_sources() -> None:
    """Of everything beside Python that a snapshot is built from."""
    rule = (TREE / "MANIFEST.in").read_text()
    others = {
        path.suffix for path in (TREE / "ociruntime/cli/snapshot").iterdir() if path.suffix not in {".py", ""}
    }
    assert others
    for suffix in others:
        assert (
            f"*{suffix}" in rule.partition("recursive-include ociruntime/cli/snapshot")[2].partition("\n")[0]
        )
