# SPDX-License-Identifier: Apache-2.0
"""What happens in a container? Its statistics now and then, and each time that it was out of memory.

                        cgroup v1                              cgroup v2
    out of memory       eventfd(2) in cgroup.event_control     memory.events: POLLPRI, oom_kill has grown
    the end             the cgroup's directory is gone         cgroup.events: POLLPRI, populated is 0

Must not import a verb, nor what create needs.
"""

from __future__ import annotations

import os
import select
import time

from ociruntime.container import ALLOWED
from ociruntime.errors import RuntimeFailure, WrongState
from ociruntime.linux.cgroups.stats import stats

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from ociruntime.container import Container

    # What tells when processes of a container are out of memory. `descriptor` is ready for `readiness` when that has
    # happened, -1 without a memory controller; wait(seconds) says how many times it has since the last call.
    MemoryWatch: TypeAlias = "_V1 | _V2"

Event = dict[str, object]
_LONGEST_WAIT = 1.0  # seconds until the next check whether the cgroup is still there


def statistics(container: Container) -> Event:
    """The event "stats", as runc has it. Raises RuntimeFailure if the container has no cgroup, or it is gone."""
    paths = container.cgroup_paths()
    try:
        return {"type": "stats", "id": container.id, "data": stats(paths)}
    except OSError as failure:
        raise RuntimeFailure(str(failure.filename or ""), errno=failure.errno or 0) from None


def require_alive(container: Container) -> None:
    """Raise WrongState if the container has ended."""
    if container.status() not in ALLOWED["events"]:
        raise WrongState(f"container with id {container.id} is not running")


def events(container: Container, interval: float) -> Iterator[Event]:
    """Events until the container's cgroup is gone (v1) or empty (v2).

    interval   seconds between two events "stats"
    """
    watch = _watch(container.record.cgroup_paths)
    try:
        due = time.monotonic() + interval
        while True:
            happened = watch.wait(min(max(due - time.monotonic(), 0), _LONGEST_WAIT))
            for _ in range(happened):
                yield {"type": "oom", "id": container.id}
            if watch.ended():
                return
            if time.monotonic() >= due:
                due = time.monotonic() + interval
                yield statistics(container)
    finally:
        watch.close()


def memory_watch(container: Container) -> MemoryWatch:
    """What tells when the container is out of memory; see api.Container.watch_memory."""
    return _watch(container.cgroup_paths())


def _watch(paths: dict[str, str]) -> MemoryWatch:
    if any(name and not name.startswith("name=") for name in paths):
        return _V1(paths)
    return _V2(paths.get("", ""))


class _V1:
    """Memory events of a cgroup v1; without the memory controller there are none."""

    readiness = select.POLLIN

    def __init__(self, paths: dict[str, str]) -> None:
        self.place = paths.get("memory") or next(iter(paths.values()))
        self.event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.poll = select.poll()
        self.descriptor = -1
        if "memory" in paths:
            control = os.open(f"{self.place}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
            try:
                with open(f"{self.place}/cgroup.event_control", "wb", buffering=0) as file:
                    file.write(f"{self.event} {control}".encode())
            finally:
                os.close(control)
            self.poll.register(self.event, select.POLLIN)
            self.descriptor = self.event

    def wait(self, seconds: float) -> int:
        """How many times it has been out of memory; the kernel also wakes us when the cgroup goes."""
        if not self.poll.poll(seconds * 1000):
            return 0
        count = os.eventfd_read(self.event)
        return 0 if self.ended() else count

    def ended(self) -> bool:
        """True if the cgroup is gone."""
        return not os.path.isdir(self.place)

    def close(self) -> None:
        """Stop watching."""
        os.close(self.event)


class _V2:
    """Memory events of a cgroup v2. Its files are always ready for reading: who waited for that would never wait."""

    readiness = select.POLLPRI

    def __init__(self, place: str) -> None:
        self.files: dict[str, int] = {}
        self.poll = select.poll()
        for name in ("memory.events", "cgroup.events"):
            try:
                self.files[name] = os.open(f"{place}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # without that controller
            self.poll.register(self.files[name], select.POLLPRI)
        self.descriptor = self.files.get("memory.events", -1)
        self.killed = self._value("memory.events", "oom_kill")
        self.populated = self._value("cgroup.events", "populated")

    def wait(self, seconds: float) -> int:
        """How many processes have been killed for want of memory."""
        self.poll.poll(seconds * 1000)
        before, self.killed = self.killed, self._value("memory.events", "oom_kill")
        self.populated = self._value("cgroup.events", "populated")
        return max(self.killed - before, 0)

    def ended(self) -> bool:
        """True if no process is left."""
        return not self.populated

    def _value(self, name: str, key: str) -> int:
        if name not in self.files:
            return 0
        try:
            text = os.pread(self.files[name], 4096, 0)
        except OSError as failure:
            if failure.errno == 19:  # ENODEV: the cgroup has been removed
                return 0
            raise
        for line in text.split(b"\n"):
            if line.startswith(key.encode() + b" "):
                return int(line.split()[1])
        return 0

    def close(self) -> None:
        """Stop watching."""
        for descriptor in self.files.values():
            os.close(descriptor)
