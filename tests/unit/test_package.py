# SPDX-License-Identifier: Apache-2.0
"""Do wheel, sdist and install hold what they must, and does a machine without a compiler hear what to install?

Nothing is fetched: the builds use the setuptools and cffi of the environment that runs the tests.
"""

from __future__ import annotations

import email.parser
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import ociruntime
from ociruntime.container import Container as Record

TREE = Path(__file__).parents[2]
SOURCES = ("ociruntime", "specs", "launcher", "scripts", "docs")
FILES = ("pyproject.toml", "setup.cfg", "MANIFEST.in", "README.md", "LICENSE", "check", "try")
MADE_BY_BUILD = {
    "ociruntime/check/_config_validator.py",
    "ociruntime/native/_seccomp.py",
    "ociruntime/native/_shim.abi3.so",
    "ociruntime/native/ociruntime-init",
    *(f"ociruntime/_specs/{path.name}" for path in (TREE / "specs").glob("*.json")),
}


def copy_sources(target: Path) -> Path:
    """The project as a fresh clone has it, without what an editable install has put into the tree."""
    generated = shutil.ignore_patterns(
        "*.so",
        "ociruntime-init",
        "_seccomp.py",
        "_config_validator.py",
        "_specs",
        "__pycache__",
    )
    for name in SOURCES:
        shutil.copytree(TREE / name, target / name, ignore=generated)
    for name in FILES:
        if (TREE / name).exists():
            shutil.copy(TREE / name, target / name)
    return target


def build(
    kind: str, tree: Path, out: Path, env: dict[str, str] | None = None, umask: int = -1
) -> subprocess.CompletedProcess[str]:
    """Call the build backend as pip does."""
    program = f"from setuptools import build_meta as b; b.build_{kind}({str(out)!r})"
    command = [sys.executable, "-W", "ignore", "-c", program]
    return subprocess.run(
        command, cwd=tree, env=env, capture_output=True, text=True, check=False, umask=umask
    )


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of the sources."""
    done = build(
        "sdist", copy_sources(tmp_path_factory.mktemp("tree")), out := tmp_path_factory.mktemp("sdist")
    )
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.tar.gz")
    return path


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel built from the sdist: if the sdist lacked a file, this would fail."""
    tree, out = tmp_path_factory.mktemp("unpacked"), tmp_path_factory.mktemp("wheel")
    subprocess.run(["tar", "-xf", sdist, "-C", tree], check=True)
    # The form that every machine can build; tests/native/test_wheel.py has the other one.
    done = build("wheel", next(tree.iterdir()), out, {**os.environ, "OCIRUNTIME_COMMAND": "launcher"})
    assert "the command is installed as a launcher of Python (OCIRUNTIME_COMMAND=launcher)\n" in done.stdout
    assert done.returncode == 0, done.stderr
    (path,) = out.glob("*.whl")
    return path


def test_wheel_has_every_module_and_no_source(wheel: Path) -> None:
    """The wheel has all Python files of the package, what the build made, and no C source."""
    ours = {
        str(path.relative_to(TREE))
        for pattern in ("*.py", "*.pyi", "py.typed")
        for path in (TREE / "ociruntime").rglob(pattern)
    }
    with zipfile.ZipFile(wheel) as archive:
        files = {name for name in archive.namelist() if name.startswith("ociruntime/")}
    assert files == ours | MADE_BY_BUILD


def test_wheel_is_for_every_python(wheel: Path) -> None:
    """The stable ABI: a wheel made here serves later versions of CPython."""
    assert "-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    scripts = sorted(name.rpartition("/")[2] for name in names if ".data/scripts/" in name)
    assert scripts == ["containerd-shim-ociruntime-v1", "ociruntime"]
    assert not [name for name in names if name.endswith("CPython.txt")]


SHARED = {
    "share/man/man8/ociruntime.8": "docs/ociruntime.8",
    "share/bash-completion/completions/ociruntime": "docs/completion/ociruntime",
    "share/zsh/site-functions/_ociruntime": "docs/completion/_ociruntime",
    "share/fish/vendor_completions.d/ociruntime.fish": "docs/completion/ociruntime.fish",
}


def test_wheel_has_the_manual_page_and_the_completion(wheel: Path) -> None:
    """Where man, bash, zsh and fish look for them below a prefix; as they are in the tree."""
    with zipfile.ZipFile(wheel) as archive:
        found = {
            name.partition(".data/data/")[2]: archive.read(name)
            for name in archive.namelist()
            if ".data/data/" in name
        }
    assert found == {name: (TREE / source).read_bytes() for name, source in SHARED.items()}


