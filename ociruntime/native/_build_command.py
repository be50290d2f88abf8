# SPDX-License-Identifier: Apache-2.0
"""How does an install put the command `ociruntime` and containerd's shim into the wheel? Used by setup.cfg, never at run time.

As a snapshot (docs/internals/snapshot.md), with the ordinary launcher beside it as ociruntime-launcher, and a program that
calls the snapshot as the shim; or, where that can't be built, both as the launcher. The build says which, and why. Must not
import anything of the package but parts of the build.
"""

from __future__ import annotations

import glob
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from setuptools.command.bdist_wheel import bdist_wheel as _bdist_wheel
from setuptools.errors import SetupError

# isort: split
from distutils.command.build_scripts import (
    build_scripts as _build_scripts,
)  # setuptools' own, once that is imported

if TYPE_CHECKING:
    from collections.abc import Mapping

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
sys.exit(main(["--beside", "--linked", {linked!r}, "--shim", {shim!r}, {output!r}]))
"""


# What the LGPL asks of whoever passes the wheel on: section 6 of LGPL-2.1.txt.
_NOTICE = """The program ociruntime in this wheel contains, linked statically:

    {python}, under the licence in CPython.txt
    the C part of cffi, with libffi, both under the MIT licence
    {libraries}, under the GNU Lesser General Public License 2.1, whose text is in LGPL-2.1.txt

It was linked on {system}, whose packages have the sources of these. To use it with a changed library, install the
sdist of ociruntime, which has all that the program is made of: the build takes the static libraries (libc.a, libseccomp.a)
that gcc finds, first in the directories that the environment variable LIBRARY_PATH names.
"""


class NoSnapshotError(Exception):
    """Why the command is not a snapshot."""


class build_scripts(_build_scripts):  # noqa: N801 (setuptools' commands are named like this)
    """`build_scripts`, whose script may be an executable."""

    editable_mode = False  # setuptools sets it
    has_snapshot = False
    libseccomp = ""  # version of that in the snapshot
    linked: Mapping[str, str] = MappingProxyType({})  # into the snapshot: file name -> path

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
            library = f"libseccomp {self.libseccomp} in it" if self.libseccomp else "no libseccomp in it"
            said = f"as a snapshot of Python {sys.version.split()[0]}, with {library}"
        except NoSnapshotError as failure:
            if wanted == "snapshot":
                raise SetupError(f"{VARIABLE}=snapshot, but there is no snapshot: {failure}") from None
            said = f"as a launcher of Python ({failure})"
        print(f"ociruntime: the command is installed {said}", flush=True)

    def _make_snapshot(self) -> None:
        """Put it in the launcher's place, and the launcher beside it."""
        licence_texts()
        for command in ("build_py", "build_ext"):
            self.run_command(command)
        built: Any = self.get_finalized_command("build_ext")
        command, shim = (os.path.join(self.build_dir, name) for name in ("ociruntime", SHIM))
        with tempfile.TemporaryDirectory() as scratch:
            made, made_shim = (os.path.join(scratch, name) for name in ("snapshot", "shim"))
            self.linked = freeze(os.path.join(built.build_lib, "ociruntime"), scratch, made, made_shim)
            self.libseccomp = libseccomp_in(made)
            os.rename(command, command + "-launcher")
            shutil.copyfile(made, command)
            shutil.copyfile(made_shim, shim)
        for path in (command, shim):
            os.chmod(path, 0o755)
        self.has_snapshot = True


