# SPDX-License-Identifier: Apache-2.0
"""What did a test leave behind? Snapshots of processes, mounts, cgroups, network namespaces, state directories.

Other test sessions may run on the same machine, so only what bears this session's mark (or lies below
its directory) is looked at; with OCIRUNTIME_TEST_ALONE=1 everything is.
Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.driver import MARK, MARK_VARIABLE, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALONE = os.environ.get("OCIRUNTIME_TEST_ALONE") == "1"
CGROUP_ROOT = "/sys/fs/cgroup"
_STATE_ROOTS = ("/run/ociruntime", "/run/runc", "/run/crun")
_KERNEL_THREAD_PARENT = 2


@dataclass
class Snapshot:
    """What exists now, of each kind, as text that names it."""

    processes: dict[str, int] = field(default_factory=dict)
    mounts: set[str] = field(default_factory=set)
    cgroups: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)
    states: set[str] = field(default_factory=set)

    def added_since(self, before: Snapshot) -> list[str]:
        """One line for each thing that was not there before."""
        lines = [f"process {name}" for name in self.processes.keys() - before.processes.keys()]
        for kind in ("mounts", "cgroups", "namespaces", "states"):
            new: set[str] = getattr(self, kind) - getattr(before, kind)
            lines += [f"{kind.removesuffix('s')} {name}" for name in new]
        return sorted(lines)


def _read(path: str) -> bytes:
    """The file's bytes; nothing if it, or its process, has gone or is not ours to read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _descends_from_us(pid: int, parents: dict[int, int]) -> bool:
    ours = os.getpid()
    while pid > 1:
        pid = parents.get(pid, 0)
        if pid == ours:
            return True
    return False


def _is_ours(pid: int, below: str, parents: dict[int, int]) -> bool:
    """Whether the process descends from this session or bears its mark."""
    if ALONE or _descends_from_us(pid, parents):
        return True
    base = f"/proc/{pid}"
    mark = MARK.encode()
    if any(mark in _read(f"{base}/{name}") for name in ("cgroup", "cmdline")):
        return True
    if f"{MARK_VARIABLE}={MARK}".encode() in _read(f"{base}/environ"):
        return True
    return any(_link(f"{base}/{name}").startswith(below) for name in ("root", "cwd"))


def _processes(below: str) -> Iterator[tuple[str, int]]:
    """(name with start time, pid) of each living process of ours; zombies wait for their parent only."""
    stats: dict[int, list[bytes]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            stat = _read(f"/proc/{entry}/stat")
            if stat:
                stats[int(entry)] = stat[stat.rindex(b")") + 2 :].split()
    parents = {pid: int(fields[1]) for pid, fields in stats.items()}
    for pid, fields in stats.items():
        dead = fields[0] in (b"Z", b"X")
        if dead or pid == os.getpid() or _KERNEL_THREAD_PARENT in (pid, parents[pid]):
            continue
        if _is_ours(pid, below, parents):
            name = _read(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode(errors="replace").strip()
            yield f"{pid} started {fields[19].decode()}: {name}", pid


def _mounts(below: str) -> Iterator[str]:
    for line in _read("/proc/self/mountinfo").decode(errors="surrogateescape").splitlines():
        point = line.split()[4]
        if ALONE or point.startswith(below) or MARK in line:
            yield point


def _cgroups() -> Iterator[str]:
    """Without recursion: others may have nested some hundred cgroups."""
    left = [CGROUP_ROOT]
    while left:
        try:
            with os.scandir(left.pop()) as entries:
                found = [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
        except OSError:  # gone meanwhile, or nested too deep for a path
            continue
        left += found
        yield from (path for path in found if ALONE or MARK in path)


def _states(below: str) -> Iterator[str]:
    """State directories: in the default roots, and in the private `state` roots of the stages.

    What begins with @ belongs to no container: the runtime's store of compiled filters.
    """
    for root in _STATE_ROOTS:
        if os.path.isdir(root):
            yield from (f"{root}/{name}" for name in os.listdir(root) if ALONE or MARK in name)
    for directory, names, _ in os.walk(below):
        if "state" in names:
            root = os.path.join(directory, "state")
            yield from (f"{root}/{name}" for name in os.listdir(root) if not name.startswith("@"))
        names[:] = [name for name in names if name not in ("rootfs", "state")]


def _network_namespaces(pids: list[int], below: str) -> Iterator[str]:
    """Network namespaces that our processes are in, that are bound to a name, or named with our mark."""
    own = _link("/proc/self/ns/net")
    for pid in pids:
        link = _link(f"/proc/{pid}/ns/net")
        if link and link != own:
            yield link
    for line in _read("/proc/self/mountinfo").decode(errors="surrogateescape").splitlines():
        words = line.split()
        if words[3].startswith("net:[") and (ALONE or words[4].startswith(below) or MARK in words[4]):
            yield f"{words[3]} at {words[4]}"


def take(below: Path) -> Snapshot:
    """Look at the machine now; `below` is the directory in which the test works."""
    prefix = str(below)
    processes = dict(_processes(prefix))
    return Snapshot(
        processes,
        set(_mounts(prefix)),
        set(_cgroups()),
        set(_network_namespaces(list(processes.values()), prefix)),
        set(_states(prefix)),
    )


def left_behind(
    before: Snapshot, below: Path, seconds: float = 2.0, may_stay: Callable[[str], bool] = lambda _: False
) -> tuple[list[str], Snapshot]:
    """What is there more than before and may not stay, once what is just ending has ended."""
    end = time.monotonic() + seconds * PATIENCE
    while True:
        now = take(below)
        lines = [line for line in now.added_since(before) if not may_stay(line)]
        if not lines or time.monotonic() > end:
            return lines, now
        time.sleep(0.05)


def clean(before: Snapshot, now: Snapshot) -> None:
    """Take away what `now` has more than `before`, so that the next test starts clean."""
    for name in now.processes.keys() - before.processes.keys():
        try:
            os.kill(now.processes[name], signal.SIGKILL)
        except ProcessLookupError:
            continue
    for point in sorted(now.mounts - before.mounts, key=len, reverse=True):
        subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL, check=False)
    for path in sorted(now.cgroups - before.cgroups, key=len, reverse=True):
        _remove_cgroup(path)
    for path in now.states - before.states:
        subprocess.run(["rm", "-rf", "--one-file-system", path], check=False)


def _remove_cgroup(path: str) -> None:
    if path.startswith(f"{CGROUP_ROOT}/freezer/"):
        with open(f"{path}/freezer.state", "w", encoding="ascii") as file:
            file.write("THAWED")
    for _ in range(50):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError:  # a killed process is still leaving
            time.sleep(0.02)
        else:
            return


def own_children() -> set[str]:
    """This process's children, also those that have ended and are not reaped: a session may have some that serve other tests."""
    return {pid for path in Path("/proc/self/task").glob("*/children") for pid in path.read_text().split()}
