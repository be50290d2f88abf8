# SPDX-License-Identifier: Apache-2.0
"""How does an install put the command `ociruntime` and containerd's shim into the wheel? Used by setup.cfg, never at run time.

As a snapshot (docs/internals/snapshot.md), with the ordinary launcher beside it as ociruntime-launcher, and a program that
calls the snapshot as the shim; or, where that can't be built, both as the launcher. The build says which, and why. Must not import anything of the package.
"""

from __future__ import annotations

import glob
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from typing import Any

from setuptools.command.bdist_wheel import bdist_wheel as _bdist_wheel
from setuptools.errors import SetupError

# isort: split
from distutils.command.build_scripts import (
    build_scripts as _build_scripts,
)  # setuptools' own, once that is imported

SOURCES = "ociruntime/cli/snapshot"
SHIM = "containerd-shim-ociruntime-v1"
# What a packager wants, in this variable: one form, or an error.
VARIABLE = "OCIRUNTIME_COMMAND"
_FORMS = ("auto", "snapshot", "launcher")
# Built in the directory that will be in the wheel, with the C sources that will not.
_PROGRAM = """
import sys
sys.path.insert(0, {tree!r})
from ociruntime.cli.snapshot.build import main
sys.exit(main(["--beside", "--shim", {shim!r}, {output!r}]))
"""


class NoSnapshotError(Exception):
    """Why the command is not a snapshot."""


class build_scripts(_build_scripts):  # noqa: N801 (setuptools' commands are named like this)
    """`build_scripts`, whose script may be an executable."""

    editable_mode = False  # setuptools sets it
    has_snapshot = False

    def run(self) -> None:
        """Make the command."""
        wanted = os.environ.get(VARIABLE) or "auto"
        if wanted not in _FORMS:
            raise SetupError(f"{VARIABLE} is {wanted!r}, and must be one of {', '.join(_FORMS)}")
        shutil.rmtree(self.build_dir, ignore_errors=True)  # what a former build has left
        super().run()
        try:
            if wanted == "launcher":
                raise NoSnapshotError(f"{VARIABLE}=launcher")
            if self.editable_mode:
                raise NoSnapshotError("in an editable install it would not see what is edited")
            if wanted == "auto" and platform.machine() == "aarch64":
                raise NoSnapshotError(
                    f"a snapshot for aarch64 has been tried under emulation only; {VARIABLE}=snapshot asks for one"
                )
            self._make_snapshot()
            said = f"as a snapshot of Python {sys.version.split()[0]}"
        except NoSnapshotError as failure:
            if wanted == "snapshot":
                raise SetupError(f"{VARIABLE}=snapshot, but there is no snapshot: {failure}") from None
            said = f"as a launcher of Python ({failure})"
        print(f"ociruntime: the command is installed {said}", flush=True)

    def _make_snapshot(self) -> None:
        """Put it in the launcher's place, and the launcher beside it."""
        licence_text()
        for command in ("build_py", "build_ext"):
            self.run_command(command)
        built: Any = self.get_finalized_command("build_ext")
        command, shim = (os.path.join(self.build_dir, name) for name in ("ociruntime", SHIM))
        with tempfile.TemporaryDirectory() as scratch:
            made, made_shim = (os.path.join(scratch, name) for name in ("snapshot", "shim"))
            freeze(os.path.join(built.build_lib, "ociruntime"), scratch, made, made_shim)
            os.rename(command, command + "-launcher")
            shutil.copyfile(made, command)
            shutil.copyfile(made_shim, shim)
        for path in (command, shim):
            os.chmod(path, 0o755)
        self.has_snapshot = True


def freeze(package: str, scratch: str, output: str, shim: str) -> None:
    """Build the snapshot of a built package, and the program that calls it as the shim. Raises NoSnapshotError."""
    tree = os.path.join(scratch, "tree")
    shutil.copytree(package, os.path.join(tree, "ociruntime"))
    for pattern in (f"{SOURCES}/*.c", f"{SOURCES}/*.h", "ociruntime/native/libc.c"):
        for source in glob.glob(pattern):
            shutil.copy(source, os.path.join(tree, os.path.dirname(source)))
    words = [sys.executable, "-c", _PROGRAM.format(tree=tree, output=output, shim=shim)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr.strip() or f"the build of it ended with {done.returncode}").splitlines()
        reason = next((line for line in lines if line.startswith("ociruntime: ")), lines[-1])
        raise NoSnapshotError(reason.removeprefix("ociruntime: no snapshot: "))


class bdist_wheel(_bdist_wheel):  # noqa: N801
    """`bdist_wheel`: a wheel with a snapshot is for one CPython, and has its licence in it."""

    def has_snapshot(self) -> bool:
        """Whether this wheel has one; known when the scripts have been built."""
        return bool(getattr(self.get_finalized_command("build_scripts"), "has_snapshot", False))

    def get_tag(self) -> tuple[str, str, str]:
        """Not abi3 then."""
        if self.has_snapshot():
            self.py_limited_api = False
        return super().get_tag()

    def write_wheelfile(self, wheelfile_base: str, *rest: Any, **more: Any) -> None:
        """The file WHEEL, and CPython's licence."""
        super().write_wheelfile(wheelfile_base, *rest, **more)
        if self.has_snapshot():
            target = os.path.join(wheelfile_base, "licenses", "CPython.txt")
            os.makedirs(os.path.dirname(target), exist_ok=True)
            shutil.copyfile(licence_text(), target)


def licence_text() -> str:
    """The file with the licence of this CPython, which must go where its code goes. Raises NoSnapshotError."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    places = (
        os.path.join(sysconfig.get_path("stdlib"), "LICENSE.txt"),
        os.path.join(str(sysconfig.get_config_var("LIBPL")), "LICENSE.txt"),
        f"/usr/share/doc/python{version}/copyright",
        f"/usr/share/licenses/python{version}/LICENSE",
    )
    for place in places:
        if os.path.isfile(place):
            return place
    raise NoSnapshotError(f"the licence of CPython is in none of {', '.join(places)}")
