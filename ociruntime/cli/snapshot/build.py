# SPDX-License-Identifier: Apache-2.0
"""How is the snapshot built? Link CPython statically, let it freeze itself, and try what comes out.

Needs the archive of the interpreter that runs this (Debian: libpython3-dev), gcc and binutils; downloads nothing.
CPython 3.11 to 3.14 on x86_64, 3.11 on aarch64. Never used at run time.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import secrets
import shutil
import subprocess
import sys
import sysconfig
import tempfile

from ociruntime.cli.snapshot import bootstrap, generated, order
from ociruntime.cli.snapshot.image import Image, ImageError
from ociruntime.cli.snapshot.place import LAUNCHER
from ociruntime.host_path import absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HERE = os.path.dirname(__file__)
_PACKAGE = os.path.dirname(os.path.dirname(_HERE))
_SUPPORTED = {"x86_64": ((3, 11), (3, 12), (3, 13), (3, 14)), "aarch64": ((3, 11),)}

# Python's side finds these functions under another name, and so ours; libc's own calls stay as they are.
RENAMED = {
    **{
        name: f"snapshot_{name}"
        for name in ("malloc", "calloc", "realloc", "free", "dlopen", "dlsym", "dlerror", "dlclose")
    },
    "__tls_get_addr": "snapshot_tls",
    "getpid": "snapshot_getpid",
    "pthread_self": "snapshot_self",
    "pthread_getattr_np": "snapshot_getattr",
}
# Extension modules that verbs use; which of them are in the archive differs.
_EXTENSIONS = (
    "_datetime", "_json", "_posixsubprocess", "math", "fcntl", "select", "_socket", "_struct", "_blake2", "resource", "termios",
    "_cffi_backend", "ociruntime.native._shim",
)  # fmt: skip
_SOURCES = ("snapshot.c", "heap.c", "trial.c", "immortal.c")
SHIM = "containerd-shim-ociruntime-v1"
# shim.c has no C library but that of init; as in native/_build.py.
_SHIM_FLAGS = (
    "-std=gnu11", "-Os", "-Wall", "-Wextra", "-fno-pie", "-fno-asynchronous-unwind-tables", "-fstack-protector-strong",
    "-ffunction-sections", "-fdata-sections", "-fno-strict-aliasing", "-static", "-no-pie", "-s", "-DOWN_LIBC", "-nostdlib",
    "-mstack-protector-guard=global", "-U_FORTIFY_SOURCE", "-fno-lto", "-Wl,--gc-sections", "-Wl,--build-id=none",
    "-Wl,-z,noexecstack", "-Wl,-z,relro",
)  # fmt: skip
_FLAGS = ("-std=gnu11", "-O2", "-g0", "-fno-pie", "-fstack-protector-strong", "-Wall", "-Wextra")
# separate-code is ld's own choice on x86_64; on aarch64, the code of an image would otherwise be in the writable segment
# of the image before it.
_LINK = (
    "-static", "-no-pie", "-Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code", "-Wl,--build-id=none", "-Wl,--gc-sections",
)  # fmt: skip


_ATTEMPTS = 12  # at an order that foresees every object; three to six are enough as a rule


class BuildError(Exception):
    """Why there is no snapshot."""


def main(words: Sequence[str]) -> int:
    """[--seed N] [--launcher PATH | --beside] [--order FILE] [--linked FILE] [--shim PATH] OUTPUT."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m ociruntime.cli.snapshot", description="Build the command as a snapshot."
    )
    parser.add_argument("--seed", type=int, default=0, help="of Python's hashes; by default drawn anew")
    parser.add_argument(
        "--launcher", default="", help="the ordinary command, for what a static program can't do"
    )
    parser.add_argument(
        "--beside", action="store_true", help=f"the ordinary command will be beside it, as {LAUNCHER}"
    )
    parser.add_argument(
        "--order",
        default="",
        help="file with the order of objects in memory: written, or, if it is there, used, so that the same seed gives the same bytes",
    )
    parser.add_argument(
        "--linked", default="", help="file to which the libraries that are linked in are written, as JSON"
    )
    parser.add_argument(
        "--shim", default="", help="where containerd's shim is put, which executes `ociruntime` beside it"
    )
    parser.add_argument("output", metavar="OUTPUT")
    given = parser.parse_args(words)
    try:
        build(
            given.output,
            launcher=given.launcher,
            beside=given.beside,
            seed=given.seed,
            order_file=given.order,
            linked=given.linked,
            shim=given.shim,
        )
    except (BuildError, ImageError) as failure:
        sys.stderr.write(f"ociruntime: no snapshot: {failure}\n")
        return 1
    return 0


