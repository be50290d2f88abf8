# SPDX-License-Identifier: Apache-2.0
"""One program from its start to its result: in a container of its own, or in one that exists.

A program is a generator of waits: each `yield` is a descriptor and a deadline, and what comes back says whether the descriptor
was ready in time. So the form that blocks (`driven`) and the asynchronous one (api/asynchronous.py) are the same code. Whatever
happens, nothing that it has made is left.
"""

from __future__ import annotations

import itertools
import os
import select
import time
from _signal import SIGKILL

from ociruntime.api.exchange import Exchange
from ociruntime.errors import NoSuchContainer, RuntimeFailure, UsageError, WrongState
from ociruntime.linux.cgroups.usage import Usage, usage_of
from ociruntime.operations.result import Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import TracebackType

    from ociruntime.api import Container
    from ociruntime.api.exchange import Input, Output
    from ociruntime.operations.exec import ExecProcess
    from ociruntime.operations.exec_document import Request

    # (pidfd, or -1: until the streams have ended; deadline) -> was it ready in time?
    Waits = Generator[tuple[int, float | None], bool, Result]

_PATIENCE = 10.0  # seconds for a killed process to end
_REST = 1.0  # seconds for the last output, once everything that could write has been killed
_COUNTED = ("memory", "pids", "cpuacct")  # controllers of cgroup v1 of which an exec gets a cgroup of its own
_numbers = itertools.count(1)


class Streams:
    """Where the program's streams go: the arguments that `run` and `Container.run` have in common.

    stdin         None: the caller's. bytes: given to the program, then the end of file. An int: a descriptor
    stdout, stderr  None: the caller's. True: captured in the result. An int: a descriptor. A function: is called with each
                  piece of bytes as it comes
    capture       the same as stdout=True and stderr=True, where they are None
    output_limit  bytes of each captured stream that are kept; what comes after that is read and dropped
    timeout       seconds; then the program, and everything that it has started, is killed. None: no limit
    """

    __slots__ = ("deadline", "exchange", "timeout")

    def __init__(
        self,
        stdin: Input,
        stdout: Output,
        stderr: Output,
        *,
        capture: bool,
        output_limit: int,
        timeout: float | None,
    ) -> None:
        if timeout is not None and not (hasattr(timeout, "__float__") and timeout >= 0):
            raise UsageError(f"timeout: a number of seconds is wanted, not {timeout!r}")
        if capture:
            stdout, stderr = (True if stdout is None else stdout), (True if stderr is None else stderr)
        self.exchange = Exchange(stdin, stdout, stderr, output_limit)
        self.timeout = timeout
        self.deadline: float | None = None

    def begin(self) -> None:
        """The program runs: from now on its time counts."""
        self.exchange.begin()
        self.deadline = None if self.timeout is None else time.monotonic() + self.timeout

    def into(self, result: Result) -> Result:
        """Put what was captured into the result."""
        for name, sink in self.exchange.sinks.items():
            setattr(result, name, bytes(sink.kept))
            setattr(result, f"{name}_lost", sink.lost)
        return result


def driven(program: InContainer | InExisting) -> Result:
    """Run the program to its end, blocking this thread."""
    with program:
        waits = program.waits()
        wait: tuple[int, float | None] | Result = next(waits)
        while not isinstance(wait, Result):
            wait = advance(waits, program.streams.exchange.serve(*wait))
        return wait


def advance(waits: Waits, in_time: bool) -> tuple[int, float | None] | Result:
    """The next wait, or at the end the result. (StopIteration of a function of the caller's must not come through here.)"""
    try:
        return waits.send(in_time)
    except StopIteration as end:
        result: Result = end.value
        return result


class InContainer:
    """The program of a container that is made for it; `with` removes the container.

    make   makes it, with these descriptors for its standard streams
    """

    def __init__(self, make: Callable[[tuple[int, int, int]], Container], streams: Streams) -> None:
        self.make = make
        self.streams = streams
        self.container: Container | None = None

    def waits(self) -> Waits:
        """Make the container, run it, kill it if its time is over, remove it, and say how it was."""
        container = self.container = self.make(self.streams.exchange.given)
        pidfd = container.pidfd()
        began = time.monotonic()
        container.start()
        self.streams.begin()
        in_time = yield pidfd, self.streams.deadline
        if not in_time:
            _kill_all(container)
            _require_end((yield pidfd, time.monotonic() + _PATIENCE), container.pid)
        wall = time.monotonic() - began
        how = container.ending()
        usage = usage_of(container.record.cgroup_paths)
        if container.record.shares_pids:
            _kill_all(container)  # what has outlived it
        yield -1, time.monotonic() + _REST
        result = Result(*how, wall, usage)
        result.timed_out = not in_time
        result.warnings = [*container.warnings, *_delete(container)]
        self.container = None
        return self.streams.into(result)

    def __enter__(self) -> InContainer:  # noqa: PYI034 - Self is in typing, which costs 6 ms
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.streams.exchange.close()
        if self.container is None:
            return
        try:
            _delete(self.container)
        except RuntimeFailure as second:
            self.container.warnings.append(str(second))  # the first failure is the one to report
        self.container.reap()


