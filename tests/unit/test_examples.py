# SPDX-License-Identifier: Apache-2.0
"""Is each bundle example complete, valid without a warning, and planned as its golden plan says?"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from ociruntime.check import check
from ociruntime.plan import order
from ociruntime.verbs.plan import PLACEHOLDER, as_document
from tests.unit import golden

REPOSITORY = Path(__file__).parents[2]
# What issue and README promise; a directory more is welcome, one less is a broken promise.
PROMISED = {
    "hello", "busybox", "debian", "limits", "hooks", "readonly", "devices", "sysctl", "joined-namespaces", "no-network",
    "scheduling", "apparmor",
}  # fmt: skip
INVALID_AT_LEAST = 30

each = pytest.mark.parametrize("example", golden.names())


def _read(example: str, name: str) -> str:
    return (golden.EXAMPLES / example / name).read_text(encoding="utf-8")


def test_the_promised_examples_are_there() -> None:
    """One directory for each subject that is promised, and at least 30 invalid configs."""
    assert set(golden.names()) >= PROMISED
    assert len(list((golden.EXAMPLES / "invalid").glob("*/config.json"))) >= INVALID_AT_LEAST


@each
def test_an_example_is_complete(example: str) -> None:
    """A README that shows how to run it and what it prints, the output, and the plan."""
    readme, output = _read(example, "README.md"), _read(example, "output.txt")
    assert readme.startswith(f"# {example}: ")
    assert f"sudo ociruntime run -b bundle-examples/{example} " in readme
    shown = "".join(f"    {line}" for line in output.splitlines(keepends=True))
    assert output.endswith("\n")
    assert shown in readme, "README.md does not show output.txt"
    assert f"[{example}]({example})" in _read(".", "README.md")
    assert (golden.EXAMPLES / example / "plan.txt").is_file()


@each
def test_an_example_is_valid(example: str) -> None:
    """Nothing to object to and nothing to warn about, by schema and by subjects."""
    found = check.violations(golden.load(example).config)
    assert [(violation.pointer, violation.reason) for violation in found] == []


@each
def test_a_plan_as_json_names_arguments(example: str) -> None:
    """Each init step has its arguments twice: in order, and by name (docs/internals/plan.md)."""
    made = order.make(golden.load(example), golden.MACHINES["plan.txt"], order.Options(PLACEHOLDER))
    steps = json.loads(json.dumps(as_document("config.json", made)))["steps"]
    ops = [step for step in steps if step["where"] == "init"]
    assert len(ops) > 20
    for step in steps:
        assert ("arguments" in step) == (step["where"] == "init")
    for step in ops:
        assert list(step["arguments"].values()) == step["args"]
    users = [step["arguments"] for step in ops if step["op"] == "user"]
    assert users
    assert all(user.keys() == {"uid", "gid"} for user in users)


@each
def test_an_example_has_its_golden_plan(example: str) -> None:
    """The plan on the described machines is the committed one, line by line."""
    for path in golden.files(example):
        assert (
            golden.text(example, golden.MACHINES[path.name]).splitlines() == path.read_text().splitlines()
        ), "if the change is meant: python3 -m tests.unit.golden --write"


@each
def test_no_golden_plan_is_left_over(example: str) -> None:
    """Every plan*.txt belongs to a machine that is described."""
    assert sorted((golden.EXAMPLES / example).glob("plan*")) == sorted(golden.files(example))


@each
def test_every_part_of_an_example_is_behind_a_step(example: str) -> None:
    """Each step's pointer leads into the config, and no part of the config is without a step."""
    bundle = golden.load(example)
    steps = order.make(bundle, golden.MACHINES["plan.txt"], order.Options(container_id=PLACEHOLDER)).steps
    behind = {step.pointer.split("/")[1] for step in steps if step.pointer}
    # the version and the annotations are said to readers of the config and the state: no step does anything with them
    assert set(json.loads(bundle.raw)) - {"ociVersion", "annotations"} == behind


def test_root_file_systems_are_not_committed() -> None:
    """Of an example's root only hello's four links are under version control."""
    if not (REPOSITORY / ".git").exists():
        listed = ""  # an unpacked sdist: nothing is under version control here
    else:
        listed = subprocess.run(
            ["git", "-c", f"safe.directory={REPOSITORY}", "ls-files", "bundle-examples"],
            cwd=REPOSITORY, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    roots = [line for line in listed.splitlines() if "/rootfs/" in line]
    assert {os.path.dirname(line) for line in roots} <= {"bundle-examples/hello/rootfs"}
    assert len(roots) <= 4


def test_a_changed_plan_is_noticed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command behind the golden plans names the files that differ, and fails."""
    assert golden.main(write=False) == 0
    monkeypatch.setattr(golden, "PLACEHOLDER", "other")
    assert golden.main(write=False) == 1
    named = capsys.readouterr().out.splitlines()
    assert "bundle-examples/hello/plan.txt" in named
    assert not [line for line in named if not re.fullmatch(r"bundle-examples/[a-z-]+/plan(-v2)?\.txt", line)]


def test_every_subject_has_a_unit_test() -> None:
    """Each module below ociruntime/linux is imported by a test of tests/unit other than the general ones."""
    tests = "".join(
        path.read_text(encoding="utf-8")
        for path in (REPOSITORY / "tests/unit").glob("test_*.py")
        if path.name not in {"test_house.py", "test_imports.py"}
    )
    modules = [
        path.stem for path in (REPOSITORY / "ociruntime/linux").glob("*.py") if path.stem != "__init__"
    ]
    assert len(modules) > 15
    imported = set(
        re.findall(r"\w+", " ".join(re.findall(r"from ociruntime\.linux[^\n(]*(?:\([^)]*\)|[^\n]*)", tests)))
    )
    # a part of mounts, and tested with it; the others are shown by what they do to real processes
    assert sorted(set(modules) - imported) == ["cgroup_mounts", "descriptor_limit", "hooks"]
