# SPDX-License-Identifier: Apache-2.0
"""Of which shape are the documents that the library returns? For type checkers: the dicts themselves are ordinary ones.

Only this module imports typing, and nothing loads it unless a program asks for these names while it runs.
Must not import anything of the package.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict


class State(TypedDict):
    """Container.state() and list_all(): the state document of the specification (runtime.md, State), with runc's additions."""

    ociVersion: str
    id: str
    pid: int  # 0 if it is stopped
    status: str  # creating, created, running, paused or stopped
    bundle: str
    rootfs: str
    created: str  # RFC 3339, UTC
    annotations: NotRequired[dict[str, str]]
    owner: str


class CpuUsage(TypedDict):
    """Nanoseconds; those of each CPU only on cgroup v1."""

    total: NotRequired[int]
    percpu: NotRequired[list[int]]
    percpu_kernel: NotRequired[list[int]]
    percpu_user: NotRequired[list[int]]
    kernel: int
    user: int


class Throttling(TypedDict, total=False):
    """How often, and how many nanoseconds, it waited because of /linux/resources/cpu/quota."""

    periods: int
    throttledPeriods: int
    throttledTime: int


class Cpu(TypedDict):
    """What it has used of the processors."""

    usage: CpuUsage
    throttling: Throttling


class Cpuset(TypedDict, total=False):
    """Where it may run; all zero on cgroup v2."""

    cpus: list[int]
    cpu_exclusive: int
    mems: list[int]
    mem_hardwall: int
    mem_exclusive: int
    memory_migrate: int
    memory_spread_page: int
    memory_spread_slab: int
    memory_pressure: int
    sched_load_balance: int
    sched_relax_domain_level: int


class Counter(TypedDict):
    """Bytes; `failcnt` is how often the limit was met. Without a limit, that is 2**64 - 1, or what the kernel says."""

    limit: int
    usage: NotRequired[int]
    max: NotRequired[int]
    failcnt: int


class Memory(TypedDict):
    """`swap` is memory and swap together; `raw` has the numbers of the kernel's memory.stat."""

    cache: NotRequired[int]
    usage: Counter
    swap: Counter
    kernel: Counter
    kernelTCP: Counter
    raw: NotRequired[dict[str, int]]


class Pids(TypedDict, total=False):
    """Processes and threads; without a limit there is no `limit`."""

    current: int
    limit: int


class BlockDevice(TypedDict, total=False):
    """A number of one device, of one kind of operation (Read, Write, ...)."""

    major: int
    minor: int
    op: str
    value: int


class HugePages(TypedDict):
    """Bytes of one page size."""

    usage: NotRequired[int]
    max: NotRequired[int]
    failcnt: int


class Statistics(TypedDict):
    """Container.stats(), and the `data` of `ociruntime events`: runc's document. What is zero may be left out."""

    cpu: Cpu
    cpuset: Cpuset
    memory: Memory
    pids: Pids
    blkio: dict[str, list[BlockDevice]]  # by the kind of number: ioServiceBytesRecursive, ...
    hugetlb: dict[str, HugePages]  # by page size: 2MB, 1GB
    intel_rdt: dict[str, object]
    network_interfaces: None