def _kill_all(container: Container) -> None:
    try:
        container.kill(SIGKILL, all_processes=True)
    except WrongState:
        return  # it has just ended


def _delete(container: Container) -> list[str]:
    try:
        return container.delete(force=True)
    except NoSuchContainer:
        return []  # somebody else has deleted it


class InExisting:
    """One more program in a container; `with` ends it, and everything that it has started."""

    def __init__(self, container: Container, request: Request, streams: Streams) -> None:
        self.container = container
        self.request = request
        self.streams = streams
        self.group: dict[str, str] = {}
        self.process: ExecProcess | None = None
        self.was_paused = False

    def waits(self) -> Waits:
        """As InContainer.waits; in a cgroup of its own below the container's, where one can be made."""
        request = self.request if self.request.cgroups else self._in_own_group()
        process = self.process = self.container.exec(request, stdio=self.streams.exchange.given)
        began = time.monotonic()
        self.streams.begin()
        in_time = yield process.pidfd, self.streams.deadline
        if not in_time:
            self._kill()
            _require_end((yield process.pidfd, time.monotonic() + _PATIENCE), process.pid)
        wall = time.monotonic() - began
        how = process.ending()
        usage = usage_of(self.group) if self.group else Usage()
        self._kill()  # what it has left behind
        yield -1, time.monotonic() + _REST
        result = Result(*how, wall, usage)
        result.timed_out = not in_time
        result.warnings = list(process.warnings)
        if not self.group:
            result.warnings.append(
                "it had no cgroup of its own: what it has started was not ended, and its usage is not known"
            )
        return self.streams.into(result)

    def _in_own_group(self) -> Request:
        """Only controllers that count, or the one hierarchy of v2: each directory costs the kernel some work."""
        paths = self.container.record.cgroup_paths
        name = f"exec-{os.getpid()}-{next(_numbers)}"
        v1 = [controller for controller in _COUNTED if controller in paths]
        for controller in v1 or [one for one in paths if one == ""]:
            directory = f"{paths[controller]}/{name}"
            if directory not in self.group.values():  # controllers may be mounted together
                try:
                    os.mkdir(directory)
                except OSError:
                    self._remove_group()  # read-only, or the limit of descendants is reached: then without
                    return self.request
            self.group[controller] = directory
        if not self.group:
            return self.request
        return self.request.in_cgroups([f"{','.join(v1)}:{name}" if v1 else name])

    def _kill(self) -> None:
        if self.group:
            from ociruntime.linux.cgroups.remove import kill_all

            kill_all(self.group, SIGKILL)
            self._thaw()
        elif self.process is not None:
            try:
                self.process.kill(SIGKILL)
            except WrongState:
                return  # it has ended

    def _thaw(self) -> None:
        """Cgroup v1 lets no process of a paused container die; it is paused again at the end."""
        from ociruntime.identity import frozen

        if frozen(self.container.record.cgroup_paths):
            from ociruntime.linux.cgroups.freezer import set_frozen

            self.was_paused = True
            set_frozen(self.container.record.cgroup_paths, False)

    def _remove_group(self) -> None:
        from ociruntime.linux.cgroups.remove import remove

        if self.group:
            remove(self.group, list(dict.fromkeys(self.group.values())))
            self.group = {}

    def __enter__(self) -> InExisting:  # noqa: PYI034 - as above
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.streams.exchange.close()
        if self.process is not None:
            if failure is not None:
                self._end(self.process)
            self.process.close()
        self._remove_group()
        if self.was_paused:
            from ociruntime.linux.cgroups.freezer import set_frozen

            set_frozen(self.container.record.cgroup_paths, True)

    def _end(self, process: ExecProcess) -> None:
        """Kill and reap it: as long as this process does not reap it, the container's init can't end."""
        self._kill()
        poll = select.poll()
        poll.register(process.pidfd, select.POLLIN)
        if poll.poll(_PATIENCE * 1000):
            try:
                process.ending()
            except RuntimeFailure:
                return  # it has been collected just before the failure


def _require_end(ended: bool, pid: int) -> None:
    if not ended:
        raise RuntimeFailure(
            f"process {pid} does not end after SIGKILL", hint=f"/proc/{pid}/stack says what it is waiting for"
        )