def test_wheel_says_its_licence(wheel: Path) -> None:
    """As an SPDX expression, with the file (PEP 639), and who has made it."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = email.parser.BytesParser().parsebytes(archive.read(name))
        licence = archive.read(name.replace("METADATA", "licenses/LICENSE"))
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata.get_all("License-File") == ["LICENSE"]
    assert metadata["Author"]
    assert licence == (TREE / "LICENSE").read_bytes()


def test_the_same_tree_gives_the_same_sdist(sdist: Path, tmp_path: Path) -> None:
    """Byte for byte, at another place and time, by another user, with another umask; SOURCE_DATE_EPOCH sets the time."""
    made = [sdist]
    for name, variables in (("second", {}), ("dated", {"SOURCE_DATE_EPOCH": "1700000000"})):
        tree = copy_sources(tmp_path / name)
        for path in tree.rglob("*"):
            os.utime(path, (1, 1))
        (tree / "docs/start.md").chmod(0o600)
        (out := tmp_path / f"{name}-out").mkdir()
        done = build("sdist", tree, out, {**os.environ, **variables}, umask=0o077)
        assert done.returncode == 0, done.stderr
        made += out.glob("*.tar.gz")
    first, second, dated = (path.read_bytes() for path in made)
    assert first == second
    assert first != dated
    with tarfile.open(made[2]) as archive:
        members = archive.getmembers()
    assert {(one.mtime, one.uid, one.gid, one.uname) for one in members} == {(1700000000, 0, 0, "")}
    assert {one.mode for one in members} == {0o644, 0o755}


def test_an_odd_time_of_the_sdist(tmp_path: Path) -> None:
    """Is refused by name."""
    variables = {**os.environ, "SOURCE_DATE_EPOCH": "yesterday"}
    done = build("sdist", copy_sources(tmp_path / "tree"), tmp_path, variables)
    assert done.returncode == 1
    assert (
        "SOURCE_DATE_EPOCH is 'yesterday', and must be a number of seconds since 1970"
        in done.stderr.splitlines()[-1]
    )


def test_init_is_a_static_executable(wheel: Path, tmp_path: Path) -> None:
    """ociruntime-init needs no loader and no library, is executable and has no writable and executable segment."""
    member = "ociruntime/native/ociruntime-init"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.getinfo(member).external_attr >> 16 & 0o777 == 0o755
        headers = archive.extract(member, tmp_path)
    shown = subprocess.run(["readelf", "-lW", headers], capture_output=True, text=True, check=True).stdout
    assert "INTERP" not in shown
    assert "DYNAMIC" not in shown
    assert "RWE" not in shown


def test_installed_command(wheel: Path, tmp_path: Path) -> None:
    """An ordinary install in a new virtual environment has a command that starts, with the version of the package."""
    venv.create(tmp_path, symlinks=True)
    site = sysconfig.get_path("purelib", vars={"base": str(tmp_path)})
    scheme = [
        "--no-deps",
        "--no-index",
        "--quiet",
        "--root-user-action=ignore",
        "--disable-pip-version-check",
    ]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(tmp_path / "bin/python3"),
        "install",
        *scheme,
        str(wheel),
    ]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (Path(site) / "ociruntime/native/ociruntime-init").stat().st_mode & 0o111 == 0o111
    command = [str(tmp_path / "bin/ociruntime"), "--version"]
    shown = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True).stdout
    assert shown.startswith(f"ociruntime version {ociruntime.__version__}\n")
    assert shown.endswith(", in an interpreter\n")


@pytest.mark.parametrize(
    ("broken", "packages"),
    [("no compiler", "gcc libc6-dev"), ("no libc.a", "gcc libc6-dev"), ("no Python.h", "python3-dev")],
)
def test_what_to_install(tmp_path: Path, broken: str, packages: str) -> None:
    """Without a compiler, the static C library or Python's headers, the build names the packages and stops."""
    tree = copy_sources(tmp_path / "tree")
    environment = dict(os.environ)
    if broken == "no compiler":
        environment["PATH"] = str(tmp_path)
    elif broken == "no libc.a":
        compiler = tmp_path / "cc"
        compiler.write_text('#!/bin/sh\ncase " $* " in *" -static "*) exit 1 ;; esac\nexec gcc "$@"\n')
        compiler.chmod(0o755)
        environment["CC"] = str(compiler)
    else:
        (tmp_path / "sitecustomize.py").write_text(
            "import sysconfig\nreal = sysconfig.get_path\n"
            "sysconfig.get_path = lambda name, *rest, **more: '/nowhere' if name == 'include' else real(name, *rest, **more)\n"
        )
        environment["PYTHONPATH"] = str(tmp_path)
    done = build("wheel", tree, tmp_path, environment)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"on Debian and Ubuntu: apt-get install {packages}"


def test_import_costs_nothing() -> None:
    """`import ociruntime` loads no other module, and yet has the public names."""
    program = (
        "import sys; before = set(sys.modules); import ociruntime; print(*set(sys.modules) - before);"
        "print(ociruntime.InvalidConfig.__name__, 'InvalidConfig' in dir(ociruntime))"
    )
    environment = {"PYTHONPATH": str(TREE), "PATH": os.environ["PATH"]}
    shown = subprocess.run(
        [sys.executable, "-S", "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "ociruntime\nInvalidConfig True\n"


def test_public_names() -> None:
    """Each name of the package is where __init__ says, and a method of the library's Container acts on its record."""
    assert all(callable(getattr(ociruntime, name)) for name in ociruntime._PUBLIC)
    assert {"create", "run", "load", "list_all", "gc", "delete", "Container", "Options", "Request"} <= {
        *dir(ociruntime)
    }
    assert issubclass(ociruntime.Container, Record)
    names: dict[str, object] = {}
    exec("from ociruntime import *", names)
    assert names["make_config"] is ociruntime.make_config
    assert names.keys() >= ociruntime._PUBLIC.keys()
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ociruntime.nothing  # type: ignore[attr-defined]


def test_every_directory_with_modules_is_a_package() -> None:
    """A directory without __init__.py would be left out of the wheel."""
    directories = {path.parent for path in (TREE / "ociruntime").rglob("*.py")}
    assert [directory for directory in sorted(directories) if not (directory / "__init__.py").exists()] == []
