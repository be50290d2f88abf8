# SPDX-License-Identifier: Apache-2.0
"""Does a wheel with a snapshot install as a user would, work wherever it is put, and leave nothing when it is removed?

Nothing is fetched: the wheel is built without isolation, and what the package needs is linked into the new environment.
tests/install_everywhere.sh does the same with isolation, and on other systems.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from ociruntime.cli.snapshot.build import find_seccomp
from tests.harness.bundle import make_bundle
from tests.harness.driver import MARK
from tests.native.snapshots import call
from tests.shim.shim import Shim, end, refused
from tests.unit import test_sbom
from tests.unit.test_package import SHARED, build, copy_sources

SHIM = "containerd-shim-ociruntime-v1"


@pytest.fixture(scope="module")
def wheel(snapshot: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the backend, as pip does it; an error if it has no snapshot."""
    assert snapshot  # it can be built here
    out = tmp_path_factory.mktemp("wheel")
    environment = {**os.environ, "OCIRUNTIME_COMMAND": "snapshot"}
    done = build("wheel", copy_sources(tmp_path_factory.mktemp("tree")), out, environment)
    assert done.returncode == 0, done.stderr
    library = r"libseccomp 2\.\d\S+" if find_seccomp() else "no libseccomp"
    assert re.search(
        rf"the command is installed as a snapshot of Python 3\S+, with {library} in it\n", done.stdout
    )
    (path,) = out.glob("*.whl")
    return path


def listing(directory: Path) -> set[str]:
    """What is below a directory, without what Python compiles."""
    return {
        str(path.relative_to(directory)) for path in directory.rglob("*") if "__pycache__" not in path.parts
    }


def pip(prefix: Path, *words: str) -> None:
    """Call pip for the environment, without an index."""
    options = ("--quiet", "--disable-pip-version-check")
    command = [sys.executable, "-m", "pip", "--python", f"{prefix}/bin/python3", *words, *options]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_ROOT_USER_ACTION": "ignore"},
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A new environment with what the package needs, linked from that of the tests."""
    target = tmp_path / "environment"
    venv.create(target, symlinks=True)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(target)}))
    for name in os.listdir(sysconfig.get_path("purelib")):
        if "ociruntime" not in name and not name.startswith(("pip", "_virtualenv", "distutils-")):
            (site / name).symlink_to(Path(sysconfig.get_path("purelib"), name))
    return target


def test_the_wheel_names_its_python(wheel: Path) -> None:
    """Version, ABI and machine; it has the licence of the CPython in it, and both scripts may be executed."""
    version = f"cp{sys.version_info.major}{sys.version_info.minor}"
    assert wheel.name.endswith(f"-{version}-{version}-linux_{os.uname().machine}.whl")
    with zipfile.ZipFile(wheel) as archive:
        scripts = {
            item.filename.rpartition("/")[2]: item
            for item in archive.infolist()
            if ".data/scripts/" in item.filename
        }
        assert set(scripts) == {"containerd-shim-ociruntime-v1", "ociruntime", "ociruntime-launcher"}
        assert {item.external_attr >> 16 for item in scripts.values()} == {0o100755}
        for name in ("ociruntime", SHIM):
            assert archive.read(scripts[name])[:4] == b"\x7fELF"
        assert scripts[SHIM].file_size < 20000  # it is not a second copy
        (licence,) = (name for name in archive.namelist() if name.endswith("licenses/CPython.txt"))
        assert b"PYTHON SOFTWARE FOUNDATION LICENSE" in archive.read(licence)
        (licence,) = (name for name in archive.namelist() if name.endswith("licenses/LGPL-2.1.txt"))
        assert b"GNU LESSER GENERAL PUBLIC LICENSE" in archive.read(licence)
        (notice,) = (name for name in archive.namelist() if name.endswith("licenses/snapshot.txt"))
        said = archive.read(notice).decode()
        assert f"CPython {platform.python_version()}, under the licence in CPython.txt" in said
        assert "the GNU C Library" in said
        assert ("libseccomp" in said.partition("It was linked on")[0]) == bool(find_seccomp())
        (tags,) = (name for name in archive.namelist() if name.endswith(".dist-info/WHEEL"))
        assert f"Tag: {version}-{version}-".encode() in archive.read(tags)


def test_the_wheel_says_what_is_linked_in(wheel: Path) -> None:
    """Python, cffi with libffi and the C library, with the versions of those that were linked; and nothing that wasn't."""
    document = test_sbom.read(wheel)
    test_sbom.check(document)
    versions = {part["name"]: part.get("version") for part in document["components"]}
    assert versions["cpython"] == platform.python_version()
    assert versions["cffi"] == importlib.metadata.version("cffi")
    assert versions["libffi"] is None, "its makers don't say"
    assert versions["glibc"] == platform.libc_ver()[1]
    assert set(versions) - {"libseccomp"} == {"cpython", "cffi", "libffi", "glibc", "libgcc"}
    files = {file["name"]: file for part in document["components"] for file in part["components"]}
    name = f"libpython{sys.version_info.major}.{sys.version_info.minor}.a"
    archive = Path(str(sysconfig.get_config_var("LIBPL")), name)
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert files[name]["hashes"] == [{"alg": "SHA-256", "content": digest}]


