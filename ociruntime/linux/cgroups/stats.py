# SPDX-License-Identifier: Apache-2.0
"""What has a container used, as far as its cgroup says? In the words of `runc events`.

The document is runc's, key by key: what is zero is left out where runc leaves it out, and what only one version of
cgroups counts is missing or zero on the other. Must not import anything of the package.
"""

from __future__ import annotations

import os

Stats = dict[str, object]

_MAX = (1 << 64) - 1
_TICK = 10_000_000  # nanoseconds of one tick of cpuacct.stat: USER_HZ is 100 on every architecture
_HUGE_PAGES = "/sys/kernel/mm/hugepages"
_UNITS = {0: "KB", 1: "MB", 2: "GB"}
# key -> file of cgroup v1, in runc's order; those of `_LISTS` are lists of numbers
_CPUSET = (
    ("cpus", "cpuset.cpus"),
    ("cpu_exclusive", "cpuset.cpu_exclusive"),
    ("mems", "cpuset.mems"),
    ("mem_hardwall", "cpuset.mem_hardwall"),
    ("mem_exclusive", "cpuset.mem_exclusive"),
    ("memory_migrate", "cpuset.memory_migrate"),
    ("memory_spread_page", "cpuset.memory_spread_page"),
    ("memory_spread_slab", "cpuset.memory_spread_slab"),
    ("memory_pressure", "cpuset.memory_pressure"),
    ("sched_load_balance", "cpuset.sched_load_balance"),
    ("sched_relax_domain_level", "cpuset.sched_relax_domain_level"),
)
_LISTS = ("cpus", "mems")
_BLKIO_KEYS = (
    ("sectorsRecursive", "sectors"),
    ("ioServiceTimeRecursive", "io_service_time"),
    ("ioWaitTimeRecursive", "io_wait_time"),
    ("ioMergedRecursive", "io_merged"),
    ("ioQueueRecursive", "io_queued"),
    ("ioTimeRecursive", "time"),
    ("ioServicedRecursive", "io_serviced"),
    ("ioServiceBytesRecursive", "io_service_bytes"),
)
# Each I/O scheduler has files of its own; the first group that is not empty counts.
_BLKIO_GROUPS = (
    tuple((key, f"blkio.bfq.{name}_recursive") for key, name in _BLKIO_KEYS),
    tuple((key, f"blkio.bfq.{name}_recursive") for key, name in _BLKIO_KEYS[-2:]),
    tuple((key, f"blkio.{name}_recursive") for key, name in _BLKIO_KEYS),
    tuple((key, f"blkio.throttle.{name}_recursive") for key, name in _BLKIO_KEYS[-2:]),
    tuple((key, f"blkio.throttle.{name}") for key, name in _BLKIO_KEYS[-2:]),
)
_IO_STAT = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def stats(paths: dict[str, str]) -> Stats:
    """The statistics of a container.

    paths   its cgroup directory per v1 controller, "" for v2
    Raises OSError if a file exists but can't be read; a missing one counts as nothing.
    """
    v1 = any(name and not name.startswith("name=") for name in paths)
    place = paths.get("", "")
    return {
        "cpu": _cpu_v1(paths) if v1 else _cpu_v2(place),
        "cpuset": _cpuset(paths.get("cpuset", "")),
        "memory": _memory_v1(paths.get("memory", "")) if v1 else _memory_v2(place),
        "pids": _pids(paths.get("pids", "") if v1 else place),
        "blkio": _blkio_v1(paths.get("blkio", "")) if v1 else _blkio_v2(place),
        "hugetlb": _hugetlb(paths.get("hugetlb", ""), v1=True) if v1 else _hugetlb(place, v1=False),
        "intel_rdt": {},
        "network_interfaces": None,  # runc counts those that it made itself, which it never does for a bundle
    }


def page_sizes() -> list[str]:
    """The huge page sizes of this machine as cgroup files name them: 2MB, 1GB."""
    try:
        names = os.listdir(_HUGE_PAGES)
    except FileNotFoundError:
        return []
    return [page_size(int(name.removeprefix("hugepages-").removesuffix("kB"))) for name in sorted(names)]


def page_size(kib: int) -> str:
    """A size in KiB as cgroup files name it."""
    power = 0
    while kib % 1024 == 0 and power < 2:
        kib //= 1024
        power += 1
    return f"{kib}{_UNITS[power]}"


def _some(**values: object) -> Stats:
    """Without what is zero or empty, which Go's omitempty leaves out."""
    return {name: value for name, value in values.items() if value}


def _read(place: str, name: str) -> str:
    """A file's text; "" if it is not there, or the controller isn't."""
    if not place:
        return ""
    try:
        with open(f"{place}/{name}", "rb", buffering=0) as file:
            return file.read().decode("ascii", "replace")
    except FileNotFoundError:
        return ""


def _number(place: str, name: str) -> int:
    """A file of one number; "max" is the largest there is, and a file that is missing 0."""
    text = _read(place, name).strip()
    return _MAX if text == "max" else int(text or "0")


def _table(place: str, name: str) -> dict[str, int]:
    """A file of lines with a name and a number each."""
    return {
        words[0]: int(words[1])
        for words in map(str.split, _read(place, name).splitlines())
        if len(words) == 2
    }


