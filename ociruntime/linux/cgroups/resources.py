# SPDX-License-Identifier: Apache-2.0
"""Which cgroup file gets which value for a property below /linux/resources? (R140-R155)

Memory, CPU and pids are here, one table per cgroup version; block I/O, huge pages, network, rdma and unified have
files of their own, read only for a config that has them. A property that a version can't express is refused, never
dropped (R155). Device rules are not limits: they are in devices.py. Pure: nothing here looks at the machine.
"""

from __future__ import annotations

from ociruntime.errors import NotSupported, Violation
from ociruntime.linux.cgroups.convert import cpu_weight, swap_alone
from ociruntime.linux.cgroups.setting import Setting

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = tuple(
    f"/linux/resources{tail}"
    for tail in (
        "",
        "/memory",
        "/memory/limit",
        "/memory/reservation",
        "/memory/swap",
        "/memory/kernel",
        "/memory/kernelTCP",
        "/memory/swappiness",
        "/memory/disableOOMKiller",
        "/memory/useHierarchy",
        "/memory/checkBeforeUpdate",
        "/cpu",
        "/cpu/shares",
        "/cpu/quota",
        "/cpu/burst",
        "/cpu/period",
        "/cpu/realtimeRuntime",
        "/cpu/realtimePeriod",
        "/cpu/cpus",
        "/cpu/mems",
        "/cpu/idle",
        "/pids",
        "/pids/limit",
    )
)

# (property, controller, file, whether 0 is a value). Where it is not, 0 means "not set", as in runc: the
# kernel has no such limit, and engines write 0 for "unchanged", or (pids) for "no limit". This does not
# depend on the limits that hold already. Order matters: a limit before memory+swap, a period before its
# quota, a quota before its burst, shares before idle.
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
    ("pids/limit", "pids", "pids.max", False),
)
# The kernel has dropped these accounts step by step since 5.11 (R141: not recommended).
_OPTIONAL_V1 = ("memory/kernel", "memory/kernelTCP")
# The kernel refuses the first while the others have their old values: a limit above memory+swap, a quota below its
# burst, a quota that is more of its period than the parent's, shares of a cgroup that is idle.
_HELD_UP_V1 = {
    "memory/limit": ("memory/swap",),
    "cpu/shares": ("cpu/idle",),
    "cpu/period": ("cpu/burst", "cpu/quota"),
    "cpu/quota": ("cpu/burst",),
    "cpu/realtimePeriod": ("cpu/realtimeRuntime",),
}
# The kernel takes any number of shares, and clamps it to 2 to 262144.
_EXACT_V1 = ("cpu/shares",)
_MEMORY_AND_SWAP = "memory.memsw.limit_in_bytes"

_V2: tuple[tuple[str, str, str, bool], ...] = (
    ("memory/limit", "memory", "memory.max", False),
    ("memory/reservation", "memory", "memory.low", False),
    ("cpu/burst", "cpu", "cpu.max.burst", True),
    ("cpu/idle", "cpu", "cpu.idle", True),
    ("cpu/cpus", "cpuset", "cpuset.cpus", False),
    ("cpu/mems", "cpuset", "cpuset.mems", False),
    ("pids/limit", "pids", "pids.max", False),
)
_NOT_ON_V2 = ("memory/swappiness", "memory/disableOOMKiller", "memory/kernel", "memory/kernelTCP", "cpu/realtimePeriod", "cpu/realtimeRuntime")  # fmt: skip
_LIMITS = ("memory/limit", "memory/reservation", "pids/limit")  # -1 is "max"