def build(
    output: str,
    *,
    launcher: str = "",
    beside: bool = False,
    seed: int = 0,
    order_file: str = "",
    linked: str = "",
    shim: str = "",
) -> None:
    """Build, try, and put it at `output`. Raises BuildError or ImageError.

    launcher  the ordinary command; by default that of this environment
    beside    it will be found beside the snapshot, wherever that is installed
    order_file  where the order of objects is kept, or ""
    linked    where the paths of the libraries that are linked in are written, or "" (see linked_files)
    shim        where the program is put that calls the command as containerd's shim, or ""
    """
    launcher = (
        "" if beside else absolute(launcher or os.path.join(sysconfig.get_path("scripts"), "ociruntime"))
    )
    if not 0 <= seed < 2**32:
        raise BuildError(f"--seed: {seed} is not a number from 1 to {2**32 - 1} (or 0: drawn anew)")
    archive = find_archive()
    with tempfile.TemporaryDirectory() as scratch:
        images = [image for module in _EXTENSIONS if (image := _image(module)) is not None]
        raw = _link(scratch, archive, images, _incomplete(archive), find_seccomp())
        made = os.path.join(scratch, "ociruntime")
        trial = os.path.join(scratch, "trial")
        os.mkdir(trial)
        may = _may_make_containers()
        if may:
            order.make_bundles(trial, _program(trial))
        words = _words(launcher, seed or secrets.randbelow(2**32 - 1) + 1)
        # Whether modules are compiled or there is bytecode makes a difference, so this writes what all others read.
        _freeze(raw, made, order.Places(order.Trial()), words)
        known = order_file and os.path.exists(order_file)
        places = order.Places.read(order_file) if known else _places(raw, trial, words, may)
        for _ in range(_ATTEMPTS):
            if _freeze(raw, made, places, words):
                break
        if order_file and not known:
            places.write(order_file)
        try_out(made, scratch)
        if linked:
            with open(linked, "w", encoding="utf-8") as file:
                json.dump(linked_files(os.path.join(scratch, "map"), archive, images), file)
        shim_made = _compile_shim(scratch)
        _install(made, output)
        if shim:
            _install(shim_made, shim)


def _install(made: str, output: str) -> None:
    target = absolute(output)
    shutil.copyfile(made, target + ".new")
    os.chmod(target + ".new", 0o755)
    os.replace(target + ".new", target)


def find_archive() -> str:
    """The static library of this interpreter. Raises BuildError that says what to install."""
    if (
        sys.implementation.name != "cpython"
        or sys.version_info[:2] not in _SUPPORTED.get(platform.machine(), ())
        or sysconfig.get_config_var("Py_GIL_DISABLED")
    ):
        raise BuildError(
            "it can be built for CPython 3.11 to 3.14 (with the GIL) on x86_64 and for 3.11 on aarch64 only, so far"
        )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    archive = os.path.join(str(sysconfig.get_config_var("LIBPL")), f"libpython{version}.a")
    missing = []
    if not os.path.exists(os.path.join(_HERE, "snapshot.c")):
        raise BuildError("it is built from the source tree of ociruntime, and this is an installed package")
    if not os.path.exists(archive):
        missing.append((archive, f"libpython{version}-dev"))
    for tool, package in (("gcc", "gcc libc6-dev"), ("objcopy", "binutils")):
        if not shutil.which(tool):
            missing.append((tool, package))
    if missing:
        packages = " ".join(package for _, package in missing)
        raise BuildError(
            f"{' and '.join(what for what, _ in missing)} missing (on Debian and Ubuntu: apt-get install {packages})"
        )
    return archive


def find_seccomp() -> str:
    """The static library of libseccomp (Debian: libseccomp-dev); "" where gcc finds none."""
    found = _run("gcc", "-print-file-name=libseccomp.a").strip()
    return found if os.path.isabs(found) else ""


