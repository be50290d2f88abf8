# SPDX-License-Identifier: Apache-2.0
"""What holds the house up: purity, sizes, names, and the linters."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.unit.house import GENERATED, MODULES, REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

LONGEST_FILE = 500
LONGEST_FUNCTION = 60
DRAWERS = {"utils", "util", "common", "helpers", "helper", "misc", "tools", "shared", "base", "core"}

# What the audit hook of test_check_and_plan_are_pure lets through: nothing that leaves the process.
PURE = r"""
import json, sys
sys.path[:0] = [{repository!r}]
from ociruntime.check import check
from ociruntime.plan import order
from ociruntime.bundle import Bundle
from ociruntime.host import Host
from ociruntime.linux.cgroups.layout import Layout

def everything(raw):
    bundle = Bundle("/nonexistent", "/nonexistent/config.json", raw)
    found = [str(violation) for violation in check.violations(bundle.config)]
    v1 = {{name: "/sys/fs/cgroup/" + name for name in ("cpu", "cpuset", "devices", "freezer", "memory", "pids")}}
    own = {{name: "/" for name in ("", *v1)}}
    for layout in (Layout("v2", v2="/sys/fs/cgroup", own=own, v2_controllers=["cpu", "cpuset", "memory", "pids"]), Layout("v1", v1, own=own)):
        made = order.make(bundle, Host(layout), order.Options(container_id="x"))
        found += [step.describe() for step in made.steps]
    return found

raws = [open(path, "rb").read() for path in {paths!r}]
first = [everything(raw) for raw in raws]  # imports what is imported late
seen = []
allowed = ("object.__", "sys._getframe", "code.__new__", "builtins.id")
armed = True
def hook(event, arguments):
    if armed and not event.startswith(allowed):
        seen.append((event, repr(arguments)[:100]))
sys.addaudithook(hook)
second = [everything(raw) for raw in raws]
{extra}
armed = False
assert first == second
print(json.dumps({{"seen": seen, "steps": [len(steps) for steps in first]}}))
"""


def examples() -> list[str]:
    """The config.json of every valid bundle example."""
    found = []
    for directory, names, files in os.walk(os.path.join(REPOSITORY, "bundle-examples")):
        names[:] = [name for name in names if name not in {"invalid", "rootfs"}]
        if "config.json" in files:
            found.append(os.path.join(directory, "config.json"))
    return sorted(found)


def purity(extra: str = "") -> dict[str, list[object]]:
    """What check and plan did that an audit hook can see, over all examples."""
    program = PURE.format(repository=REPOSITORY, paths=examples(), extra=extra)
    done = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_check_and_plan_are_pure() -> None:
    """No file, process, socket or import is touched while a config is checked and planned."""
    report = purity()
    assert report["seen"] == []
    assert len(report["steps"]) >= 3
    assert all(isinstance(count, int) and count > 40 for count in report["steps"])


def test_the_purity_test_sees_a_file_access() -> None:
    """The hook would tell: an os.stat-like look at a file, an open and a process are seen."""
    events = [event for event, _ in purity("import os; os.listdir('/'); open('/dev/null').close()")["seen"]]  # type: ignore[misc]
    assert {"os.listdir", "open"} <= set(events)


def sources() -> list[str]:
    """Every Python and C source below version control's eye, tests and examples included."""
    found = []
    for top in ("ociruntime", "tests", "bundle-examples", "scripts", "launcher"):
        for directory, names, files in os.walk(os.path.join(REPOSITORY, top)):
            names[:] = [name for name in names if name not in {"__pycache__", "rootfs", "build"}]
            found += [
                os.path.join(directory, name)
                for name in files
                if name.endswith((".py", ".c", ".h", ".sh")) and name not in GENERATED
            ]
    return sorted(found)


def offenders(paths: Iterable[str], faults: Callable[[str], Iterable[str]]) -> list[str]:
    """One line for each fault that a rule finds in the text of a file."""
    found = []
    for path in paths:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        found += [f"{os.path.relpath(path, REPOSITORY)}: {fault}" for fault in faults(text)]
    return found


