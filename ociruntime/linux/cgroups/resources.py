# SPDX-License-Identifier: Apache-2.0
"""Which cgroup file gets which value for a property below /linux/resources? (R140-R145, R150)

One table per cgroup version; a property that a version can't express is refused, never dropped (R155).
Devices have their own file. Pure: nothing here looks at the machine.
"""

from __future__ import annotations

from ociruntime.errors import NotSupported, Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

# Objects of a later issue: empty ones are accepted, because engines send them.
_LATER = ("blockIO", "hugepageLimits", "network", "rdma", "unified")


class Setting:
    """One write: `value` into the file `file` of `controller`'s directory, because of `pointer`.

    optional  a kernel that lacks or ignores the file gives a warning and no error
    """

    __slots__ = ("controller", "file", "optional", "pointer", "value")

    def __init__(self, pointer: str, controller: str, file: str, value: str, optional: bool = False) -> None:
        self.pointer = pointer
        self.controller = controller
        self.file = file
        self.value = value
        self.optional = optional

    def __repr__(self) -> str:
        return f"Setting({self.pointer!r}, {self.controller!r}, {self.file!r}, {self.value!r})"


# (property, controller, file, whether 0 is a value). Where 0 is none, it means "not set", as in runc;
# the kernel's files know no such limit, and engines write it for "no wish". Order matters: a limit
# before memory+swap, a period before its quota, a quota before its burst, shares before idle.
_V1: tuple[tuple[str, str, str, bool], ...] = (
    ("memory/limit", "memory", "memory.limit_in_bytes", False),
    ("memory/swap", "memory", "memory.memsw.limit_in_bytes", False),
    ("memory/reservation", "memory", "memory.soft_limit_in_bytes", False),
    ("memory/kernel", "memory", "memory.kmem.limit_in_bytes", False),
    ("memory/kernelTCP", "memory", "memory.kmem.tcp.limit_in_bytes", False),
    ("memory/swappiness", "memory", "memory.swappiness", True),
    ("memory/disableOOMKiller", "memory", "memory.oom_control", False),
    ("memory/useHierarchy", "memory", "memory.use_hierarchy", True),
    ("cpu/shares", "cpu", "cpu.shares", False),
    ("cpu/period", "cpu", "cpu.cfs_period_us", False),
    ("cpu/quota", "cpu", "cpu.cfs_quota_us", False),
    ("cpu/burst", "cpu", "cpu.cfs_burst_us", True),
    ("cpu/realtimePeriod", "cpu", "cpu.rt_period_us", False),
    ("cpu/realtimeRuntime", "cpu", "cpu.rt_runtime_us", False),
    ("cpu/idle", "cpu", "cpu.idle", True),
    ("cpu/cpus", "cpuset", "cpuset.cpus", False),
    ("cpu/mems", "cpuset", "cpuset.mems", False),
    ("pids/limit", "pids", "pids.max", True),
)
# The kernel has dropped these accounts step by step since 5.11 (R141: not recommended).
_OPTIONAL_V1 = ("memory/kernel", "memory/kernelTCP")

_V2: tuple[tuple[str, str, str, bool], ...] = (
    ("memory/limit", "memory", "memory.max", False),
    ("memory/reservation", "memory", "memory.low", False),
    ("cpu/burst", "cpu", "cpu.max.burst", True),
    ("cpu/idle", "cpu", "cpu.idle", True),
    ("cpu/cpus", "cpuset", "cpuset.cpus", False),
    ("cpu/mems", "cpuset", "cpuset.mems", False),
    ("pids/limit", "pids", "pids.max", True),
)
_NOT_ON_V2 = ("memory/swappiness", "memory/disableOOMKiller", "cpu/realtimePeriod", "cpu/realtimeRuntime")


def settings_v1(resources: Node) -> Iterator[Setting]:
    """What to write on cgroup v1, in order."""
    for name, controller, file, zero in _V1:
        node = resources.at(*name.split("/"))
        value = _text(node, zero)
        if value is not None:
            value = "max" if name == "pids/limit" and node.number() < 0 else value
            yield Setting(node.pointer, controller, file, value, name in _OPTIONAL_V1)