def _image(module: str) -> tuple[str, Image] | None:
    """(module, its shared object), or None if it is in the interpreter."""
    found = importlib.util.find_spec(module)
    if found is None:
        raise BuildError(f"python module {module} not found")
    if module in sys.builtin_module_names:
        return None
    return module, Image(str(found.origin), f"image_{module.rpartition('.')[2]}", RENAMED)


def _incomplete(archive: str) -> set[str]:
    """Modules of the archive that call functions which are not in it: in Debian's, hashes since 3.13, BLAKE2 since 3.14."""
    members: dict[str, tuple[set[str], set[str]]] = {}
    for line in _run("nm", "-A", "-P", archive).splitlines():
        member, name, kind = line.split()[:3]
        members.setdefault(member, (set(), set()))[kind != "U"].add(name)
    there = {name for _, defined in members.values() for name in defined}
    return {
        module
        for module in sys.builtin_module_names
        for needed, defined in members.values()
        if f"PyInit_{module}" in defined and any("Hacl_" in name and name not in there for name in needed)
    }


def _link(
    scratch: str, archive: str, images: list[tuple[str, Image]], left_out: set[str], seccomp: str
) -> str:
    """Link the program that can freeze itself; returns its path."""
    renamed = os.path.join(scratch, generated.COPY)
    # The archive's own thread-local variables stay libc's matter. mimalloc, which is in it since 3.13 and not used, would
    # begin anew at each call.
    names = (f"--redefine-sym={old}={new}" for old, new in RENAMED.items() if old != "__tls_get_addr")
    _run(
        "objcopy", *names, "--remove-section=.init_array", "--remove-section=.init_array.*", archive, renamed
    )
    sources = {
        "modules.c": generated.table(images),
        "library.c": generated.library(seccomp),
        "config.c": generated.config(left_out),
        "layout.ld": generated.layout(images),
        "images.s": "\n".join(image.assembler() for _, image in images),
    }
    if sys.version_info[:2] == (3, 11):
        sources["bootstrap.c"] = bootstrap.c_source()
    for name, text in sources.items():
        with open(os.path.join(scratch, name), "w", encoding="utf-8") as file:
            file.write(text)
    include = sysconfig.get_path("include")
    objects = []
    for name in (
        *(os.path.join(_HERE, name) for name in _SOURCES),
        *(f"{scratch}/{name}" for name in sources if not name.endswith(".ld")),
    ):
        objects.append(f"{scratch}/{os.path.basename(name)}.o")
        _run("gcc", *_FLAGS, f"-I{include}", "-c", name, "-o", objects[-1])
    raw = os.path.join(scratch, "raw")
    libraries = [
        *([seccomp] if seccomp else []),
        *str(sysconfig.get_config_var("LIBS") or "").split(),
        *str(sysconfig.get_config_var("SYSLIBS") or "").split(),
    ]
    layout = (f"-Wl,-T,{scratch}/layout.ld", f"-Wl,-Map,{scratch}/map")
    _run("gcc", *_LINK, *objects, renamed, *libraries, *layout, "-o", raw)
    return raw


def linked_files(link_map: str, archive: str, images: list[tuple[str, Image]]) -> dict[str, str]:
    """File name -> path of each static library of which the linker has used something, and of each shared object.

    link_map  what ld has written; it names the archive, which has other names in it, by that of its copy
    """
    with open(link_map, encoding="utf-8") as file:
        used = set(re.findall(r"^(/\S+\.a)\(", file.read(), re.MULTILINE))
    paths = {archive if os.path.basename(path) == generated.COPY else os.path.realpath(path) for path in used}
    paths |= {image.path for module, image in images if not module.startswith("ociruntime.")}
    return {os.path.basename(path): path for path in sorted(paths)}


def _places(raw: str, directory: str, words: list[str], with_rights: bool) -> order.Places:
    """Where the objects shall lie; in no order if it can't be found out: the command is slower then."""
    try:
        trial = order.run_trial([raw, "", directory, *words], directory, with_rights)
    except (OSError, EOFError) as failure:
        sys.stderr.write(f"ociruntime: the trial failed ({failure}): the snapshot will be slower\n")
        trial = order.Trial()
    return order.Places(trial)


