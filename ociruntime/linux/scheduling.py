# SPDX-License-Identifier: Apache-2.0
"""When and where does the program run: CPU and I/O priority, affinity, NUMA policy, personality?

(config.md, "Linux Process"; config-linux.md, "Memory policy" and "Personality")
Scheduler and I/O priority are set by the runtime, because real-time classes need CAP_SYS_NICE in the
host's user namespace, which init may lack; the rest a process can do to itself only, and needs no privilege.
execCPUAffinity is for `exec` alone (R060): see exec_affinity(). Must not import another subject.
"""

from __future__ import annotations

import os
import struct

from ociruntime.errors import Violation
from ociruntime.step import HostStep, InitStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.config import Node
    from ociruntime.launch.context import Context
    from ociruntime.step import Step

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

# linux/sched.h; no kernel has SCHED_ISO, so it gives EINVAL
_POLICIES = {
    "SCHED_OTHER": 0,
    "SCHED_FIFO": 1,
    "SCHED_RR": 2,
    "SCHED_BATCH": 3,
    "SCHED_ISO": 4,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": 6,
}
_SCHEDULER_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
# struct sched_attr: size, policy, flags, nice, priority, runtime, deadline, period, least and most utilisation
_ATTRIBUTES = struct.Struct("=IIQiIQQQII")

# linux/ioprio.h
_IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
_IO_CLASS_SHIFT = 13

# linux/mempolicy.h
MEMORY_MODES = {
    "MPOL_DEFAULT": 0,
    "MPOL_PREFERRED": 1,
    "MPOL_BIND": 2,
    "MPOL_INTERLEAVE": 3,
    "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5,
    "MPOL_WEIGHTED_INTERLEAVE": 6,
}
MEMORY_FLAGS = {
    "MPOL_F_NUMA_BALANCING": 1 << 13,
    "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_STATIC_NODES": 1 << 15,
}
# MPOL_PREFERRED without a node means the local one
_NEED_NODES = ("MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED_MANY")

_DOMAINS = {"LINUX": 0, "LINUX32": 8}  # linux/personality.h

# What a kernel can be built for at most: CONFIG_NR_CPUS, CONFIG_NODES_SHIFT.
_CPUS, _NODES = 8192, 1024

_REAL_TIME = ("SCHED_FIFO", "SCHED_RR")
_DEADLINE = "SCHED_DEADLINE"


def check(config: Node) -> Iterator[Violation]:
    """Yield values and combinations that no kernel takes."""
    process = config.at("process")
    yield from _check_scheduler(process.at("scheduler"))
    level = process.at("ioPriority", "priority")
    if process.at("ioPriority") and not level:
        yield Violation(level.pointer, "is required; 0 is assumed", "R059", "warning")
    affinity = process.at("execCPUAffinity")
    yield from _check_list(affinity.at("initial"), _CPUS, "R060")
    yield from _check_list(affinity.at("final"), _CPUS, "R061")
    yield from _check_memory_policy(config.at("linux", "memoryPolicy"))


def features(takes: Callable[..., bool]) -> dict[str, object]:  # noqa: ARG001 - the signature of every subject
    """Its part of the features document; `takes` says whether check() accepts a config."""
    return {"linux": {"memoryPolicy": {"modes": list(MEMORY_MODES), "flags": list(MEMORY_FLAGS)}}}


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
        yield Violation(
            priority.pointer,
            f"the priority {priority.number()} is for SCHED_FIFO and SCHED_RR only, not {policy}",
            "R056",
        )
    runtime, deadline, period = (scheduler.at(name) for name in ("runtime", "deadline", "period"))
    if policy == _DEADLINE:
        # a period of 0 is the deadline
        if not 0 < runtime.number() <= deadline.number() <= (period.number() or deadline.number()):
            yield Violation(
                scheduler.pointer,
                f"{_DEADLINE} needs 0 < runtime {runtime.number()} <= deadline {deadline.number()} <= period {period.number()}",
                "R056",
            )
    else:
        for one in (runtime, deadline, period):
            if one.number():
                yield Violation(
                    one.pointer, f"{one.number()} ns are only for {_DEADLINE}, not {policy}", "R056"
                )


def _check_memory_policy(policy: Node) -> Iterator[Violation]:
    """The rules of set_mempolicy(2)."""
    if not policy:
        return
    mode, nodes, flags = policy.at("mode").text(), policy.at("nodes"), policy.at("flags")
    yield from _check_list(nodes, _NODES, "R175")
    some_nodes = bool(nodes.text().strip())
    if mode in ("MPOL_DEFAULT", "MPOL_LOCAL"):
        if some_nodes:
            yield Violation(nodes.pointer, f"{mode} takes no nodes: {nodes.text()[:60]}", "R175")
        if len(flags):
            yield Violation(flags.pointer, f"{mode} takes no flags: {', '.join(flags.texts())}", "R175")
    elif mode in _NEED_NODES and not some_nodes:
        yield Violation(nodes.pointer, f"{mode} needs nodes", "R175")
    if {"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"} <= set(flags.texts()):
        yield Violation(
            flags.pointer,
            f"nodes are either static or relative, not both: {', '.join(flags.texts())}",
            "R175",
        )


