# SPDX-License-Identifier: Apache-2.0
"""What containerd is told of a cgroup v2: the kernel's files, as a 6.12 has them, on any machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from ociruntime.errors import RuntimeFailure
from ociruntime.shim import stats
from tests.shim.descriptions import kind_of

if TYPE_CHECKING:
    from pathlib import Path

    from ociruntime.api import Container

FILES = {
    "cpu.stat": """usage_usec 48120
user_usec 13371
system_usec 34749
nice_usec 0
core_sched.force_idle_usec 0
nr_periods 12
nr_throttled 3
throttled_usec 72011
nr_bursts 0
burst_usec 0
""",
    "memory.stat": """anon 278528
file 4096
kernel 208896
kernel_stack 16384
pagetables 61440
sock 0
shmem 0
file_mapped 4096
file_dirty 0
file_writeback 0
anon_thp 2097152
inactive_anon 262144
active_anon 4096
slab 97832
pgfault 1302
pgmajfault 7
workingset_refault_anon 0
thp_fault_alloc 1
thp_collapse_alloc 0
""",
    "memory.current": "495616\n",
    "memory.max": "67108864\n",
    "memory.peak": "1511424\n",
    "memory.swap.current": "8192\n",
    "memory.swap.max": "max\n",
    "memory.swap.peak": "12288\n",
    "memory.events": "low 0\nhigh 5\nmax 31\noom 2\noom_kill 1\noom_group_kill 0\n",
    "pids.current": "2\n",
    "pids.max": "50\n",
    "io.stat": "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n7:1 \n",
    "hugetlb.2MB.current": "2097152\n",
    "hugetlb.2MB.max": "max\n",
}


class OfFiles:
    """A container whose cgroup is a directory."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def cgroup_paths(self) -> dict[str, str]:
        """As Container's."""
        return {"": str(self.place)}


def told(place: Path, files: dict[str, str]) -> Any:
    """What google's protobuf reads of our answer."""
    for name, text in files.items():
        (place / name).write_text(text)
    found = stats.metrics(cast("Container", OfFiles(place)))
    assert found["type_url"] == "io.containerd.cgroups.v2.Metrics"
    return kind_of("MetricsV2").FromString(found["value"])


def test_every_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each number is in its field; `max` is the largest number; what the message doesn't have is left out."""
    monkeypatch.setattr(stats, "page_sizes", lambda: ["2MB", "1GB"])
    seen = told(tmp_path, FILES)
    cpu, memory = seen.cpu, seen.memory
    assert (cpu.usage_usec, cpu.user_usec, cpu.system_usec) == (48120, 13371, 34749)
    assert (cpu.nr_periods, cpu.nr_throttled, cpu.throttled_usec) == (12, 3, 72011)
    assert (memory.usage, memory.usage_limit, memory.max_usage) == (495616, 67108864, 1511424)
    assert (memory.swap_usage, memory.swap_limit, memory.swap_max_usage) == (8192, 2**64 - 1, 12288)
    assert (memory.anon, memory.file, memory.slab, memory.kernel_stack) == (278528, 4096, 97832, 16384)
    assert (memory.pgfault, memory.pgmajfault, memory.anon_thp) == (1302, 7, 2097152)
    assert (memory.thp_fault_alloc, memory.thp_collapse_alloc) == (1, 0)
    events = seen.memory_events
    assert (events.low, events.high, events.max, events.oom, events.oom_kill) == (0, 5, 31, 2, 1)
    assert (seen.pids.current, seen.pids.limit) == (2, 50)
    devices = [(one.major, one.minor, one.rbytes, one.wbytes, one.rios, one.wios) for one in seen.io.usage]
    assert devices == [(254, 0, 4096, 8192, 1, 2), (7, 1, 0, 0, 0, 0)]
    assert [(one.pagesize, one.current, one.max) for one in seen.hugetlb] == [("2MB", 2097152, 2**64 - 1)]


def test_no_limit_of_processes(tmp_path: Path) -> None:
    """It is 0, as in containerd's own numbers."""
    assert told(tmp_path, {**FILES, "pids.max": "max\n"}).pids.limit == 0


def test_without_controllers(tmp_path: Path) -> None:
    """As in a slice that has none: what is not there is 0, and no error."""
    seen = told(tmp_path, {"cpu.stat": FILES["cpu.stat"]})
    assert seen.cpu.usage_usec == 48120
    assert (seen.memory.usage, seen.pids.current, list(seen.io.usage)) == (0, 0, [])


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """It is named, with the kernel's reason."""
    (tmp_path / "cpu.stat").mkdir()
    with pytest.raises(RuntimeFailure, match=r"cpu\.stat: EISDIR"):
        told(tmp_path, {})