def _program(directory: str) -> str:
    path = os.path.join(directory, "program")
    with open(f"{path}.c", "w", encoding="utf-8") as file:
        file.write(order.PROGRAM)
    _run("gcc", "-O2", "-static", f"{path}.c", "-o", path)
    return path


def _freeze(raw: str, made: str, places: order.Places, words: list[str]) -> bool:
    """Let the program start Python and write the copy; false if there are objects that the order does not know.

    It learns nothing of the build but these words: no environment, and not where it is.
    """
    path = f"{made}.order"
    places.write(path)
    _run(raw, made, path, *words, directory=os.path.dirname(raw), environment={})
    return not places.add_rest(f"{path}.rest")


def _words(launcher: str, seed: int) -> list[str]:
    """What the program needs to know to start Python."""
    stdlib = sysconfig.get_path("stdlib")
    python = os.path.join(os.path.dirname(launcher), "python3")
    if not launcher or not os.path.exists(python):
        python = sys.executable
    source = os.path.dirname(_PACKAGE)
    # A helper that moves network devices is started with the same sys.path, in a Python that can load shared objects.
    shared = str(sysconfig.get_config_var("DESTSHARED"))
    places = [
        stdlib,
        shared,
        source,
        *dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))),
    ]
    return [str(seed), python, sys.base_prefix, stdlib, launcher, "trial", *dict.fromkeys(places)]


def try_out(made: str, scratch: str) -> None:
    """Call it as engines do. Raises BuildError if it does not do what it should."""
    root = os.path.join(scratch, "root")
    os.mkdir(root, 0o700)
    for words, code, text in (
        (("--version",), 0, "ociruntime version "),
        (("features",), 0, '"ociVersionMax"'),
        (("--root", root, "state", "unknown"), 1, "does not exist"),
    ):
        done = subprocess.run(
            [made, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode != code or text not in done.stdout + done.stderr:
            raise BuildError(f"{' '.join(words)} ended with {done.returncode}: {done.stdout + done.stderr}")
    if _may_make_containers():
        _try_container(made, scratch, root)


def _compile_shim(scratch: str) -> str:
    """The program that calls the command as the shim; its path, beside the command. Raises BuildError if they don't work."""
    made = os.path.join(scratch, SHIM)
    sources = (os.path.join(_HERE, "shim.c"), os.path.join(_PACKAGE, "native", "libc.c"))
    _run("gcc", *_SHIM_FLAGS, *sources, "-o", made)
    said = _run(made, "-v")
    if "in a snapshot" not in said:
        raise BuildError(f"{SHIM} -v says {said}")
    return made


def _may_make_containers() -> bool:
    """CAP_SYS_ADMIN is effective: root in a build container often lacks it."""
    with open("/proc/self/status", encoding="ascii") as status:
        effective = next(line.split()[1] for line in status if line.startswith("CapEff:"))
    return bool(int(effective, 16) >> 21 & 1)


def _try_container(made: str, scratch: str, root: str) -> None:
    """From create to delete, of a container whose program is the snapshot itself: it needs no other file."""
    bundle = os.path.join(scratch, "bundle")
    os.makedirs(f"{bundle}/rootfs")
    shutil.copy(made, f"{bundle}/rootfs/program")
    filtered = (
        {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}} if "libseccomp: " in _run(made, "--version") else {}
    )
    config = {
        "ociVersion": "1.0.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/program", "--version"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}], **filtered},
    }
    with open(f"{bundle}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)
    name = f"try-{os.getpid()}"
    with open(f"{scratch}/output", "w+", encoding="utf-8") as output:
        try:
            for words in (("create", "--bundle", bundle, name), ("start", name), ("delete", "--force", name)):
                command = [made, "--root", root, "--cgroup-manager", "disabled", *words]
                done = subprocess.run(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
                )
                output.seek(0)
                text = output.read()
                if done.returncode != 0:
                    raise BuildError(f"{words[0]} ended with {done.returncode}: {text}")
        finally:
            command = [made, "--root", root, "--cgroup-manager", "disabled", "delete", "--force", name]
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _run(*command: str, directory: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """The output. The environment is the caller's by default, without what would change how tools speak."""
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "LC_ALL": "C"} if environment is None else environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BuildError(f"{os.path.basename(command[0])} failed: {(done.stderr or done.stdout)[-3000:]}")
    return done.stdout
