# SPDX-License-Identifier: Apache-2.0
"""Invariants 12 and 23: what runs on the host is the runtime's own, whatever config, image and caller say."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness import command
from tests.harness.configuration import PATH, Config, add_hook, without_namespace, writable_root
from tests.harness.driver import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.stage import Stage

_NAMES = (
    "ociruntime",
    "errno",
    "_json",
    "sitecustomize",
    "usercustomize",
    "os",
    "posixpath",
    "typing",
    "jsonschema",
)
_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@pytest.fixture
def trap(tmp_path: Path) -> tuple[Path, Path]:
    """A shared object that writes a file `sprung` on the host when it is loaded there; and that file."""
    sprung = tmp_path / "sprung"
    source = (
        "#include <stdio.h>\n"
        "__attribute__((constructor)) static void spring(void) {\n"
        f'  FILE *file = fopen("{sprung}", "w");\n'
        "  if (file) fclose(file);\n"
        "}\n"
    )
    library = tmp_path / "trap.so"
    command = ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)]
    subprocess.run(command, input=source, text=True, check=True)
    return library, sprung


@pytest.fixture
def python_trap(tmp_path: Path) -> tuple[Path, Path]:
    """A directory of modules with names that Python and the runtime import, which write `imported` on the host."""
    imported = tmp_path / "imported"
    modules = tmp_path / "modules"
    modules.mkdir()
    for name in _NAMES:
        (modules / f"{name}.py").write_text(f"open({str(imported)!r}, 'w').close()\nraise SystemExit(99)\n")
    (modules / "startup.py").write_text(f"open({str(imported)!r}, 'w').close()\n")
    return modules, imported


def test_trap_works(trap: tuple[Path, Path]) -> None:
    """The trap of the other tests springs in a program of the host that loads it."""
    library, sprung = trap
    subprocess.run(["/bin/true"], env={"LD_PRELOAD": str(library)}, check=True)
    assert sprung.exists()


def test_python_variables_of_the_caller(stage: Stage, python_trap: tuple[Path, Path]) -> None:
    """PYTHONPATH, PYTHONHOME and PYTHONSTARTUP of the caller bring no module into the runtime."""
    modules, imported = python_trap
    environment = {
        **ENVIRONMENT,
        "PYTHONPATH": str(modules),
        "PYTHONHOME": str(modules),
        "PYTHONSTARTUP": str(modules / "startup.py"),
        "PYTHONUSERBASE": str(modules),
        "PYTHONINSPECT": "1",
    }
    result = stage.container("echo", "ran").run(env=environment).ok()
    assert result.out == "ran\n"
    assert not imported.exists()


def test_modules_in_the_working_directory(stage: Stage, python_trap: tuple[Path, Path]) -> None:
    """Modules in the caller's directory, the bundle or the rootfs are not imported."""
    modules, imported = python_trap
    container = stage.container("echo", "ran")
    for place in (container.bundle.directory, container.bundle.rootfs):
        for module in modules.iterdir():
            shutil.copy(module, place)
    for directory in (modules, container.bundle.directory, container.bundle.rootfs):
        assert container.run(cwd=directory).ok().out == "ran\n"
    assert not imported.exists()


def _variables(library: str, modules: Path) -> list[str]:
    return [
        PATH,
        f"LD_PRELOAD={library}",
        f"LD_AUDIT={library}",
        "LD_LIBRARY_PATH=/",
        f"PYTHONPATH={modules}",
        f"PYTHONHOME={modules}",
        f"PYTHONSTARTUP={modules}/startup.py",
        "GCONV_PATH=/",
        "BASH_ENV=/evil",
        "ENV=/evil",
    ]


@pytest.mark.parametrize("hook", [*_KINDS, "none"])
@pytest.mark.parametrize("place", ["/trap.so", "/proc/self/cwd/trap.so", "{host}"])
def test_variables_of_the_image(
    stage: Stage, trap: tuple[Path, Path], python_trap: tuple[Path, Path], place: str, hook: str
) -> None:
    """CVE-2025-23266: LD_PRELOAD and its like in process.env reach neither the runtime nor a hook's program on the host."""
    library, sprung = trap
    modules, imported = python_trap

    def edit(config: Config) -> None:
        config["process"]["env"] = _variables(place.format(host=library), modules)
        if hook != "none":
            add_hook(config, hook, "/bin/true")

    bundle = stage.bundle("true", edit=edit)
    shutil.copy(library, bundle.rootfs / "trap.so")
    stage.container(bundle=bundle).run().ok()
    assert not sprung.exists()
    assert not imported.exists()


def test_variables_of_a_hook(stage: Stage, python_trap: tuple[Path, Path]) -> None:
    """A hook's own env is the hook's: PYTHON* in it change nothing in the runtime, LD_* nothing before its exec."""
    modules, imported = python_trap
    outputs = stage.directory / "env"

    def edit(config: Config) -> None:
        for kind in ("createRuntime", "createContainer", "poststop"):
            script = f"env >> {outputs}"
            add_hook(
                config, kind, "/bin/sh", "-c", script, env=[f"PYTHONPATH={modules}", f"PYTHONHOME={modules}"]
            )

    stage.run("true", edit=edit).ok()
    assert outputs.read_text().count(f"PYTHONPATH={modules}") == 3
    assert not imported.exists()


