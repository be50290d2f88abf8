# SPDX-License-Identifier: Apache-2.0
"""Which limits linux/rlimits.py refuses, and what it sets on a real process."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.config import Node
from ociruntime.launch.context import Context
from ociruntime.linux import rlimits

if TYPE_CHECKING:
    from collections.abc import Iterator

INFINITY = 2**64 - 1


def config(*limits: tuple[str, int, int]) -> Node:
    """A config with these (type, soft, hard)."""
    return Node({"process": {"rlimits": [{"type": t, "soft": s, "hard": h} for t, s, h in limits]}})


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([("RLIMIT_NOFILE", 1, 2)], []),
        ([(name, 0, INFINITY) for name in rlimits.TYPES], []),
        ([("RLIMIT_X", 1, 2)], [("/process/rlimits/0/type", "R044")]),
        ([("RLIMIT_NLIMITS", 1, 2)], [("/process/rlimits/0/type", "R044")]),
        (
            [("RLIMIT_CORE", 1, 2), ("RLIMIT_CPU", 1, 2), ("RLIMIT_CORE", 1, 2)],
            [("/process/rlimits/2/type", "R047")],
        ),
        ([("RLIMIT_CORE", 3, 2)], [("/process/rlimits/0/soft", "R092")]),
        ([("RLIMIT_CORE", INFINITY, 2)], [("/process/rlimits/0/soft", "R092")]),
    ],
)
def test_check(limits: list[tuple[str, int, int]], expected: list[tuple[str, str]]) -> None:
    """Unknown and repeated types and a soft limit above the hard one are violations."""
    assert [(one.pointer, one.rule) for one in rlimits.check(config(*limits))] == expected


def test_types_are_all_of_the_kernels() -> None:
    """Every limit of getrlimit(2) is known, and Python knows the number of all but RLIMIT_LOCKS."""
    heading, *known = Path("/proc/self/limits").read_text().splitlines()
    assert heading.startswith("Limit")
    assert len(rlimits.TYPES) == len(known) == 16
    assert [name for name in rlimits.TYPES if not hasattr(resource, name)] == ["RLIMIT_LOCKS"]


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process to set limits on."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def apply(child: subprocess.Popen[bytes], *limits: tuple[str, Any, Any]) -> None:
    """Carry out the planned steps on the child."""
    context = Context("c", "/bundle", "/state", Node({}))
    context.pid = child.pid
    for step in rlimits.plan(config(*limits), None):
        rlimits.apply(step, context)


def shown(child: subprocess.Popen[bytes], name: str) -> list[str]:
    """Soft and hard as the kernel shows them in /proc/PID/limits."""
    for line in Path(f"/proc/{child.pid}/limits").read_text().splitlines():
        if line.startswith(name + " "):
            return line[len(name) :].split()[:2]
    raise AssertionError(f"no limit {name}")


def test_apply_sets_soft_and_hard(child: subprocess.Popen[bytes]) -> None:
    """The kernel shows what the config says (R045, R046); the runtime's own limits stay."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    apply(child, ("RLIMIT_CORE", 5, 6), ("RLIMIT_LOCKS", 7, 8), ("RLIMIT_NOFILE", 9, 9))
    assert shown(child, "Max core file size") == ["5", "6"]
    assert shown(child, "Max file locks") == ["7", "8"]
    assert shown(child, "Max open files") == ["9", "9"]
    assert resource.getrlimit(resource.RLIMIT_CORE) == before


def test_the_largest_numbers_arrive(child: subprocess.Popen[bytes]) -> None:
    """Values above 2^63, which Python's module takes as negative, arrive; 2^64-1 is infinity."""
    _, hard = resource.prlimit(child.pid, resource.RLIMIT_CORE)
    if hard != resource.RLIM_INFINITY:
        pytest.skip("the hard limit of core files is not infinite here: run with `ulimit -Hc unlimited`")
    apply(child, ("RLIMIT_CORE", 3, INFINITY))
    assert shown(child, "Max core file size") == ["3", "unlimited"]
    apply(child, ("RLIMIT_CORE", 2**63, 2**63 + 5))
    assert shown(child, "Max core file size") == [str(2**63), str(2**63 + 5)]


def test_a_refusal_is_an_oserror(child: subprocess.Popen[bytes]) -> None:
    """EINVAL, of which Python makes a ValueError, stays an error number for the message."""
    with pytest.raises(OSError, match="exceeds") as caught:
        apply(child, ("RLIMIT_CORE", 2, 1))
    assert caught.value.errno == 22


def test_steps_say_what_they_set() -> None:
    """The plan's text shows infinity as a word and points at the entry."""
    (step,) = rlimits.plan(config(("RLIMIT_CORE", 0, INFINITY)), None)
    assert step.pointer == "/process/rlimits/0"
    assert step.describe() == "set rlimit RLIMIT_CORE soft 0 hard unlimited"


@pytest.mark.parametrize(
    ("soft", "hard", "passed", "early", "late"),
    [
        (8, 8, 0, [(8, 8)], []),
        (7, 7, 0, [], [(7, 7)]),
        (0, 0, 0, [], [(0, 0)]),
        (0, INFINITY, 0, [(8, INFINITY)], [(0, INFINITY)]),
        (100, 1000, 92, [(100, 1000)], []),
        (100, 1000, 93, [(101, 1000)], [(100, 1000)]),
        (100, 100, 93, [], [(100, 100)]),
    ],
)
def test_a_small_limit_of_descriptors_comes_last(
    soft: int, hard: int, passed: int, early: list[tuple[int, int]], late: list[tuple[int, int]]
) -> None:
    """Until then init has what it needs beside what is passed on; another limit is set once, whatever it is."""
    node = config(("RLIMIT_NOFILE", soft, hard), ("RLIMIT_CORE", 0, 0))

    def pairs(steps: Iterator[Any]) -> list[tuple[int, int]]:
        return [(step.args["soft"], step.args["hard"]) for step in steps]

    assert pairs(rlimits.plan(node, None, passed)) == [*early, (0, 0)]
    assert pairs(rlimits.plan_last(node, passed, by_init=False)) == late
    by_init: list[Any] = [step.args for step in rlimits.plan_last(node, passed)]
    assert [(low | high << 32, other | top << 32) for _, low, high, other, top in by_init] == late
    assert {number for number, *_ in by_init} <= {resource.RLIMIT_NOFILE}
