# SPDX-License-Identifier: Apache-2.0
"""Does launcher/ociruntime find its package, and hand over arguments and environment as they came?

The package is a stand-in that prints what it was given; tests/unit/test_package.py installs the real one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

LAUNCHER = Path(__file__).parents[2] / "launcher" / "ociruntime"
LIBRARY = f"lib/python{sys.version_info.major}.{sys.version_info.minor}"
STAND_IN = """
import json, os, sys
def main(argv):
    print(json.dumps([argv, dict(os.environ), __file__, "site" in sys.modules]))
    return 0 if argv == ["ok"] else 42
"""


def place(package: Path) -> None:
    """Make the stand-in package in this directory."""
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(STAND_IN)


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A directory like a virtual environment, without a package."""
    (tmp_path / "bin").mkdir()
    (tmp_path / LIBRARY / "site-packages").mkdir(parents=True)
    (tmp_path / "pyvenv.cfg").write_text("include-system-site-packages = false\n")
    (tmp_path / "bin/python3").symlink_to(Path(sysconfig.get_config_var("BINDIR"), "python3"))
    shutil.copy(LAUNCHER, tmp_path / "bin/ociruntime")
    return tmp_path


@pytest.fixture
def installed(prefix: Path) -> Path:
    """The same with the package, as `pip install .` puts it."""
    place(prefix / LIBRARY / "site-packages/ociruntime")
    return prefix


def launch(*command: str | bytes | Path, env: dict[str, str] | None = None) -> list[object]:
    """What the stand-in saw."""
    done = subprocess.run(command, env=env or {}, capture_output=True, check=False)
    assert (done.stderr, done.returncode) == (b"", 42)
    seen: list[object] = json.loads(done.stdout)
    return seen


def test_arguments_pass_through(installed: Path) -> None:
    """Empty, spaced and non-UTF-8 arguments reach main() as they were."""
    argv = launch(installed / "bin/ociruntime", "run", "", "a b", b"\xff", "-h", "$(id)")[0]
    assert argv == ["run", "", "a b", "\udcff", "-h", "$(id)"]


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"A": "b"},
        {"LC_CTYPE": "C"},
        {"LC_CTYPE": ""},
        {"LC_CTYPE": "en_US.UTF-8"},
        {"LC_ALL": "C"},
        {"LANG": "C"},
    ],
)
def test_environment_is_unchanged(installed: Path, environment: dict[str, str]) -> None:
    """CPython's LC_CTYPE and the shell's PWD are not added, so that a hook can't inherit them."""
    assert launch(installed / "bin/ociruntime", env=environment)[1] == environment


def test_python_variables_are_ignored(installed: Path, tmp_path: Path) -> None:
    """PYTHONPATH and PYTHONSTARTUP of the caller can't put code into the runtime."""
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/os.py").write_text("raise SystemExit('evil')")
    launch(installed / "bin/ociruntime", env={"PYTHONPATH": str(tmp_path / "evil"), "PYTHONHOME": "/nowhere"})


def test_site_is_not_imported(installed: Path) -> None:
    """An ordinary install pays nothing for .pth files."""
    assert launch(installed / "bin/ociruntime")[3] is False


def test_editable_install_by_path(prefix: Path, tmp_path: Path) -> None:
    """`pip install -e` of this project is one .pth file with a path, and needs no site either."""
    place(tmp_path / "tree/ociruntime")
    (prefix / LIBRARY / "site-packages/__editable__.ociruntime-0.1.0.pth").write_text(f"{tmp_path}/tree\n")
    seen = launch(prefix / "bin/ociruntime")
    assert seen[2:] == [f"{tmp_path}/tree/ociruntime/cli.py", False]


def test_other_editable_install(prefix: Path, tmp_path: Path) -> None:
    """A .pth file that the launcher can't read itself is left to site."""
    place(tmp_path / "tree/ociruntime")
    (prefix / LIBRARY / "site-packages/other.pth").write_text(
        f"import sys; sys.path.append({f'{tmp_path}/tree'!r})\n"
    )
    seen = launch(prefix / "bin/ociruntime")
    assert seen[2:] == [f"{tmp_path}/tree/ociruntime/cli.py", True]


def test_symlink(installed: Path, tmp_path: Path) -> None:
    """A link from anywhere finds the installation that it points to, through links of links."""
    (tmp_path / "one").symlink_to("bin/ociruntime")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    environment = {"PATH": os.environ["PATH"]}
    assert launch(tmp_path / "two", "x", env=environment)[:2] == [["x"], environment]


@pytest.mark.parametrize("shell", ["sh", "bash", "busybox"])
def test_any_shell(installed: Path, shell: str) -> None:
    """/bin/sh may be dash, bash or busybox."""
    command = [shell, "sh"] if shell == "busybox" else [shell]
    done = subprocess.run(
        [*command, "ociruntime", "x"], cwd=installed / "bin", capture_output=True, check=False
    )
    assert (done.returncode, json.loads(done.stdout)[0]) == (42, ["x"])


def test_missing_package(prefix: Path) -> None:
    """Without the package there is one line that says where it was looked for, and no traceback."""
    done = subprocess.run([prefix / "bin/ociruntime"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("ociruntime: python module ociruntime not found in ")
    assert done.stderr.count("\n") == 1


def test_full_device(installed: Path) -> None:
    """Output that can't be written is an error, not a success."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [installed / "bin/ociruntime", "ok"], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert (done.returncode, done.stderr) == (1, b"ociruntime: standard output: no space left on device\n")


def test_reader_that_went_away(installed: Path) -> None:
    """`ociruntime plan | head -1` ends without a word about it."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [installed / "bin/ociruntime", "ok"], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