def _cpu_v1(paths: dict[str, str]) -> Stats:
    account = paths.get("cpuacct", "")
    ticks = _table(account, "cpuacct.stat")
    modes = [line.split() for line in _read(account, "cpuacct.usage_all").splitlines()[1:]]
    usage = {
        **_some(
            total=_number(account, "cpuacct.usage"),
            percpu=[int(word) for word in _read(account, "cpuacct.usage_percpu").split()],
            percpu_kernel=[int(system) for _, _, system in modes],
            percpu_user=[int(user) for _, user, _ in modes],
        ),
        "kernel": ticks.get("system", 0) * _TICK,
        "user": ticks.get("user", 0) * _TICK,
    }
    quota = _table(paths.get("cpu", ""), "cpu.stat")
    return {"usage": usage, "throttling": _throttling(quota, quota.get("throttled_time", 0))}


def _cpu_v2(place: str) -> Stats:
    counts = _table(place, "cpu.stat")
    usage = {
        **_some(total=counts.get("usage_usec", 0) * 1000),
        "kernel": counts.get("system_usec", 0) * 1000,
        "user": counts.get("user_usec", 0) * 1000,
    }
    return {"usage": usage, "throttling": _throttling(counts, counts.get("throttled_usec", 0) * 1000)}


def _throttling(counts: dict[str, int], nanoseconds: int) -> Stats:
    return _some(
        periods=counts.get("nr_periods", 0),
        throttledPeriods=counts.get("nr_throttled", 0),
        throttledTime=nanoseconds,
    )


def _cpuset(place: str) -> Stats:
    found: Stats = {}
    for key, name in _CPUSET:
        if key in _LISTS:
            found.update(_some(**{key: _ranges(_read(place, name))}))
        else:
            found[key] = _number(place, name)
    return found


def _ranges(text: str) -> list[int]:
    """The numbers of "0-2,5"."""
    found: list[int] = []
    for part in text.strip().split(",") if text.strip() else []:
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def _entry(limit: int = 0, usage: int = 0, most: int = 0, failures: int = 0) -> Stats:
    return {"limit": limit, **_some(usage=usage, max=most), "failcnt": failures}


def _memory_v1(place: str) -> Stats:
    raw = _table(place, "memory.stat")
    entries = {}
    for key, prefix in (
        ("usage", "memory"),
        ("swap", "memory.memsw"),
        ("kernel", "memory.kmem"),
        ("kernelTCP", "memory.kmem.tcp"),
    ):
        names = ("limit_in_bytes", "usage_in_bytes", "max_usage_in_bytes", "failcnt")
        entries[key] = _entry(*(_number(place, f"{prefix}.{name}") for name in names))
    return {**_some(cache=raw.get("cache", 0)), **entries, **_some(raw=dict(sorted(raw.items())))}


def _memory_v2(place: str) -> Stats:
    raw = _table(place, "memory.stat")
    limit, usage = _number(place, "memory.max"), _number(place, "memory.current")
    swap_limit, swap_usage = _number(place, "memory.swap.max"), _number(place, "memory.swap.current")
    # Memory and swap together, as cgroup v1 counts them; runc's sum is one of 64 bits.
    both = swap_limit if swap_limit == _MAX else (swap_limit + limit) & _MAX
    return {
        **_some(cache=raw.get("file", 0)),
        "usage": _entry(limit, usage),
        "swap": _entry(both, swap_usage + usage),
        "kernel": _entry(),
        "kernelTCP": _entry(),
        **_some(raw=dict(sorted(raw.items()))),
    }


def _pids(place: str) -> Stats:
    limit = _read(place, "pids.max").strip()
    return _some(current=_number(place, "pids.current"), limit=int(limit) if limit.isdigit() else 0)


def _blkio_v1(place: str) -> Stats:
    for group in _BLKIO_GROUPS:
        found: Stats = {}
        for key, name in group:
            entries = [_device(line) for line in _read(place, name).splitlines() if line[:1].isdigit()]
            if not entries:
                break
            found[key] = entries
        if found:
            return found
    return {}


def _device(line: str) -> Stats:
    """A line of a device: 8:0 Read 1282048, or without the kind."""
    device, *kind, amount = line.split()
    major, _, minor = device.partition(":")
    return _some(major=int(major), minor=int(minor), op=" ".join(kind), value=int(amount))


def _blkio_v2(place: str) -> Stats:
    found: dict[str, list[Stats]] = {}
    for line in _read(place, "io.stat").splitlines():
        device, *counts = line.split()
        major, _, minor = device.partition(":")
        for count in counts:
            name, _, amount = count.partition("=")
            if name in _IO_STAT:
                key, kind = _IO_STAT[name]
                entry = _some(major=int(major), minor=int(minor), op=kind, value=int(amount))
                found.setdefault(key, []).append(entry)
    return dict(found)


def _hugetlb(place: str, *, v1: bool) -> Stats:
    """Reservations count where the kernel limits them (5.7 and newer), as in runc."""
    usage = "usage_in_bytes" if v1 else "current"
    found: Stats = {}
    for size in page_sizes():
        prefixes = (f"hugetlb.{size}.rsvd", f"hugetlb.{size}")
        prefix = next((one for one in prefixes if _read(place, f"{one}.{usage}")), "")
        if not prefix:
            continue
        if v1:
            most, failures = (
                _number(place, f"{prefix}.max_usage_in_bytes"),
                _number(place, f"{prefix}.failcnt"),
            )
        else:
            most, failures = 0, _table(place, f"hugetlb.{size}.events").get("max", 0)
        found[size] = {**_some(usage=_number(place, f"{prefix}.{usage}"), max=most), "failcnt": failures}
    return found
