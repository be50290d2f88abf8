# SPDX-License-Identifier: Apache-2.0
"""When and where does the program run: CPU and I/O priority, affinity, NUMA policy, personality?

(config.md, "Linux Process"; config-linux.md, "Memory policy" and "Personality")
Nothing of this is carried out yet: what would have an effect is refused by name, and never ignored.
execCPUAffinity is for `exec` alone (R060), so it changes nothing here. Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = (
    "/process/scheduler",
    "/process/scheduler/policy",
    "/process/scheduler/nice",
    "/process/scheduler/priority",
    "/process/scheduler/flags",
    "/process/scheduler/runtime",
    "/process/scheduler/deadline",
    "/process/scheduler/period",
    "/process/ioPriority",
    "/process/ioPriority/class",
    "/process/ioPriority/priority",
    "/process/execCPUAffinity",
    "/process/execCPUAffinity/initial",
    "/process/execCPUAffinity/final",
    "/linux/memoryPolicy",
    "/linux/memoryPolicy/mode",
    "/linux/memoryPolicy/nodes",
    "/linux/memoryPolicy/flags",
    "/linux/personality",
    "/linux/personality/domain",
    "/linux/personality/flags",
)

_REAL_TIME = ("SCHED_FIFO", "SCHED_RR")
_DEADLINE = "SCHED_DEADLINE"
# MPOL_PREFERRED without a node is the local one
_NEED_NODES = ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY")


def check(config: Node) -> Iterator[Violation]:
    """Yield values that the kernel takes in no combination, and what is not supported yet."""
    process = config.at("process")
    yield from _check_scheduler(process.at("scheduler"))
    if process.at("ioPriority"):
        yield _unsupported(process.at("ioPriority"), "an I/O priority", "R059")
    affinity = process.at("execCPUAffinity")
    yield from _check_list(affinity.at("initial"), "R060")
    yield from _check_list(affinity.at("final"), "R061")
    yield from _check_memory_policy(config.at("linux", "memoryPolicy"))
    personality = config.at("linux", "personality")
    if personality.at("domain").text() == "LINUX32":  # LINUX is what every process has anyway
        yield _unsupported(personality, "the personality LINUX32", "R198")


def _check_scheduler(scheduler: Node) -> Iterator[Violation]:
    """The rules of sched_setattr(2)."""
    if not scheduler:
        return
    policy = scheduler.at("policy").text()
    nice, priority = scheduler.at("nice"), scheduler.at("priority")
    if not -20 <= nice.number() <= 19:
        yield Violation(nice.pointer, f"nice {nice.number()} is not between -20 and 19", "R056")
    if policy in _REAL_TIME and not 1 <= priority.number() <= 99:
        yield Violation(
            priority.pointer, f"{policy} needs a priority from 1 to 99, not {priority.number()}", "R056"
        )
    if policy not in _REAL_TIME and priority.number():
        yield Violation(priority.pointer, "a priority is for SCHED_FIFO and SCHED_RR only", "R056")
    runtime, deadline, period = (scheduler.at(name) for name in ("runtime", "deadline", "period"))
    if policy == _DEADLINE:
        # a period of 0 is the deadline
        if not 0 < runtime.number() <= deadline.number() <= (period.number() or deadline.number()):
            yield Violation(scheduler.pointer, f"{_DEADLINE} needs 0 < runtime <= deadline <= period", "R056")
    else:
        for one in (runtime, deadline, period):
            if one.number():
                yield Violation(one.pointer, f"only for {_DEADLINE}", "R056")
    yield _unsupported(scheduler, "a scheduling policy", "R055")


def _check_memory_policy(policy: Node) -> Iterator[Violation]:
    """The rules of set_mempolicy(2)."""
    if not policy:
        return
    mode, nodes, flags = policy.at("mode").text(), policy.at("nodes"), policy.at("flags")
    yield from _check_list(nodes, "R175")
    some_nodes = bool(nodes.text().strip())
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        if some_nodes:
            yield Violation(nodes.pointer, f"{mode} takes no nodes", "R175")
        if len(flags):
            yield Violation(flags.pointer, f"{mode} takes no flags", "R175")
    elif mode in _NEED_NODES and not some_nodes:
        yield Violation(nodes.pointer, f"{mode} needs nodes", "R175")
    if {"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"} <= set(flags.texts()):
        yield Violation(flags.pointer, "nodes are either static or relative, not both", "R175")
    if mode != "MPOL_DEFAULT":
        yield _unsupported(policy, "a memory policy", "R175")


def _check_list(text: Node, rule: str) -> Iterator[Violation]:
    """A list of numbers and ranges, as cpuset(7) has it; the schema has checked its form."""
    for item in text.text().split(","):
        first, dash, last = item.strip().partition("-")
        if dash and _size(first) > _size(last):
            yield Violation(text.pointer, f"the range {item.strip()} runs backwards", rule)


def _size(digits: str) -> tuple[int, str]:
    """A key that sorts numbers; Python refuses to make an int of 5000 digits."""
    significant = digits.lstrip("0")
    return len(significant), significant


def _unsupported(node: Node, what: str, rule: str) -> Violation:
    return Violation(node.pointer, f"{what} is not supported yet", rule, "unsupported")
