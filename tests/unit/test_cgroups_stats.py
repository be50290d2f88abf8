# SPDX-License-Identifier: Apache-2.0
"""What linux/cgroups/stats.py makes of the kernel's files, on both versions of cgroups; and durations of `events`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ociruntime.errors import UsageError
from ociruntime.linux.cgroups import stats as reader
from ociruntime.linux.cgroups.stats import page_size, stats
from ociruntime.verbs.events import seconds

if TYPE_CHECKING:
    from pathlib import Path

ZERO_SET = dict.fromkeys(("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate", "memory_spread_page", "memory_spread_slab", "memory_pressure", "sched_load_balance", "sched_relax_domain_level"), 0)  # fmt: skip
NOTHING = {"limit": 0, "failcnt": 0}


def tree(directory: Path, **files: str) -> str:
    """A cgroup directory with these files; two underscores stand for a dot."""
    directory.mkdir(exist_ok=True)
    for name, text in files.items():
        (directory / name.replace("__", ".")).write_text(text)
    return str(directory)


def test_v1(tmp_path: Path) -> None:
    """Every file of cgroup v1 that counts, in runc's units and names."""
    cpu = tree(
        tmp_path / "cpu",
        cpu__stat="nr_periods 5\nnr_throttled 2\nthrottled_time 77\n",
        cpuacct__usage="300\n",
        cpuacct__usage_percpu="100 200 \n",
        cpuacct__usage_all="cpu user system\n0 1 2\n1 3 4\n",
        cpuacct__stat="user 7\nsystem 8\n",
    )
    cpuset = tree(
        tmp_path / "cpuset",
        cpuset__cpus="0-1,3\n",
        cpuset__mems="0\n",
        cpuset__sched_relax_domain_level="-1\n",
    )
    memory = tree(
        tmp_path / "memory",
        memory__stat="rss 5\ncache 4\n",
        memory__limit_in_bytes="100\n",
        memory__usage_in_bytes="50\n",
        memory__max_usage_in_bytes="60\n",
        memory__failcnt="3\n",
    )
    pids = tree(tmp_path / "pids", pids__current="2\n", pids__max="max\n")
    blkio = tree(
        tmp_path / "blkio",
        blkio__throttle__io_serviced_recursive="8:0 Read 5\n8:0 Total 5\nTotal 5\n",
        blkio__throttle__io_service_bytes_recursive="8:0 Read 4096\nTotal 4096\n",
    )
    paths = {
        "cpu": cpu,
        "cpuacct": cpu,
        "cpuset": cpuset,
        "memory": memory,
        "pids": pids,
        "blkio": blkio,
        "": "/none",
    }
    found = stats(paths)
    assert list(found) == [
        "cpu",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
    ]
    usage = {"total": 300, "percpu": [100, 200], "percpu_kernel": [2, 4], "percpu_user": [1, 3]}
    assert found["cpu"] == {
        "usage": {**usage, "kernel": 80_000_000, "user": 70_000_000},
        "throttling": {"periods": 5, "throttledPeriods": 2, "throttledTime": 77},
    }
    assert found["cpuset"] == {"cpus": [0, 1, 3], "mems": [0], **ZERO_SET, "sched_relax_domain_level": -1}
    assert found["memory"] == {
        "cache": 4,
        "usage": {"limit": 100, "usage": 50, "max": 60, "failcnt": 3},
        "swap": NOTHING,
        "kernel": NOTHING,
        "kernelTCP": NOTHING,
        "raw": {"cache": 4, "rss": 5},
    }
    assert found["pids"] == {"current": 2}
    assert found["blkio"] == {
        "ioServicedRecursive": [
            {"major": 8, "op": "Read", "value": 5},
            {"major": 8, "op": "Total", "value": 5},
        ],
        "ioServiceBytesRecursive": [{"major": 8, "op": "Read", "value": 4096}],
    }
    assert (found["intel_rdt"], found["network_interfaces"]) == ({}, None)


def test_v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same of cgroup v2, in the words of v1."""
    monkeypatch.setattr(reader, "page_sizes", lambda: ["2MB", "1GB"])
    place = tree(
        tmp_path / "v2",
        cpu__stat="usage_usec 3\nuser_usec 1\nsystem_usec 2\nnr_periods 4\nnr_throttled 1\nthrottled_usec 9\n",
        memory__stat="anon 5\nfile 4\n",
        memory__current="50\n",
        memory__max="100\n",
        pids__current="2\n",
        pids__max="20\n",
        io__stat="8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n253:0 \n",
        memory__swap__current="7\n",
        memory__swap__max="10\n",
        hugetlb__2MB__rsvd__current="2097152\n",
        hugetlb__2MB__current="0\n",
        hugetlb__2MB__events="max 6\n",
        hugetlb__1GB__current="0\n",
    )
    found = stats({"": place})
    assert found["cpu"] == {
        "usage": {"total": 3000, "kernel": 2000, "user": 1000},
        "throttling": {"periods": 4, "throttledPeriods": 1, "throttledTime": 9000},
    }
    assert found["cpuset"] == ZERO_SET
    assert found["memory"] == {
        "cache": 4,
        "usage": {"limit": 100, "usage": 50, "failcnt": 0},
        "swap": {"limit": 110, "usage": 57, "failcnt": 0},
        "kernel": NOTHING,
        "kernelTCP": NOTHING,
        "raw": {"anon": 5, "file": 4},
    }
    assert found["pids"] == {"current": 2, "limit": 20}
    device = {"major": 8, "minor": 16}
    assert found["blkio"] == {
        "ioServiceBytesRecursive": [
            {**device, "op": "Read", "value": 1},
            {**device, "op": "Write", "value": 2},
        ],
        "ioServicedRecursive": [{**device, "op": "Read", "value": 3}, {**device, "op": "Write", "value": 4}],
    }
    assert found["hugetlb"] == {"2MB": {"usage": 2097152, "failcnt": 6}, "1GB": {"failcnt": 0}}


def test_no_limit_on_v2(tmp_path: Path) -> None:
    """The word max is the largest number of 64 bits, as runc prints it."""
    place = tree(tmp_path / "v2", memory__max="max\n", memory__swap__max="max\n")
    memory = stats({"": place})["memory"]
    assert isinstance(memory, dict)
    assert (memory["usage"], memory["swap"]) == ({"limit": 2**64 - 1, "failcnt": 0},) * 2


@pytest.mark.parametrize(("kib", "name"), [(64, "64KB"), (2048, "2MB"), (1048576, "1GB"), (32768, "32MB")])
def test_names_of_page_sizes(kib: int, name: str) -> None:
    """As the kernel's cgroup files have them."""
    assert page_size(kib) == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5s", 5),
        ("100ms", 0.1),
        ("1m30s", 90),
        ("1.5h", 5400),
        ("0", 0),
        ("0s", 0),
        ("-1s", -1),
        ("2us", 2e-6),
    ],
)
def test_durations(text: str, expected: float) -> None:
    """As Go's time.ParseDuration reads them."""
    assert seconds(text) == pytest.approx(expected)


@pytest.mark.parametrize("text", ["", "5", "s", "5x", "5 s", "1..2s", ".s", "-", "1s2"])
def test_what_is_no_duration(text: str) -> None:
    """Refused by the flag's name."""
    with pytest.raises(UsageError, match="--interval"):
        seconds(text)