PYTHON_SOURCES = [path for path in sources() if path.endswith(".py")]


def test_files_are_small_and_licensed() -> None:
    """At most 500 lines, the licence near the top."""

    def faults(text: str) -> Iterator[str]:
        lines = text.splitlines()
        if len(lines) > LONGEST_FILE:
            yield f"{len(lines)} lines"
        if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:3]):
            yield "no licence"

    assert offenders(sources(), faults) == []


def test_files_are_named() -> None:
    """No drawer for odds and ends."""
    stems = {path: os.path.basename(path).partition(".")[0].removeprefix("test_") for path in sources()}
    assert [path for path, stem in stems.items() if stem in DRAWERS] == []


def test_functions_are_short() -> None:
    """Functions of the package are below 60 lines."""

    def faults(text: str) -> Iterator[str]:
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    yield f"{node.name}: {length} lines"

    assert offenders(MODULES.values(), faults) == []


def test_modules_say_what_for() -> None:
    """A docstring on every module, and annotations that cost nothing."""

    def faults(text: str) -> Iterator[str]:
        tree = ast.parse(text)
        if not ast.get_docstring(tree):
            yield "no docstring"
        futures = [
            node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        ]
        if len(tree.body) > 1 and not futures:
            yield "from __future__ import annotations"

    # the package itself imports nothing, not even this
    assert offenders((path for name, path in MODULES.items() if name != "ociruntime"), faults) == []
    with open(MODULES["ociruntime"], encoding="utf-8") as file:
        assert ast.get_docstring(ast.parse(file.read()))


def test_nothing_is_left_undone() -> None:
    """No note to self, no swallowed exception, no function without a body."""
    marks = "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK"))

    def faults(text: str) -> Iterator[str]:
        yield from re.findall(rf"\b({marks})\b", text)
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.ExceptHandler)
                and len(node.body) == 1
                and isinstance(node.body[0], ast.Pass)
            ):
                yield f"line {node.lineno}: a swallowed exception"

    assert offenders(PYTHON_SOURCES, faults) == []


def test_every_test_says_what_is_promised() -> None:
    """Each test function has a docstring."""

    def faults(text: str) -> Iterator[str]:
        for node in ast.walk(ast.parse(text)):
            is_test = isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
            if is_test and not ast.get_docstring(node):
                yield node.name

    paths = [path for path in PYTHON_SOURCES if "/tests/" in path and "test_" in path]
    assert len(paths) > 100
    assert offenders(paths, faults) == []


def run_tool(name: str, package: str, *arguments: str) -> None:
    """Run a linter of the interpreter's own environment, or of PATH; its complaints are the failure's text."""
    beside = os.path.join(os.path.dirname(sys.executable), name)
    program = beside if os.path.exists(beside) else shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed ({package})")
    done = subprocess.run(
        [program, *arguments],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"\n{done.stdout}"


PIP = "pip install -e '.[test]'"


def test_ruff_finds_nothing() -> None:
    """`ruff check` is clean over the whole repository."""
    run_tool("ruff", PIP, "check", ".")


def test_ruff_would_change_nothing() -> None:
    """`ruff format` has been run."""
    run_tool("ruff", PIP, "format", "--check", ".")


def test_mypy_strict_finds_nothing() -> None:
    """`mypy --strict` over the package is clean."""
    run_tool("mypy", PIP)


def test_codespell_finds_nothing() -> None:
    """No known misspelling in code and docs."""
    run_tool("codespell", PIP, "ociruntime", "tests", "docs", "launcher")


def test_clang_format_would_change_nothing() -> None:
    """The C sources are formatted by the committed .clang-format."""
    native = sorted(path for path in sources() if path.endswith((".c", ".h")))
    assert native
    run_tool("clang-format", "apt-get install clang-format", "--dry-run", "--Werror", *native)
