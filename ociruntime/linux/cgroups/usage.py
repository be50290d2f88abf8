# SPDX-License-Identifier: Apache-2.0
"""What have the processes of a cgroup used, in plain numbers, on cgroup v1 and v2?

stats.py has the same for `events`, in runc's words; this is for the result of a program that has ended, and is read before its
cgroup is removed. Must not import anything of the package.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX = 1 << 62  # cgroup v1 writes a number about so large for "no limit"


class Usage:
    """What the processes of a cgroup have used; None where the kernel or this version of cgroups doesn't count it.

    cpu_time        seconds, user and system
    memory_peak     bytes, at most at one time (page cache included)
    memory_limit    bytes
    pids_peak       processes and threads at one time, at most
    read_bytes, written_bytes   from and to block devices
    oom_kills       how many processes the kernel has killed because of the memory limit
    """

    __slots__ = (
        "cpu_time",
        "memory_limit",
        "memory_peak",
        "oom_kills",
        "pids_peak",
        "read_bytes",
        "written_bytes",
    )

    def __init__(self) -> None:
        self.cpu_time: float | None = None
        self.memory_peak: int | None = None
        self.memory_limit: int | None = None
        self.pids_peak: int | None = None
        self.read_bytes: int | None = None
        self.written_bytes: int | None = None
        self.oom_kills = 0

    def __repr__(self) -> str:
        return f"Usage({', '.join(f'{name}={getattr(self, name)}' for name in self.__slots__)})"


def usage_of(paths: dict[str, str]) -> Usage:
    """What the processes in a cgroup have used, those that have ended included.

    paths   directory per v1 controller, "" for v2; none: nothing is known
    """
    found = Usage()
    v1 = any(name and not name.startswith("name=") for name in paths)
    place = paths.get("", "")
    if v1:
        memory = paths.get("memory", "")
        found.cpu_time = _scaled(paths.get("cpuacct", ""), "cpuacct.usage", 1e9)
        found.memory_peak = _number(memory, "memory.max_usage_in_bytes")
        found.memory_limit = _number(memory, "memory.limit_in_bytes")
        found.pids_peak = _number(paths.get("pids", ""), "pids.peak")
        found.oom_kills = _field(memory, "memory.oom_control", "oom_kill") or 0
        found.read_bytes, found.written_bytes = _blkio(paths.get("blkio", ""))
    elif place:
        used = _field(place, "cpu.stat", "usage_usec")
        found.cpu_time = None if used is None else used / 1e6
        found.memory_peak = _number(place, "memory.peak")
        found.memory_limit = _number(place, "memory.max")
        found.pids_peak = _number(place, "pids.peak")
        found.oom_kills = _field(place, "memory.events", "oom_kill") or 0
        found.read_bytes, found.written_bytes = _io(place)
    return found


def _text(place: str, name: str) -> str | None:
    """A file's text; None if it is not there, or the controller isn't."""
    if not place:
        return None
    try:
        with open(f"{place}/{name}", "rb", buffering=0) as file:
            return file.read().decode("ascii", "replace")
    except OSError:
        return None


def _number(place: str, name: str) -> int | None:
    """A file of one number; None for "max", and for a number that stands for no limit."""
    text = (_text(place, name) or "").strip()
    return int(text) if text.isdigit() and int(text) < _MAX else None


def _scaled(place: str, name: str, parts: float) -> float | None:
    number = _number(place, name)
    return None if number is None else number / parts


def _field(place: str, name: str, key: str) -> int | None:
    """The number after a key, in a file of lines with a key and a number each."""
    for line in (_text(place, name) or "").splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == key:
            return int(words[1])
    return None


def _blkio(place: str) -> tuple[int | None, int | None]:
    text = _text(place, "blkio.throttle.io_service_bytes")
    if text is None:
        return None, None
    words = [line.split() for line in text.splitlines()]
    return _sum(words, lambda one: one[1:2] == ["Read"]), _sum(words, lambda one: one[1:2] == ["Write"])


def _sum(lines: list[list[str]], wanted: Callable[[list[str]], bool]) -> int:
    return sum(int(words[-1]) for words in lines if wanted(words))


def _io(place: str) -> tuple[int | None, int | None]:
    text = _text(place, "io.stat")
    if text is None:
        return None, None
    counts = [part.partition("=") for part in text.split()]
    return tuple(sum(int(value) for key, _, value in counts if key == name) for name in ("rbytes", "wbytes"))  # type: ignore[return-value]