def _executed(trace: str) -> set[str]:
    """What strace saw executed with success."""
    patterns = (r"execve\(\"([^\"]*)\".* = 0$", r"execveat\(\d+<([^>]*)>.* = 0$")
    return {name for pattern in patterns for name in re.findall(pattern, trace, re.MULTILINE)}


def _traced(stage: Stage, tmp_path: Path, calls: str, *args: str) -> str:
    """The lines of strace about `args` of the command, its children included."""
    log = tmp_path / "strace"
    command = [
        "strace",
        "-f",
        "-y",
        "-s",
        "300",
        "-e",
        f"trace={calls}",
        "-o",
        str(log),
        *stage.runtime.argv(*args),
    ]
    subprocess.run(
        command, check=True, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, timeout=60
    )
    return log.read_text(errors="replace")


def test_programs_that_are_executed(stage: Stage, tmp_path: Path) -> None:
    """CVE-2026-84042: `run` executes itself (the launcher: Python), the sealed init and the user's program, and nothing
    from the PATH of config or caller.
    """
    container = stage.container("true")
    decoys = ("newuidmap", "newgidmap", "criu", "ps", "sh", "mount", "ldconfig", "python3", "readlink", "ip")
    for name in decoys:
        container.bundle.script(f"/decoys/{name}", "#!/bin/sh\necho decoy\n")
    container.bundle.config["process"]["env"] = [f"PATH=/decoys:{container.bundle.rootfs}/decoys:/bin"]
    container.bundle.write()
    trace = _traced(
        stage, tmp_path, "execve,execveat", "run", "--bundle", str(container.bundle.directory), container.id
    )
    programs = _executed(trace)
    init = {name for name in programs if "memfd:ociruntime-init" in name}
    python = {name for name in programs if os.path.basename(name).startswith("python3")}
    assert len(init) == 1, programs
    assert len(python) == (1 if command.why_launcher() else 0), programs
    assert programs - init - python == {stage.runtime.command[0], "/bin/true"}, programs


def test_files_that_are_opened_inside(stage: Stage, tmp_path: Path) -> None:
    """After the clone, the process in the container opens no module, byte code or library of anybody."""
    container = stage.container("true")
    trace = _traced(
        stage,
        tmp_path,
        "execveat,open,openat",
        "run",
        "--bundle",
        str(container.bundle.directory),
        container.id,
    )
    inits = {
        line.split()[0]
        for line in trace.splitlines()
        if "execveat(" in line and "memfd:ociruntime-init" in line
    }
    assert inits
    opened = [
        line
        for line in trace.splitlines()
        if line.split()[0] in inits and "open" in line and " = -1 " not in line
    ]
    bad = re.compile(r"\.(py|pyc|pth|so)\b|python3|site-packages|ld\.so")
    assert [line for line in opened if bad.search(line)] == []


def test_start_hook_is_the_container_s_program(stage: Stage, own_mounts: None) -> None:
    """A startContainer hook runs the image's program with the image's root, also without a mount namespace."""
    for chrooted in (False, True):

        def edit(config: Config, chrooted: bool = chrooted) -> None:
            writable_root(config)
            if chrooted:
                without_namespace(config, "mount")
                config["linux"].pop("maskedPaths")
                config["linux"].pop("readonlyPaths")
            add_hook(config, "startContainer", "/only-inside")

        bundle = stage.bundle("true", edit=edit)
        bundle.script("/only-inside", "#!/bin/sh\ncat /proc/self/mounts >/dev/null; echo ran >/hook-ran\n")
        stage.container(bundle=bundle).run().ok()
        assert (bundle.rootfs / "hook-ran").read_text() == "ran\n"


@pytest.mark.parametrize("verb", ["ps", "compare"])
def test_helpers_are_the_hosts(stage: Stage, tmp_path: Path, verb: str) -> None:
    """ps, nsenter and cat are not looked for in the caller's PATH, where an engine may have anybody's directory."""
    sprung, decoys = tmp_path / "sprung", tmp_path / "decoys"
    decoys.mkdir()
    for name in ("ps", "nsenter", "cat"):
        (decoys / name).write_text(f'#!/bin/sh\ntouch {sprung}\nexec /usr/bin/{name} "$@"\n')
        (decoys / name).chmod(0o755)
    environment = {**ENVIRONMENT, "PATH": f"{decoys}:{ENVIRONMENT['PATH']}"}
    subprocess.run(["cat", "/dev/null"], env=environment, check=True)
    assert sprung.exists(), "the decoys are not first in PATH"
    sprung.unlink()
    if verb == "ps":
        container = stage.in_state("running")
        assert "sleep" in stage.runtime.call("ps", container.id, env=environment).ok().out
    else:
        bundle = stage.bundle("sleep", "100")
        compared = stage.runtime.call("compare", "--with", "runc", str(bundle.directory), env=environment)
        assert "internal error" not in compared.err
        assert "observations are the same" in compared.out
    assert not sprung.exists()
