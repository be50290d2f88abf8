# SPDX-License-Identifier: Apache-2.0
"""How does an install compile the C part and generate the fast validator? Used by setup.cfg, never at run time.

Made here, into the wheel (or into the tree, for an editable install), and never committed:

    ociruntime/native/_shim.abi3.so      cffi's glue + the sources that pyproject.toml lists
    ociruntime/native/ociruntime-init    every other C file of this directory, one static executable
    ociruntime/native/_seccomp.py        cffi's interface to libseccomp, which is loaded when needed
    ociruntime/check/_config_validator.py      compile_schema(specs/config.schema.json)
    ociruntime/_specs/*.json             the schemas

New ops_*.c files and headers need no change here. Must not import anything of the package but schema_compiler.
"""

from __future__ import annotations

import glob
import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile

from setuptools.command.build_ext import build_ext as _build_ext
from setuptools.errors import SetupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from setuptools import Extension

NATIVE = "ociruntime/native"
CDEF = f"{NATIVE}/shim.cdef.txt"
PREAMBLE = f"{NATIVE}/shim.csrc.c"
# Libraries that are loaded when needed: their interface is Python text, which cffi writes.
LIBRARIES = ("seccomp",)
SCHEMA = "specs/config.schema.json"

# It must be small, because every create copies it into a memfd. PIE is off, because relocation dirties pages, and a
# container with a memory limit of 256 KiB would be charged for them.
INIT_FLAGS = [
    *("-std=gnu11", "-Os", "-Wall", "-Wextra", "-fno-pie", "-fno-asynchronous-unwind-tables"),
    *("-fstack-protector-strong", "-ffunction-sections", "-fdata-sections", "-fno-strict-aliasing"),
    *("-static", "-no-pie", "-s"),
    *("-Wl,--gc-sections", "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-Wl,-z,relro"),
]
# Without the C library (native/libc.c), where _start is written for the processor. glibc's fortified functions are left out
# with it; the stack protector stays, with a guard that libc.c sets. Optimizing across files would not see what the
# assembler part of it calls.
OWN_LIBC_FLAGS = [
    "-DOWN_LIBC",
    "-nostdlib",
    "-mstack-protector-guard=global",
    "-U_FORTIFY_SOURCE",
    "-fno-lto",
]
OWN_LIBC_PROCESSORS = ("x86_64", "aarch64")


class build_ext(_build_ext):  # noqa: N801 (setuptools' commands are named like this)
    """`build_ext`, and then the files that are not extension modules."""

    def run(self) -> None:
        """Compile and generate everything, for a wheel as well as in place."""
        require_tools()
        super().run()
        package = os.path.dirname(os.path.dirname(self.get_ext_fullpath("ociruntime.native._shim")))
        os.makedirs(f"{package}/native", exist_ok=True)
        compile_init(f"{package}/native/ociruntime-init", shim_sources=self.extensions[0].sources)
        for library in LIBRARIES:
            generate_interface(library, f"{package}/native/_{library}.py")
        generate_validator(f"{package}/check/_config_validator.py")
        place_schemas(f"{package}/_specs", link=bool(self.inplace))

    def build_extension(self, ext: Extension) -> None:
        """Add cffi's glue, and rebuild when a header or the declarations change."""
        glue = generate_glue(ext.name, self.build_temp)
        ext.depends = [CDEF, PREAMBLE, *glob.glob(f"{NATIVE}/*.h")]
        listed = ext.sources
        ext.sources = [glue, *listed]
        super().build_extension(ext)
        ext.sources = listed