def settings_v1(resources: Node, held: Node | None = None) -> Iterator[Setting]:
    """What to write on cgroup v1, in order. Raises NotSupported for what only v2 has.

    held   the resources in force: false takes disableOOMKiller back only where it is in force
    """
    yield from _unlimited_swap_v1(resources.at("memory"))
    switch_on = held is not None and held.at("memory", "disableOOMKiller").flag()
    for name, controller, file, zero in _V1:
        value = _value_v1(resources, name, zero or (switch_on and name == "memory/disableOOMKiller"))
        if value is not None:
            yield Setting(
                resources.at(*name.split("/")).pointer,
                controller,
                file,
                value,
                optional=name in _OPTIONAL_V1,
                first=tuple(_held_up(resources, name)),
                exact=name in _EXACT_V1,
            )
    if resources.at("blockIO"):
        from ociruntime.linux.cgroups import blockio

        yield from blockio.settings_v1(resources.at("blockIO"))
    if resources.at("network"):
        from ociruntime.linux.cgroups import network

        yield from network.settings_v1(resources.at("network"))
    if resources.at("unified"):
        from ociruntime.linux.cgroups import unified

        unified.refuse_v1(resources.at("unified"))
    yield from _both(resources, v2=False)


def settings_v2(resources: Node, held: Node | None = None) -> Iterator[Setting]:
    """What to write on cgroup v2, in order.

    held   the resources in force: memory, swap and quota, for what v2 has in one number
    Raises NotSupported for a value that has no equivalent on v2.
    """
    for name in _NOT_ON_V2:
        node = resources.at(*name.split("/"))
        if _text(node, name == "memory/swappiness") not in (None, "-1"):
            raise NotSupported("cgroup v2 has no equivalent", pointer=node.pointer)
    if resources.at("memory", "useHierarchy").value is False:
        raise NotSupported(
            "cgroup v2 is always hierarchical", pointer=resources.at("memory", "useHierarchy").pointer
        )
    yield from _swap_v2(
        resources.at("memory"), _number(held, "memory", "limit"), _number(held, "memory", "swap")
    )
    yield from _cpu_v2(resources.at("cpu"), _number(held, "cpu", "quota"))
    for name, controller, file, zero in _V2:
        node = resources.at(*name.split("/"))
        value = _text(node, zero)
        if value is not None:
            unlimited = name in _LIMITS and node.number() < 0
            yield Setting(node.pointer, controller, file, "max" if unlimited else value)
    if resources.at("blockIO"):
        from ociruntime.linux.cgroups import blockio

        yield from blockio.settings_v2(resources.at("blockIO"))
    if resources.at("network"):
        from ociruntime.linux.cgroups import network

        network.refuse_v2(resources.at("network"))
    yield from _both(resources, v2=True)
    if resources.at("unified"):
        from ociruntime.linux.cgroups import unified

        # last: what the config says in the kernel's own words overrides what was converted
        yield from unified.settings(resources.at("unified"))


def _both(resources: Node, v2: bool) -> Iterator[Setting]:
    """What is the same in both versions."""
    if resources.at("hugepageLimits"):
        from ociruntime.linux.cgroups import hugepages

        yield from hugepages.settings(resources.at("hugepageLimits"), v2)
    if resources.at("rdma"):
        from ociruntime.linux.cgroups import rdma

        yield from rdma.settings(resources.at("rdma"))


def _value_v1(resources: Node, name: str, zero: bool) -> str | None:
    node = resources.at(*name.split("/"))
    return "max" if name == "pids/limit" and node and node.number() < 0 else _text(node, zero)


def _held_up(resources: Node, name: str) -> Iterator[tuple[str, str]]:
    """(file, value) of the limits that may have to be written before this one."""
    for other in _HELD_UP_V1.get(name, ()):
        _, _, file, zero = next(row for row in _V1 if row[0] == other)
        value = _value_v1(resources, other, zero)
        if value is not None:
            yield file, value
    if name == "memory/limit" and _swap_follows(resources.at("memory")):
        yield _MEMORY_AND_SWAP, "-1"


def _swap_follows(memory: Node) -> bool:
    return memory.at("limit").number() < 0 and not memory.at("swap").number()


def _unlimited_swap_v1(memory: Node) -> Iterator[Setting]:
    """Memory without a limit means memory and swap without one, unless the config says otherwise (as in runc)."""
    if _swap_follows(memory):
        # a kernel without swap accounting has no such file, and no such limit
        yield Setting(memory.at("limit").pointer, "memory", _MEMORY_AND_SWAP, "-1", optional=True)


