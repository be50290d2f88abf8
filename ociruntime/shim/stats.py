# SPDX-License-Identifier: Apache-2.0
"""What has a container used, in containerd's words? One message for cgroup v1 (and hybrid), another for v2.

The numbers of v1 are those of `ociruntime events`; v2's message has the kernel's own names, so its files are read here.
"""

from __future__ import annotations

from ociruntime.errors import RuntimeFailure
from ociruntime.linux.cgroups.stats import page_sizes
from ociruntime.shim.tables import (
    BLKIO_V1,
    CPU_V2,
    EVENTS_V2,
    IO_V2,
    MEMORY_V1,
    MEMORY_V2,
    METRICS_V1,
    METRICS_V2,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ociruntime.api import Container

_MAX = (1 << 64) - 1


def metrics(container: Container) -> dict[str, Any]:
    """An Any with the container's metrics. Raises RuntimeFailure if it has no cgroup, or it can't be read."""
    paths = container.cgroup_paths()
    if any(name and not name.startswith("name=") for name in paths):
        return {"type_url": METRICS_V1.name, "value": METRICS_V1.encode(_v1({**container.stats()}))}
    try:
        return {"type_url": METRICS_V2.name, "value": METRICS_V2.encode(_v2(paths[""]))}
    except OSError as failure:
        raise RuntimeFailure(str(failure.filename or ""), errno=failure.errno or 0) from None


def _v1(found: dict[str, Any]) -> dict[str, Any]:
    usage, throttling = found["cpu"]["usage"], found["cpu"]["throttling"]
    memory = found["memory"]
    raw = memory.get("raw", {})
    entries = {"usage": "usage", "swap": "swap", "kernel": "kernel", "kernel_tcp": "kernelTCP"}
    return {
        "hugetlb": [
            {
                "usage": one.get("usage", 0),
                "max": one.get("max", 0),
                "failcnt": one["failcnt"],
                "pagesize": size,
            }
            for size, one in found["hugetlb"].items()
        ],
        "pids": found["pids"],
        "cpu": {
            "usage": {
                "total": usage.get("total", 0),
                "kernel": usage["kernel"],
                "user": usage["user"],
                "per_cpu": usage.get("percpu", []),
            },
            "throttling": {
                "periods": throttling.get("periods", 0),
                "throttled_periods": throttling.get("throttledPeriods", 0),
                "throttled_time": throttling.get("throttledTime", 0),
            },
        },
        "memory": {
            **{name: raw.get(word, 0) for name, word in MEMORY_V1.items()},
            **{f"total_{name}": raw.get(f"total_{word}", 0) for name, word in MEMORY_V1.items()},
            "hierarchical_memory_limit": raw.get("hierarchical_memory_limit", 0),
            "hierarchical_swap_limit": raw.get("hierarchical_memsw_limit", 0),
            **{name: memory[key] for name, key in entries.items()},
        },
        "blkio": {
            name: [_device(one) for one in found["blkio"].get(key, [])] for name, key in BLKIO_V1.items()
        },
    }


def _device(one: dict[str, Any]) -> dict[str, Any]:
    names = ("op", "major", "minor", "value")
    return {name: one[name] for name in names if name in one}


def _v2(place: str) -> dict[str, Any]:
    cpu, memory = _table(place, "cpu.stat"), _table(place, "memory.stat")
    events = _table(place, "memory.events")
    return {
        "pids": {"current": _number(place, "pids.current"), "limit": _limit(place, "pids.max")},
        "cpu": {name: cpu.get(name, 0) for name in CPU_V2},
        "memory": {
            **{name: memory.get(name, 0) for name in MEMORY_V2},
            "usage": _number(place, "memory.current"),
            "usage_limit": _number(place, "memory.max"),
            "swap_usage": _number(place, "memory.swap.current"),
            "swap_limit": _number(place, "memory.swap.max"),
            "max_usage": _number(place, "memory.peak"),
            "swap_max_usage": _number(place, "memory.swap.peak"),
        },
        "io": {"usage": [_io(line) for line in _read(place, "io.stat").splitlines()]},
        "hugetlb": [
            {
                "current": _number(place, f"hugetlb.{size}.current"),
                "max": _number(place, f"hugetlb.{size}.max"),
                "pagesize": size,
            }
            for size in page_sizes()
            if _read(place, f"hugetlb.{size}.current")
        ],
        "memory_events": {name: events.get(name, 0) for name in EVENTS_V2},
    }


def _io(line: str) -> dict[str, int]:
    """A line of io.stat: 8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0."""
    device, *counts = line.split()
    major, _, minor = device.partition(":")
    found = {"major": int(major), "minor": int(minor)}
    for count in counts:
        name, _, amount = count.partition("=")
        if name in IO_V2:
            found[name] = int(amount)
    return found


def _read(place: str, name: str) -> str:
    """A file's text; "" if it is not there, because the controller isn't."""
    try:
        with open(f"{place}/{name}", "rb", buffering=0) as file:
            return file.read().decode("ascii", "replace")
    except FileNotFoundError:
        return ""


def _table(place: str, name: str) -> dict[str, int]:
    lines = map(str.split, _read(place, name).splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2}


def _number(place: str, name: str) -> int:
    """A file of one number; "max" is the largest there is."""
    text = _read(place, name).strip()
    return _MAX if text == "max" else int(text or "0")


def _limit(place: str, name: str) -> int:
    """As _number, but no limit is 0, as containerd has it."""
    number = _number(place, name)
    return 0 if number == _MAX else number