def freeze(package: str, scratch: str, output: str, shim: str) -> dict[str, str]:
    """Build the snapshot of a built package, and the program that calls it as the shim; the libraries that are linked into it.

    Raises NoSnapshotError.
    """
    tree = os.path.join(scratch, "tree")
    shutil.copytree(package, os.path.join(tree, "ociruntime"))
    for pattern in (f"{SOURCES}/*.c", f"{SOURCES}/*.h", "ociruntime/native/libc.c"):
        for source in glob.glob(pattern):
            shutil.copy(source, os.path.join(tree, os.path.dirname(source)))
    linked = os.path.join(scratch, "linked.json")
    words = [sys.executable, "-c", _PROGRAM.format(tree=tree, output=output, linked=linked, shim=shim)]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = (done.stderr.strip() or f"the build of it ended with {done.returncode}").splitlines()
        reason = next((line for line in lines if line.startswith("ociruntime: ")), lines[-1])
        raise NoSnapshotError(reason.removeprefix("ociruntime: no snapshot: "))
    with open(linked, encoding="utf-8") as file:
        return dict(json.load(file))


def libseccomp_in(command: str) -> str:
    """The version of the libseccomp that a snapshot has in itself; "" if it has none."""
    done = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    return "".join(re.findall(r"^libseccomp: (.*)$", done.stdout, re.MULTILINE))


class bdist_wheel(_bdist_wheel):  # noqa: N801
    """`bdist_wheel`: with a list of what is linked in; a wheel with a snapshot is for one CPython, and has the licences in it."""

    def has_snapshot(self) -> bool:
        """Whether this wheel has one; known when the scripts have been built."""
        return bool(getattr(self.get_finalized_command("build_scripts"), "has_snapshot", False))

    def get_tag(self) -> tuple[str, str, str]:
        """Not abi3 then."""
        if self.has_snapshot():
            self.py_limited_api = False
        return super().get_tag()

    def write_wheelfile(self, wheelfile_base: str, *rest: Any, **more: Any) -> None:
        """The file WHEEL, and the licences of what is in the snapshot."""
        super().write_wheelfile(wheelfile_base, *rest, **more)
        self._write_sbom(wheelfile_base)
        if self.has_snapshot():
            target = os.path.join(wheelfile_base, "licenses")
            os.makedirs(target, exist_ok=True)
            for name, source in licence_texts().items():
                shutil.copyfile(source, os.path.join(target, name))
            with open(os.path.join(target, "snapshot.txt"), "w", encoding="utf-8") as notice:
                notice.write(self._notice())

    def _notice(self) -> str:
        """What is linked into the snapshot, and how it is linked anew."""
        version = getattr(self.get_finalized_command("build_scripts"), "libseccomp", "")
        return _NOTICE.format(
            python=f"CPython {sys.version.split()[0]}",
            libraries=" and ".join(["the GNU C Library", *([f"libseccomp {version}"] if version else [])]),
            system=_system(),
        )

    def _write_sbom(self, dist_info: str) -> None:
        """The list of what is linked into the programs."""
        sys.path.insert(0, os.getcwd())
        try:
            from ociruntime.native._build_sbom import write
        finally:
            sys.path.pop(0)
        scripts: Any = self.get_finalized_command("build_scripts")
        write(dist_info, self.distribution.get_version(), scripts.linked)


def _system() -> str:
    """The distribution's name and version."""
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:  # no os-release(5)
        return platform.platform()


def licence_texts() -> dict[str, str]:
    """Name in the wheel -> file, of the licences that must go where the snapshot goes. Raises NoSnapshotError."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    places = {
        "CPython.txt": (
            os.path.join(sysconfig.get_path("stdlib"), "LICENSE.txt"),
            os.path.join(str(sysconfig.get_config_var("LIBPL")), "LICENSE.txt"),
            f"/usr/share/doc/python{version}/copyright",
            f"/usr/share/licenses/python{version}/LICENSE",
        ),
        "LGPL-2.1.txt": (
            "/usr/share/common-licenses/LGPL-2.1",
            "/usr/share/licenses/glibc/COPYING.LIB",
            "/usr/share/licenses/libseccomp/LICENSE",
        ),
    }
    found = {}
    for name, files in places.items():
        there = [file for file in files if os.path.isfile(file)]
        if not there:
            raise NoSnapshotError(f"{name.removesuffix('.txt')}'s licence is in none of {', '.join(files)}")
        found[name] = there[0]
    return found