def works(command: str) -> None:
    """Both by the snapshot itself and by the launcher that it goes over to."""
    code, out, err = call(command, "--version")
    assert (code, err) == (0, b"")
    assert out.endswith(b", in a snapshot\n")
    assert b'"run.ociruntime.form": "snapshot"' in subprocess.check_output([command, "features"])
    code, out, err = call(command, "help", "create")
    assert (code, err) == (0, b"")
    assert b"--bundle" in out
    code, _, err = call(command, "validate", "/nonexistent")
    assert code == 1
    assert err.startswith(b"ociruntime: validate: /nonexistent")


def shim_works(shim: str) -> None:
    """It says its name, and in which form it runs."""
    code, out, err = call(shim, "-v")
    assert (code, err) == (0, b"")
    assert out.startswith(b"containerd-shim-ociruntime-v1:\n")
    assert out.endswith(b", in a snapshot\n")
    assert b'"run.ociruntime.form":"snapshot"' in subprocess.check_output(
        [shim, "-info"], stdin=subprocess.DEVNULL
    )


@pytest.mark.root
def test_install_and_uninstall(wheel: Path, prefix: Path, tmp_path: Path) -> None:
    """The command works, also by a link, and runs a container; a rejected config is explained by jsonschema."""
    before = listing(prefix)
    pip(prefix, "install", "--no-deps", "--no-index", str(wheel))
    command = f"{prefix}/bin/ociruntime"
    works(command)
    assert {f"{prefix}/{name}" for name in SHARED if not (prefix / name).is_file()} == set()
    (tmp_path / "link").symlink_to(command)
    works(str(tmp_path / "link"))
    shim_works(f"{prefix}/bin/{SHIM}")
    for target in (SHIM, "ociruntime"):  # a link of this name may lead to either
        (tmp_path / SHIM).unlink(missing_ok=True)
        (tmp_path / SHIM).symlink_to(f"{prefix}/bin/{target}")
        shim_works(str(tmp_path / SHIM))
    bundle = make_bundle(tmp_path / "bundle", "echo", "hello")
    words = ("--root", str(tmp_path / "state"), "run", "--bundle", str(bundle.directory), f"{MARK}-hello")
    assert call(command, *words) == (0, b"hello\n", b"")
    bundle.config["process"]["args"] = 7
    bundle.write()
    code, _, err = call(command, *words)
    assert (code, b"/process/args" in err) == (1, True)
    pip(prefix, "uninstall", "--yes", "ociruntime")
    # Of the directories that pip has made, it removes only those in which a file was.
    empty = {"share", "share/man", "share/bash-completion", "share/zsh", "share/fish"}
    assert listing(prefix) - empty == before


