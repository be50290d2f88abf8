# SPDX-License-Identifier: Apache-2.0
"""ociruntime/linux/paths.py: masked and read-only paths."""

from __future__ import annotations

import pytest

from ociruntime.config import Node
from ociruntime.linux import paths


def config(masked: list[str], readonly: list[str], namespaces: str = "mount") -> Node:
    """A config with these paths and namespaces."""
    entries = [{"type": name} for name in namespaces.split()]
    return Node({"linux": {"namespaces": entries, "maskedPaths": masked, "readonlyPaths": readonly}})


def test_readonly_comes_before_masked() -> None:
    """A mask below a read-only path is on top of it, and a missing path is not a failure."""
    steps = list(paths.plan(config(["/proc/kcore", "/sys/firmware"], ["/proc/sys"])))
    assert [(step.op, step.args, step.pointer) for step in steps] == [
        ("readonly", ("/proc/sys",), "/linux/readonlyPaths/0"),
        ("mask", ("/proc/kcore", None), "/linux/maskedPaths/0"),
        ("mask", ("/sys/firmware", None), "/linux/maskedPaths/1"),
    ]


def test_a_path_that_is_listed_twice_is_covered_once() -> None:
    """Also with other slashes; `..` is another path, as it may follow a link."""
    listed = ["/a/b", "/a//b", "/a/./b/", "/a/c/../b", "/a/b"]
    assert [step.args[0] for step in paths.plan(config(listed, []))] == ["/a/b", "/a/c/../b"]
    assert [step.pointer for step in paths.plan(config([], listed))] == [
        "/linux/readonlyPaths/0",
        "/linux/readonlyPaths/3",
    ]


def test_nothing_to_do_gives_no_step() -> None:
    """A config without these properties has no such steps and no violation."""
    assert list(paths.plan(Node({}))) == []
    assert list(paths.check(Node({}))) == []
    assert list(paths.check(config([], [], ""))) == []


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (config(["/proc/kcore"], ["/proc/sys"]), []),
        (config(["proc/kcore"], []), [("/linux/maskedPaths/0", "R195")]),
        (config(["/a", ""], []), [("/linux/maskedPaths/1", "R195")]),
        (config([], ["./x"]), [("/linux/readonlyPaths/0", "R196")]),
        (config(["/a"], [], "pid"), [("/linux/maskedPaths", "R195")]),
        (config([], ["/a"], "pid"), [("/linux/readonlyPaths", "R196")]),
    ],
)
def test_check(node: Node, expected: list[tuple[str, str]]) -> None:
    """Relative paths, and paths without a mount namespace, are found."""
    assert [(violation.pointer, violation.rule) for violation in paths.check(node)] == expected