def _text(node: Node, zero: bool) -> str | None:
    """The value as the kernel's files take it, or None if it isn't set."""
    if not node:
        return None
    if isinstance(node.value, str):
        return node.value if node.value.strip() else None
    if isinstance(node.value, bool):
        return str(int(node.value)) if node.value or zero else None
    number = node.number()
    return str(number) if number or zero else None


def _number(held: Node | None, *path: str) -> int:
    """A limit that is in force; 0 if there is none."""
    return held.at(*path).number() if held is not None else 0


def _swap_v2(memory: Node, held_limit: int, held_swap: int) -> Iterator[Setting]:
    """Swap alone, from v1's sum: a new limit of memory leaves the sum as it is, and changes what is left for swap."""
    swap, limit = memory.at("swap"), memory.at("limit")
    if limit.number() < 0 and not swap.number():
        held_swap = 0  # memory without a limit removes the limit of the sum
    wish = swap.number() or (held_swap if limit.number() else 0)
    value = swap_alone(wish, limit.number() or held_limit) if wish or limit.number() else ""
    if value:
        # A kernel without swap accounting has no such file. Then neither "no swap" nor "any" needs it, nor a limit that
        # no one asked for.
        yield Setting(
            (swap if swap.number() else limit).pointer,
            "memory",
            "memory.swap.max",
            value,
            optional=value in ("max", "0") or not swap.number(),
        )


def _cpu_v2(cpu: Node, held_quota: int) -> Iterator[Setting]:
    shares, quota, period, idle = cpu.at("shares"), cpu.at("quota"), cpu.at("period"), cpu.at("idle")
    if shares.number():
        yield Setting(
            shares.pointer,
            "cpu",
            "cpu.weight",
            str(cpu_weight(shares.number())),
            first=(("cpu.idle", str(idle.number())),) if idle else (),
        )
    if quota.number() or period.number():
        time = quota.number() or held_quota
        first = str(time) if time > 0 else "max"
        value = f"{first} {period.number()}" if period.number() else first
        burst = cpu.at("burst")
        yield Setting(
            (quota if quota.number() else period).pointer,
            "cpu",
            "cpu.max",
            value,
            first=(("cpu.max.burst", str(burst.number())),) if burst else (),
        )


def check(resources: Node, held: Node | None = None) -> Iterator[Violation]:
    """The rules between properties.

    held   for an update, the resources in force: they count for what it does not name
    """
    yield from _check_memory(
        resources.at("memory"), _number(held, "memory", "limit"), _number(held, "memory", "swap")
    )
    cpu = resources.at("cpu")
    quota, burst = cpu.at("quota"), cpu.at("burst")
    if 0 < quota.number() < burst.number():
        yield Violation(burst.pointer, f"{burst.number()} is more than the quota {quota.number()}", "R144")
    pids = resources.at("pids", "limit")
    if held is None and pids and not pids.number():
        yield Violation(
            pids.pointer,
            "0 is treated as no limit, because engines write it that way; the smallest limit is 1",
            "R150",
            "warning",
        )
    for name, module in (
        ("blockIO", "blockio"),
        ("hugepageLimits", "hugepages"),
        ("network", "network"),
        ("rdma", "rdma"),
        ("unified", "unified"),
    ):
        if resources.at(name):
            found = __import__(f"ociruntime.linux.cgroups.{module}", fromlist=["check"])
            yield from found.check(resources.at(name))


def _check_memory(memory: Node, held_limit: int, held_swap: int) -> Iterator[Violation]:
    swap, limit = memory.at("swap"), memory.at("limit")
    of_memory = limit.number() or held_limit
    if swap.number() > 0 and of_memory <= 0:
        yield Violation(
            swap.pointer, f"memory+swap has the limit {swap.number()}, but memory has none", "R140"
        )
    elif 0 < swap.number() < of_memory:
        yield Violation(
            swap.pointer, f"memory+swap {swap.number()} is less than the memory limit {of_memory}", "R140"
        )
    elif not swap.number() and 0 < held_swap < limit.number():
        yield Violation(
            limit.pointer,
            f"{limit.number()} is more than the limit {held_swap} of memory+swap, which is unchanged",
            "R140",
        )
