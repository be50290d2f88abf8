# SPDX-License-Identifier: Apache-2.0
"""Which modules does each verb load while it really works? tests/unit/test_imports.py has the lists.

The verbs are called in an interpreter that was started as the launcher starts it, which at its end writes the names
in sys.modules to a file (its standard streams belong to the container).
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import runtime_under_test
from tests.unit.test_imports import (
    DEAR,
    DELETE,
    EXEC,
    FRONT,
    LEAN,
    NATIVE,
    PHASE,
    REPOSITORY,
    REQUEST,
    SIGNAL,
    STATE,
    UNDO,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.stage import Stage

DRIVER = """
import sys
empty = set(sys.modules)
sys.path += {path!r}
from ociruntime.cli import main
code = main({words!r})
with open({report!r}, "w") as file:
    file.write(" ".join(sorted(set(sys.modules) - empty)))
sys.exit(code)
"""


def loaded_by(scratch: Path, *words: str, stdin: int = subprocess.DEVNULL) -> set[str]:
    """The modules that `ociruntime WORDS` loaded; it must succeed."""
    report = scratch / "modules"
    path = [REPOSITORY, sysconfig.get_paths()["platlib"]]
    program = DRIVER.format(path=path, words=list(words), report=str(report))
    argv = [sys.executable, "-I", "-S", "-X", "utf8", "-c", program]
    with open(scratch / "output", "w+b") as output:
        done = subprocess.run(argv, stdin=stdin, stdout=output, stderr=output, check=False)
        output.seek(0)
        assert done.returncode == 0, output.read()
    return set(report.read_text().split())


def ours(loaded: set[str]) -> set[str]:
    """The modules of the package beyond what every verb loads."""
    return {name for name in loaded if name.startswith("ociruntime")} - FRONT


def test_a_container_s_life_loads_nothing_dear(stage: Stage) -> None:
    """create, start, state, kill, delete and run of a plain container: lean modules, and the state verbs' exact lists."""
    if runtime_under_test() != "ociruntime":
        pytest.skip("RUNTIME names a peer: the modules are ours")
    container = stage.container("sleep", "100")
    root = ["--root", str(stage.runtime.root)]
    bundle = ["--bundle", str(container.bundle.directory)]
    loaded = {"create": loaded_by(stage.directory, *root, "create", *bundle, container.id)}
    container.created = True
    for verb in ("state", "start"):
        loaded[verb] = loaded_by(stage.directory, *root, verb, container.id)
    loaded["state of a running container"] = loaded_by(stage.directory, *root, "state", container.id)
    loaded["exec"] = loaded_by(stage.directory, *root, "exec", container.id, "true")
    loaded["kill"] = loaded_by(stage.directory, *root, "kill", container.id, "KILL")
    container.wait_for("stopped")
    loaded["list"] = loaded_by(stage.directory, *root, "list")
    loaded["delete"] = loaded_by(stage.directory, *root, "delete", container.id)
    container.created = False
    loaded["run"] = loaded_by(stage.directory, *root, "run", *bundle_of(stage), container.id + "-run")

    for verb, names in loaded.items():
        assert not names & DEAR, verb
        foreign = {name for name in names if not name.startswith("ociruntime")}
        assert foreign <= LEAN | NATIVE, verb
    for verb in ("state", "state of a running container", "kill", "list"):
        more = {
            "kill": {*SIGNAL, "ociruntime.signals"},
            "list": {"ociruntime.linux", "ociruntime.linux.accounts"},
        }.get(verb, PHASE)
        assert ours(loaded[verb]) == {*STATE, *more, f"ociruntime.verbs.{verb.split()[0]}"}, verb
    native = {*NATIVE, "ociruntime.native._shim.lib"}
    assert ours(loaded["exec"]) - native == {*STATE, *PHASE, *REQUEST, *EXEC, "ociruntime.verbs.exec"}
    assert ours(loaded["delete"]) >= STATE | UNDO | DELETE
    assert "ociruntime.ops" in loaded["delete"]
    assert "ociruntime.step" not in loaded["delete"]
    assert not any("mounts" in name or "plan" in name for name in loaded["delete"] | loaded["start"])


def test_who_sits_at_a_terminal_pays_for_the_copying(stage: Stage) -> None:
    """Exec and run load foreground/streams.py when one of 0, 1, 2 is a terminal, and nothing dear for it."""
    if runtime_under_test() != "ociruntime":
        pytest.skip("RUNTIME names a peer: the modules are ours")
    container = stage.running()
    root = ["--root", str(stage.runtime.root)]
    words = {
        "exec": ["exec", container.id, "true"],
        "run": ["run", *bundle_of(stage), container.id + "-run"],
    }
    master, terminal = os.openpty()
    try:
        for verb, rest in words.items():
            plain = loaded_by(stage.directory, *root, verb, *rest[1:])
            more = loaded_by(stage.directory, *root, verb, *rest[1:], stdin=terminal)
            assert more - plain == {"ociruntime.foreground.streams", "termios"}, verb
    finally:
        os.close(master)
        os.close(terminal)
    container.delete("--force").ok()


def bundle_of(stage: Stage) -> list[str]:
    """The flag that names a fresh bundle of /bin/true."""
    return ["--bundle", str(stage.bundle("true").directory)]