def compiler() -> list[str]:
    """The C compiler's command: $CC, or the compiler that built this Python, or cc."""
    command = shlex.split(os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    if not shutil.which(command[0]) and "CC" not in os.environ:
        command = [name for name in ("gcc", "cc") if shutil.which(name)][:1] or command
    return command


def require_tools() -> None:
    """Fail before the compiler is called if something is not installed, and name the packages."""
    command = compiler()
    missing = []
    if not shutil.which(command[0]):
        missing.append((f"a C compiler ({command[0]})", "gcc libc6-dev"))
    elif not links_statically(command):
        missing.append(("the C library's headers and static form (libc.a)", "gcc libc6-dev"))
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        missing.append(("Python.h", "python3-dev"))
    if missing:
        packages = dict.fromkeys(name for _, names in missing for name in names.split())
        raise SetupError(
            f"ociruntime has a part in C, and this machine lacks {' and '.join(what for what, _ in missing)}\n"
            f"on Debian and Ubuntu: apt-get install {' '.join(packages)}"
        )


def links_statically(command: list[str]) -> bool:
    """True if a C program that includes a kernel header can be linked with libc.a."""
    program = b'#include <stdio.h>\n#include <linux/types.h>\nint main(void) { return puts("") < 0; }\n'
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [*command, "-static", "-x", "c", "-", "-o", f"{scratch}/probe"],
            input=program,
            capture_output=True,
            check=False,
        )
    return done.returncode == 0


def read(path: str) -> str:
    """A source file of the build, as text."""
    try:
        with open(path, encoding="utf-8") as source:
            return source.read()
    except FileNotFoundError:
        raise SetupError(f"{path} is missing: this is not a complete source tree of ociruntime") from None


def generate_glue(module: str, directory: str) -> str:
    """Let cffi write the C source of the extension module; return its path."""
    from cffi import FFI

    border = FFI()
    border.cdef(read(CDEF))
    border.set_source(module, read(PREAMBLE))
    os.makedirs(directory, exist_ok=True)
    glue = os.path.join(directory, "_shim.c")
    border.emit_c_code(glue)
    return glue


def generate_interface(library: str, target: str) -> None:
    """Let cffi write the module that calls a library. This needs neither the library nor its headers."""
    from cffi import FFI

    border = FFI()
    border.cdef(read(f"{NATIVE}/{library}.cdef.txt"))
    border.set_source(f"ociruntime.native._{library}", None)
    border.emit_python_code(target)


def compile_init(target: str, *, shim_sources: list[str]) -> None:
    """Compile every C file that does not belong to the shim into the static executable."""
    taken = {os.path.normpath(path) for path in [*shim_sources, PREAMBLE]}
    sources = sorted(path for path in glob.glob(f"{NATIVE}/*.c") if os.path.normpath(path) not in taken)
    if not sources:
        raise SetupError(f"no C source of ociruntime-init in {NATIVE}")
    extra = shlex.split(os.environ.get("CFLAGS", ""))
    flags = [*extra, *INIT_FLAGS, *(OWN_LIBC_FLAGS if has_own_libc() else ())]
    command = [*compiler(), *flags, f"-I{NATIVE}", *sources, "-o", target + ".new"]
    print(shlex.join(command), flush=True)
    done = subprocess.run(command, check=False)
    if done.returncode != 0:
        raise SetupError(f"ociruntime-init does not compile (the compiler ended with {done.returncode})")
    os.chmod(target + ".new", 0o755)
    os.replace(target + ".new", target)  # a running runtime may still read the old one


def has_own_libc() -> bool:
    """True if the compiler's target is a processor that native/libc.c has a start for."""
    command = [*compiler(), "-dumpmachine"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    processor, _, system = done.stdout.strip().partition("-")
    return processor in OWN_LIBC_PROCESSORS and not system.endswith(("x32", "ilp32"))


def generate_validator(target: str) -> None:
    """Compile the schema into a module of plain Python."""
    schema = json.loads(read(SCHEMA))
    read("ociruntime/check/schema_compiler.py")
    sys.path.insert(0, os.getcwd())
    try:
        from ociruntime.check.schema_compiler import compile_schema
    finally:
        sys.path.pop(0)
    source = compile_schema(schema)
    compile(source, target, "exec")
    with open(target + ".new", "w", encoding="utf-8") as out:
        out.write(source)
    os.replace(target + ".new", target)


def place_schemas(target: str, *, link: bool) -> None:
    """Put specs/*.json beside the modules: a copy, or in a source tree a link, which can't go stale."""
    if os.path.islink(target):
        os.unlink(target)
    shutil.rmtree(target, ignore_errors=True)
    if link:
        os.symlink(os.path.relpath("specs", os.path.dirname(target)), target)
        return
    os.makedirs(target)
    for schema in sorted(glob.glob("specs/*.json")):
        shutil.copyfile(schema, os.path.join(target, os.path.basename(schema)))
