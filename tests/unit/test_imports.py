# SPDX-License-Identifier: Apache-2.0
"""Which modules does each verb load? An exact list, because start-up time is a design constraint (DESIGN section 4).

The real interpreter is started as the launcher starts it (-I -S) and says what is in sys.modules at the end,
beyond what an empty program has. A new name here is a decision: is it worth its milliseconds in every call?
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Never on the path of a verb that engines call: each costs 3 ms and more.
DEAR = {
    "argparse", "asyncio", "contextlib", "dataclasses", "enum", "inspect", "json", "jsonschema", "logging", "pathlib",
    "pyroute2", "re", "shutil", "signal", "socket", "subprocess", "tempfile", "threading", "typing",
}  # fmt: skip

# What the standard library may give to every verb.
LEAN = {
    "_json", "_signal", "_socket", "_stat", "_struct", "_collections_abc", "_operator", "abc", "_abc", "errno", "fcntl",
    "genericpath", "os", "os.path", "posixpath", "resource", "select", "stat", "struct", "time", "__future__",
}  # fmt: skip

# What cffi brings, for verbs that make or start a container.
NATIVE = {"_cffi_backend", "ociruntime.native", "ociruntime.native._shim", "_shim.lib", "_shim"}

FRONT = {
    "ociruntime",
    "ociruntime.cli",
    "ociruntime.errors",
    "ociruntime.cli.flags",
    "ociruntime.jsontext",
    "ociruntime.cli.log",
    "ociruntime.verbs",
}
VERSION = {
    "ociruntime.config",
    "ociruntime.descriptors",
    "ociruntime.inspect",
    "ociruntime.inspect.features",
    "ociruntime.linux",
    "ociruntime.linux.seccomp_compiler",  # the version of libseccomp
    "ociruntime.native",
    "ociruntime.native._seccomp",
    "ociruntime.native.full_python",
}
STATE = {
    "ociruntime.config",
    "ociruntime.container",
    "ociruntime.descriptors",
    "ociruntime.host_path",
    "ociruntime.identity",
    "ociruntime.statedir",
    "ociruntime.stateroot",
}

# Which of created and running a living container is.
PHASE = {"ociruntime.progress"}

UNDO = {
    "ociruntime.launch",
    "ociruntime.launch.context",
    "ociruntime.launch.undo",
    "ociruntime.journal",
    "ociruntime.operations.recover",
}
DELETE = {"ociruntime.operations", "ociruntime.operations.delete", "ociruntime.verbs.delete"}
SIGNAL = {"ociruntime.operations", "ociruntime.operations.signal"}

PS = {
    "ociruntime.linux",
    "ociruntime.linux.cgroups",
    "ociruntime.linux.cgroups.remove",
    "ociruntime.operations",
    "ociruntime.operations.ps",
}
EVENTS = {
    "ociruntime.linux",
    "ociruntime.linux.cgroups",
    "ociruntime.linux.cgroups.stats",
    "ociruntime.operations",
    "ociruntime.operations.events",
}

# Which process exec runs: what reading its flags needs.
REQUEST = {
    "ociruntime.operations.exec_document",
    "ociruntime.linux",
    "ociruntime.foreground",
    "ociruntime.foreground.forwarding",
    "ociruntime.operations",
}

PAGES = {"ociruntime.plan.html", "ociruntime.plan.page", "ociruntime.plan.style"}

# How it gets into the container: every health probe loads this, and nothing else.
EXEC = {
    "ociruntime.linux.annotations",
    "ociruntime.linux.capabilities",
    "ociruntime.linux.credentials",
    "ociruntime.linux.process",
    "ociruntime.linux.rlimits",
    "ociruntime.ops",
    "ociruntime.signals",
    "ociruntime.step",
    "ociruntime.check",
    "ociruntime.launch",
    "ociruntime.plan",
    "ociruntime.check._config_validator",
    "ociruntime.plan.exec_order",
    "ociruntime.operations.exec",
    "ociruntime.host",
    "ociruntime.plan.entering",
    "ociruntime.launch.launch",
    "ociruntime.linux.cgroups",
    "ociruntime.linux.cgroups.membership",
    "ociruntime.linux.cgroups.layout",
    "ociruntime.linux.namespace_entries",
    "ociruntime.linux.namespaces",
    "ociruntime.native.encode",
    "ociruntime.operations.pid_file",
    "ociruntime.plan.shared_order",
    "ociruntime.launch.context",
    "ociruntime.check.schema",
    "ociruntime.native.spawn",
    "ociruntime.launch.trace",
}

DRIVER = """
import sys
empty = set(sys.modules)
sys.path += {path!r}
from ociruntime.cli import main
code = main({words!r})
sys.stderr.write("\\n%d %s\\n" % (code, " ".join(sorted(set(sys.modules) - empty))))
"""


def loaded_by(*words: str, cwd: Path | None = None) -> tuple[int, set[str]]:
    """The exit code of `ociruntime WORDS`, and the modules that it loaded."""
    program = DRIVER.format(path=[REPOSITORY, sysconfig.get_paths()["platlib"]], words=list(words))
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", program],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    code, _, names = done.stderr.splitlines()[-1].partition(" ")
    return int(code), set(names.split())


def test_the_list_sees_what_is_loaded() -> None:
    """A verb that may use json shows it: the driver does not hide anything."""
    code, loaded = loaded_by("validate", REPOSITORY + "/bundle-examples/readonly")
    assert code == 0
    assert "json.decoder" in loaded


@pytest.mark.parametrize(
    ("words", "own"),
    [
        (["--version"], {*VERSION}),
        (["features"], None),
        (["state", "nobody"], {*STATE, "ociruntime.verbs.state"}),
        (["kill", "nobody"], {*STATE, "ociruntime.signals", "ociruntime.verbs.kill"}),
        (["delete", "nobody"], {*STATE, *DELETE}),
        (["delete", "--force", "nobody"], {*STATE, *DELETE}),
        (["start", "nobody"], {*STATE, "ociruntime.verbs.start"}),
        (["pause", "nobody"], {*STATE, *SIGNAL, "ociruntime.verbs.pause"}),
        (["resume", "nobody"], {*STATE, *SIGNAL, "ociruntime.verbs.resume"}),
        (["ps", "nobody"], {*STATE, *PS, "ociruntime.verbs.ps"}),
        (["events", "nobody"], {*STATE, *EVENTS, "ociruntime.verbs.events"}),
        (["list"], {*STATE, "ociruntime.linux", "ociruntime.linux.accounts", "ociruntime.verbs.list"}),
        (["exec", "nobody", "true"], {*STATE, *REQUEST, "ociruntime.verbs.exec"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_verb_loads_no_more_than_its_list(words: list[str], own: set[str] | None, tmp_path: Path) -> None:
    """An unknown container takes a verb through its imports: the spine of the state, and nothing else of ours."""
    _, loaded = loaded_by("--root", str(tmp_path), *words)
    assert not loaded & DEAR
    assert {name for name in loaded if not name.startswith("ociruntime")} <= LEAN | NATIVE
    ours = {name for name in loaded if name.startswith("ociruntime")}
    assert ours >= FRONT
    if own is not None:
        assert ours - FRONT == own


@pytest.mark.parametrize("verb", ["create", "run"])
def test_create_loads_nothing_dear(verb: str, tmp_path: Path) -> None:
    """Checking and planning a container needs no json, re, typing; the subjects that few configs have stay out."""
    assert loaded_by("spec", "-b", str(tmp_path))[0] == 0
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    config["process"]["terminal"] = False
    path.write_text(json.dumps(config))
    # --root below a file: the create fails at its first step, after everything was checked and planned
    code, loaded = loaded_by("--root", "/dev/null/x", verb, "-b", str(tmp_path), "x")
    assert code == 1
    assert not loaded & DEAR
    assert {name for name in loaded if not name.startswith("ociruntime")} <= LEAN | NATIVE
    assert "ociruntime.linux.mounts" in loaded
    rare = {"console", "terminal", "seccomp", "lsm", "intelrdt", "scheduling", "idmap"}
    assert not {name for name in loaded if name.rpartition(".")[2] in rare}
    assert not {name for name in loaded if name.startswith("ociruntime.launch.trace_")} | (loaded & PAGES)


def test_pages_are_loaded_only_when_they_are_asked_for() -> None:
    """Neither the other formats of `plan` nor a trace in Chrome's format load what writes HTML."""
    bundle = f"{REPOSITORY}/bundle-examples/readonly"
    for wanted in ("text", "json"):
        assert not loaded_by("plan", "--format", wanted, bundle)[1] & PAGES
    code, loaded = loaded_by("plan", "--format", "html", bundle)
    assert code == 0
    assert loaded >= PAGES
    assert "html" not in loaded


def test_importing_the_package_costs_nothing() -> None:
    """`import ociruntime` loads one module; its public names come when they are used."""
    program = (
        f"import sys; sys.path.append({REPOSITORY!r}); empty = set(sys.modules); import ociruntime;"
        "print(*sorted(set(sys.modules) - empty)); ociruntime.InvalidConfig; print('ociruntime.errors' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.replace("__future__ ", "") == "ociruntime\nTrue\n"