def _check_list(text: Node, limit: int, rule: str) -> Iterator[Violation]:
    """A list of numbers and ranges, as cpuset(7) has it; the schema has checked its form."""
    for item in text.text().split(","):
        first, dash, last = item.strip().partition("-")
        if dash and _size(first) > _size(last):
            yield Violation(text.pointer, f"the range {item.strip()[:60]} runs backwards", rule)
        elif _size(last or first) >= _size(str(limit)):
            yield Violation(
                text.pointer, f"{item.strip()[:60]}: the highest number of any kernel is {limit - 1}", rule
            )


def _size(digits: str) -> tuple[int, str]:
    """A key that sorts numbers; Python refuses to make an int of 5000 digits."""
    significant = digits.lstrip("0")
    return len(significant), significant


def plan(process: Node) -> Iterator[HostStep]:
    """Scheduler and I/O priority of a process that waits for the runtime, and is still root. Pure.

    process   /process of the config, or what `exec` puts in its place
    """
    scheduler, priority = process.at("scheduler"), process.at("ioPriority")
    if scheduler:
        policy, flags = scheduler.at("policy").text(), scheduler.at("flags").texts()
        numbers = {
            name: scheduler.at(name).number()
            for name in ("nice", "priority", "runtime", "deadline", "period")  # not given is 0 (R056)
        }
        shown = [f"{name} {number}" for name, number in numbers.items() if number]
        yield HostStep(
            "set_scheduler",
            {"policy": policy, "flags": flags, **numbers},
            pointer=scheduler.pointer,
            text=" ".join([policy, *shown, *flags]),
        )
    if priority:
        kind, level = priority.at("class").text(), priority.at("priority").number()
        yield HostStep(
            "set_io_priority",
            {"class": kind, "priority": level},
            pointer=priority.pointer,
            text=f"{kind} {level}",
        )


def apply(step: HostStep, context: Context) -> None:
    """Set scheduler or I/O priority of init. OSError if the kernel refuses."""
    from ociruntime.native._shim import ffi, lib

    args = step.args
    if step.op == "set_scheduler":
        numbers = {name: value for name, value in args.items() if isinstance(value, int)}
        words = args["flags"]
        assert isinstance(words, list)
        attributes = _ATTRIBUTES.pack(
            _ATTRIBUTES.size,
            _POLICIES[str(args["policy"])],
            sum(_SCHEDULER_FLAGS[word] for word in dict.fromkeys(words)),
            *(numbers[name] for name in ("nice", "priority", "runtime", "deadline", "period")),
            0,
            0,
        )
        done = lib.shim_sched_setattr(context.pid, ffi.from_buffer(attributes))
    else:
        level = args["priority"]
        assert isinstance(level, int)
        done = lib.shim_ioprio_set(context.pid, _IO_CLASSES[str(args["class"])] << _IO_CLASS_SHIFT | level)
    if done < 0:
        raise OSError(-done, os.strerror(-done))


def plan_self(config: Node) -> Iterator[InitStep]:
    """What a process of the container sets for itself: NUMA policy and personality, kept by execve. Pure."""
    policy, personality = config.at("linux", "memoryPolicy"), config.at("linux", "personality")
    if policy:
        mode, nodes, flags = policy.at("mode").text(), policy.at("nodes").text(), policy.at("flags").texts()
        yield InitStep(
            "memory_policy",
            MEMORY_MODES[mode] | sum(MEMORY_FLAGS[word] for word in dict.fromkeys(flags)),
            mask_words(nodes),
            name="set memory policy",
            pointer=policy.pointer,
            text=" ".join([mode, nodes, *flags] if nodes else [mode, *flags]),
        )
    if personality:
        domain = personality.at("domain").text()
        yield InitStep(
            "personality",
            _DOMAINS[domain],
            name="set personality",
            pointer=personality.pointer,
            text=domain,
        )


def exec_affinity(process: Node) -> tuple[list[Step], list[Step]]:
    """What `exec` does about execCPUAffinity: steps before and after the process enters the cgroup. Pure.

    Both are lists of one init step, or empty: without `final` the kernel's choice stays (R061). A process
    with an initial affinity must not be cloned into the cgroup (CLONE_INTO_CGROUP). If both lists are empty
    and the process has no execCPUAffinity, process.plan_affinity() is what resets the caller's.
    """
    affinity = process.at("execCPUAffinity")
    initial, final = (
        [_affinity(affinity.at(name))] if affinity.at(name).text().strip() else []
        for name in ("initial", "final")
    )
    return [*initial], [*final]


def _affinity(cpus: Node) -> InitStep:
    words = mask_words(cpus.text())
    return InitStep("affinity", words, name="set CPU affinity", pointer=cpus.pointer, text=cpus.text())


def mask_words(text: str) -> list[int]:
    """A list such as `0-3,7` as the kernel's bit mask, in words of 32 bits; an even number of them.

    Empty for an empty list. The text has passed check().
    """
    mask = 0
    for item in text.split(","):
        first, dash, last = item.strip().partition("-")
        if first:
            mask |= (1 << int(last if dash else first) + 1) - (1 << int(first))
    size = (mask.bit_length() + 63) // 64 * 2
    return [mask >> 32 * word & 0xFFFFFFFF for word in range(size)]