def settings_v2(resources: Node) -> Iterator[Setting]:
    """What to write on cgroup v2, in order.

    Raises NotSupported for a value that v2 has no counterpart of.
    """
    for name in _NOT_ON_V2:
        node = resources.at(*name.split("/"))
        if _text(node, name == "memory/swappiness") is not None:
            raise NotSupported("cgroup v2 has nothing like it", pointer=node.pointer)
    if resources.at("memory", "useHierarchy").value is False:
        raise NotSupported(
            "cgroup v2 is always hierarchical", pointer=resources.at("memory", "useHierarchy").pointer
        )
    yield from _swap_v2(resources.at("memory"))
    yield from _cpu_v2(resources.at("cpu"))
    for name, controller, file, zero in _V2:
        node = resources.at(*name.split("/"))
        value = _text(node, zero)
        if value is not None:
            limit = name in ("memory/limit", "memory/reservation", "pids/limit")
            yield Setting(node.pointer, controller, file, "max" if limit and node.number() < 0 else value)


def _text(node: Node, zero: bool) -> str | None:
    """The value as the kernel's files take it, or None if it isn't set."""
    if not node:
        return None
    if isinstance(node.value, str):
        return node.value or None
    if isinstance(node.value, bool):
        return str(int(node.value)) if node.value or zero else None
    number = node.number()
    return str(number) if number or zero else None


def _swap_v2(memory: Node) -> Iterator[Setting]:
    """memory+swap (v1's sum) as v2's swap alone; kernel accounts are warned about by the planner."""
    swap, limit = memory.at("swap"), memory.at("limit")
    if swap.number() < 0:
        value = "max"
    elif swap.number() > 0:
        value = str(swap.number() - max(limit.number(), 0))
    else:
        return
    # A kernel without swap accounting has no such file, and then "no swap" and "any" hold anyway.
    yield Setting(swap.pointer, "memory", "memory.swap.max", value, optional=value in ("max", "0"))


def _cpu_v2(cpu: Node) -> Iterator[Setting]:
    shares, quota, period = cpu.at("shares"), cpu.at("quota"), cpu.at("period")
    if shares.number():
        yield Setting(shares.pointer, "cpu", "cpu.weight", str(weight_of_shares(shares.number())))
    if quota.number() or period.number():
        first = str(quota.number()) if quota.number() > 0 else "max"
        value = f"{first} {period.number()}" if period.number() else first
        yield Setting((quota or period).pointer, "cpu", "cpu.max", value)


def weight_of_shares(shares: int) -> int:
    """cpu.weight (1-10000, default 100) for cpu.shares (2-262144, default 1024).

    The curve of newer runtimes (runc 1.3.2, crun 1.23): it meets the minimum, the default and the
    maximum of both scales, where the linear map of old made the default 1024 a weight of 39.
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    from math import ceil, log2  # only here: a module less for everybody else

    doublings = log2(shares)
    exponent = (doublings * doublings + 125 * doublings) / 612.0 - 7.0 / 34.0
    return ceil(10**exponent)


def check_resources(config: Node) -> Iterator[Violation]:
    """The rules between properties, and what is not built yet."""
    resources = config.at("linux", "resources")
    yield from _check_memory(resources.at("memory"))
    cpu = resources.at("cpu")
    quota, burst = cpu.at("quota"), cpu.at("burst")
    if 0 < quota.number() < burst.number():
        yield Violation(burst.pointer, f"{burst.number()} is more than the quota {quota.number()}", "R144")
    for name in _LATER:
        node = resources.at(name)
        if _says_anything(node):
            yield Violation(node.pointer, "this resource is not supported yet", severity="unsupported")


def _check_memory(memory: Node) -> Iterator[Violation]:
    limit, swap = memory.at("limit").number(), memory.at("swap")
    if swap.number() > 0 and limit <= 0:
        yield Violation(swap.pointer, "memory+swap has a limit, but memory has none", "R140")
    elif 0 < swap.number() < limit:
        yield Violation(
            swap.pointer, f"memory+swap {swap.number()} is less than the memory limit {limit}", "R140"
        )


def _says_anything(node: Node) -> bool:
    """False for {}, [] and objects whose members are all 0, empty or null."""
    return len(node) > 0 if isinstance(node.value, list) else any(value.value for _, value in node.members())