def test_it_works_at_another_place(wheel: Path, prefix: Path, tmp_path: Path) -> None:
    """It looks for the rest beside itself, not where it was built or first installed."""
    pip(prefix, "install", "--no-deps", "--no-index", str(wheel))
    other = tmp_path / "other"
    shutil.move(prefix, other)
    works(f"{other}/bin/ociruntime")
    shim_works(f"{other}/bin/{SHIM}")
    (other / "bin/ociruntime-launcher").unlink()
    code, out, err = call(f"{other}/bin/ociruntime", "help")
    assert (code, out) == (1, b"")
    assert (
        err
        == (
            f"ociruntime: {other}/bin/ociruntime-launcher: no such file or directory (this call needs the ordinary launcher)\n"
        ).encode()
    )


@pytest.mark.root
def test_a_hard_link_of_another_user(wheel: Path, prefix: Path, tmp_path: Path) -> None:
    """What is beside it there is not executed."""
    pip(prefix, "install", "--no-deps", "--no-index", str(wheel))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    os.link(prefix / "bin/ociruntime", theirs / "ociruntime")
    (theirs / "ociruntime-launcher").write_text("#!/bin/sh\necho fooled\n")
    (theirs / "ociruntime-launcher").chmod(0o755)
    assert call(f"{theirs}/ociruntime", "help") == (0, b"fooled\n", b"")  # as long as it belongs to root
    os.chown(theirs, 65534, 65534)
    code, out, err = call(f"{theirs}/ociruntime", "help")
    assert (code, out) == (1, b"")
    assert b"belongs to user 65534, and nothing is executed from there" in err


@pytest.mark.root
def test_the_shim_of_another_user(wheel: Path, prefix: Path, tmp_path: Path) -> None:
    """Nor is the command beside a hard link to the shim; what is wrong is said with the path."""
    pip(prefix, "install", "--no-deps", "--no-index", str(wheel))
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shim, command = theirs / SHIM, theirs / "ociruntime"
    os.link(prefix / "bin" / SHIM, shim)
    assert call(str(shim)) == (1, b"", f"{SHIM}: {command}: errno   2\n".encode())
    command.write_text('#!/bin/sh\necho fooled "$@"\n')
    command.chmod(0o755)
    assert call(str(shim), "-v") == (0, b"fooled -v\n", b"")  # as long as it belongs to root
    for path, change, words in (
        (command, lambda: os.chown(command, 65534, 65534), "belongs to another user"),
        (theirs, lambda: os.chown(theirs, 65534, 65534), "belongs to another user"),
        (theirs, lambda: (os.chown(theirs, 0, 0), theirs.chmod(0o777)), "everybody may write to it"),
        (command, lambda: (theirs.chmod(0o755), command.unlink(), command.mkdir()), "not a regular file"),
    ):
        change()
        code, out, err = call(str(shim), "-v")
        assert (code, out) == (1, b"")
        assert err.startswith(f"{SHIM}: {path}: {words}".encode()), err


@pytest.mark.root
def test_the_installed_shim_asks_a_child(wheel: Path, prefix: Path, tmp_path: Path) -> None:
    """Of the Python of its environment; when the command has been replaced, it says so, and goes on."""
    pip(prefix, "install", "--no-deps", "--no-index", str(wheel))
    shim = Shim(tmp_path / "shim", program=f"{prefix}/bin/{SHIM}")
    try:
        bundle = make_bundle(tmp_path / "bundle", "true")
        bundle.config["process"]["args"] = 7
        bundle.write()
        client = shim.connect(shim.start(bundle, f"{MARK}-child"))
        refused(3, "/process/args", shim.create, client, bundle, f"{MARK}-child")
        os.replace(prefix / "bin/ociruntime-launcher", prefix / "bin/ociruntime")
        words = f"{prefix}/bin/ociruntime has been replaced or removed since this process began"
        refused(2, words, shim.create, client, bundle, f"{MARK}-child")
        bundle.config["process"]["args"] = ["true"]
        bundle.write()
        assert shim.create(client, bundle, f"{MARK}-child") > 0
        end(client, f"{MARK}-child")
    finally:
        shim.close()
