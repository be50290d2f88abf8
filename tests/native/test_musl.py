# SPDX-License-Identifier: Apache-2.0
"""Is the C part right with another C library? Debian's musl-gcc compiles all of it, and its init runs a container.

Init is linked both without a C library, with musl's headers (as on Alpine), and with musl's libc.a. No Python for musl is in
Debian's packages, so the shim is compiled only.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from ociruntime.native import _build
from tests.harness.bundle import make_bundle
from tests.harness.driver import MARK

TREE = Path(__file__).parents[2]
SHIM = ("spawn.c", "plan_check.c", "sys.c")
PYTHON = Path(sysconfig.get_path("include"))
# The command, with another init.
PROGRAM = """
import sys
from ociruntime.native import spawn
spawn._EXECUTABLE = sys.argv[1]
from ociruntime.cli import main
sys.exit(main(sys.argv[2:]))
"""

if shutil.which("musl-gcc") is None:
    pytest.skip("musl-gcc is not installed (apt-get install musl-tools)", allow_module_level=True)


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kernel's headers, which musl-gcc does not see, and the directory that Debian's pyconfig.h names."""
    directory = tmp_path_factory.mktemp("headers")
    machine = Path("/usr/include", str(sysconfig.get_config_var("MULTIARCH")))
    (directory / "asm").symlink_to(machine / "asm")
    (directory / machine.name).symlink_to(machine)
    for name in ("linux", "asm-generic"):
        (directory / name).symlink_to(Path("/usr/include", name))
    return directory


def musl(headers: Path) -> str:
    """The compiler's command, for $CC. Any warning is an error."""
    return f"musl-gcc -isystem {headers} -Werror"


@pytest.fixture(scope="module", params=["no C library", "libc.a"])
def init(request: pytest.FixtureRequest, headers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the build compiles it."""
    target = tmp_path_factory.mktemp("init") / "ociruntime-init"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(TREE)
        patch.setenv("CC", musl(headers))
        if request.param == "libc.a":
            patch.setattr(_build, "OWN_LIBC_PROCESSORS", ())
        _build.compile_init(str(target), shim_sources=[f"{_build.NATIVE}/{name}" for name in SHIM])
    return target


def test_init_is_static(init: Path) -> None:
    """It needs no loader, and is small, as glibc's would not be."""
    shown = subprocess.run(["readelf", "-lW", init], capture_output=True, text=True, check=True).stdout
    assert ("INTERP" in shown, "DYNAMIC" in shown) == (False, False)
    assert init.stat().st_size < 150_000


@pytest.mark.root
def test_init_runs_a_container(init: Path, tmp_path: Path) -> None:
    """From create to delete, and another program in it by exec."""
    bundle = make_bundle(tmp_path / "bundle", "sleep", "100")
    name = f"{MARK}-musl"

    def call(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-c", PROGRAM, str(init), "--root", str(tmp_path / "state"), *words]
        # The container keeps these streams, so a pipe would not end.
        with open(tmp_path / "output", "w+", encoding="utf-8") as output:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False, timeout=60
            )
            output.seek(0)
            return done.returncode, output.read()

    try:
        assert call("create", "--bundle", str(bundle.directory), name) == (0, "")
        assert call("start", name) == (0, "")
        assert call("exec", name, "sh", "-c", "hostname; exit 3") == (3, f"{bundle.config['hostname']}\n")
    finally:
        assert call("delete", "--force", name) == (0, "")


@pytest.mark.parametrize("source", [*SHIM, "glue"])
def test_the_shim_compiles(source: str, headers: Path, tmp_path: Path) -> None:
    """Each file of it, and what cffi writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(TREE)
        path = (
            _build.generate_glue("ociruntime.native._shim", str(tmp_path))
            if source == "glue"
            else f"{_build.NATIVE}/{source}"
        )
    flags = ["-std=gnu11", "-Wall", "-Wextra", "-fPIC", "-DPy_LIMITED_API=0x030b0000", f"-I{PYTHON}", "-c"]
    command = [*musl(headers).split(), *flags, f"-I{_build.NATIVE}", path, "-o", str(tmp_path / "object")]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
