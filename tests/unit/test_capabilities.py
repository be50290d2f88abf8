# SPDX-License-Identifier: Apache-2.0
"""Which masks linux/capabilities.py plans for the five sets, and what it warns about."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.linux import capabilities

CHOWN, KILL = 1 << 0, 1 << 5
BPF = 1 << 39
EVERYTHING = SimpleNamespace(capabilities=(1 << 64) - 1)
A = ["CAP_CHOWN", "CAP_KILL"]


def config(**sets: Any) -> Node:
    """A config with these capability sets."""
    return Node({"process": {"capabilities": sets, "cwd": "/", "args": ["sh"]}})


def masks(node: Node, host: SimpleNamespace = EVERYTHING) -> tuple[int, ...]:
    """(bounding, effective, permitted, inheritable, ambient) as the planned steps have them."""
    (bounding,) = capabilities.plan_early(node, host)
    (process,) = capabilities.plan_late(node, host)
    assert (bounding.op, process.op) == ("bounding", "capabilities")
    halves = [*bounding.args, *process.args]
    return tuple(low | high << 32 for low, high in zip(halves[::2], halves[1::2], strict=True))


def test_numbers_are_the_kernels() -> None:
    """The table is linux/capability.h: each name has its number there."""
    header = Path("/usr/include/linux/capability.h").read_text(encoding="utf-8")
    defined = {}
    for line in header.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == "#define" and words[1].startswith("CAP_") and words[2].isdigit():
            defined[words[1]] = int(words[2])
    assert len(capabilities.NAMES) == 41
    assert [defined[name] for name in capabilities.NAMES] == list(range(41))


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        ({}, (0, 0, 0, 0, 0)),
        (dict.fromkeys(("bounding", "effective", "permitted"), A), (33, 33, 33, 0, 0)),
        (dict.fromkeys(("bounding", "effective", "permitted", "inheritable", "ambient"), A), (33,) * 5),
        ({"bounding": ["CAP_BPF"]}, (BPF, 0, 0, 0, 0)),
        # what the kernel would refuse is left out
        ({"effective": A, "bounding": A}, (33, 0, 0, 0, 0)),
        ({"effective": A, "permitted": ["CAP_KILL"]}, (0, KILL, KILL, 0, 0)),
        ({"inheritable": A, "bounding": ["CAP_CHOWN"]}, (CHOWN, 0, 0, CHOWN, 0)),
        ({"ambient": A}, (0, 0, 0, 0, 0)),
        ({"ambient": A, "permitted": A, "bounding": A}, (33, 0, 33, 0, 0)),
        ({"ambient": A, "inheritable": A, "bounding": A}, (33, 0, 0, 33, 0)),
        # unknown names
        ({"bounding": ["CAP_NOPE", "CAP_KILL", "cap_chown", "CHOWN"]}, (KILL, 0, 0, 0, 0)),
    ],
)
def test_sets_are_never_wider_than_the_config(sets: dict[str, Any], expected: tuple[int, ...]) -> None:
    """Each set is what the config lists, less what cannot be granted; nothing inheritable comes from us."""
    assert masks(config(**sets)) == expected


def test_all_sets_are_empty_without_capabilities() -> None:
    """A process without capabilities has none, as with runc; without process nothing is planned."""
    assert masks(Node({"process": {"cwd": "/", "args": ["sh"]}})) == (0, 0, 0, 0, 0)
    assert [
        *capabilities.plan_early(Node({}), EVERYTHING),
        *capabilities.plan_late(Node({}), EVERYTHING),
    ] == []


def test_what_the_runtime_lacks_is_a_warning() -> None:
    """A capability that the runtime cannot give is left out of every set and named once per set (R050)."""
    node = config(bounding=A, permitted=A, effective=["CAP_KILL"])
    host = SimpleNamespace(capabilities=CHOWN)
    assert masks(node, host) == (CHOWN, 0, CHOWN, 0, 0)
    found = list(capabilities.warnings(node, host))
    assert [one.pointer for one in found] == [
        "/process/capabilities/bounding",
        "/process/capabilities/effective",
        "/process/capabilities/permitted",
    ]
    assert {one.severity for one in found} == {"warning"}
    assert list(capabilities.warnings(node, EVERYTHING)) == []


def test_a_user_namespace_has_all_capabilities() -> None:
    """In a user namespace of its own init has everything to give, whatever the runtime has on the host."""
    value = {**config(bounding=A).value, "linux": {"namespaces": [{"type": "user"}]}}
    assert masks(Node(value), SimpleNamespace(capabilities=0)) == (33, 0, 0, 0, 0)


_BOTH = "not in both the permitted and the inheritable set"


@pytest.mark.parametrize(
    ("sets", "place", "words"),
    [
        ({"effective": A}, "/process/capabilities/effective", "not in the permitted set"),
        ({"inheritable": A}, "/process/capabilities/inheritable", "not in the bounding set"),
        ({"ambient": A}, "/process/capabilities/ambient", _BOTH),
        ({"ambient": A, "permitted": A, "bounding": A}, "/process/capabilities/ambient", _BOTH),
        ({"ambient": A, "inheritable": A, "bounding": A}, "/process/capabilities/ambient", _BOTH),
    ],
)
def test_warnings_say_why(sets: dict[str, Any], place: str, words: str) -> None:
    """Sets that do not fit together give warnings that name the missing set."""
    (found,) = capabilities.warnings(config(**sets), EVERYTHING)
    assert (found.pointer, found.severity) == (place, "warning")
    assert found.reason == f"CAP_CHOWN CAP_KILL cannot be granted: they are {words}"


@pytest.mark.parametrize("name", ["bounding", "effective", "inheritable", "permitted", "ambient"])
def test_each_set_warns(name: str) -> None:
    """What the runtime lacks, and what is unknown, is a warning at the set or the name, whichever set it is in."""
    sets = {key: ["CAP_CHOWN"] for key in ("bounding", "effective", "inheritable", "permitted", "ambient")}
    node = config(**{**sets, name: ["CAP_CHOWN", "CAP_KILL", "CAP_NOPE"]})
    host = SimpleNamespace(capabilities=CHOWN)
    (lacking,) = capabilities.warnings(node, host)
    assert (lacking.pointer, lacking.severity) == (f"/process/capabilities/{name}", "warning")
    assert lacking.reason == "CAP_KILL cannot be granted: the runtime does not have them"
    (unknown,) = capabilities.check(node)
    assert (unknown.pointer, unknown.severity) == (f"/process/capabilities/{name}/2", "warning")
    assert masks(node, host) == (CHOWN,) * 5


def test_no_warning_where_all_is_granted() -> None:
    """Ambient ones that are permitted and inheritable need no warning."""
    sets = dict.fromkeys(("bounding", "permitted", "inheritable", "ambient"), A)
    assert list(capabilities.warnings(config(**sets), EVERYTHING)) == []


def test_unknown_names_are_warnings() -> None:
    """A name that is not a capability is a warning of check, not an error (R049)."""
    (found,) = capabilities.check(config(bounding=["CAP_KILL", "CAP_NOPE"]))
    assert (found.pointer, found.severity) == ("/process/capabilities/bounding/1", "warning")
    assert "CAP_NOPE" in found.reason
