# SPDX-License-Identifier: Apache-2.0
"""The library's face: what a program that imports ociruntime calls. Nothing inside the package imports this.

`ociruntime` itself offers these names, and Options, Request and the errors. What an operation needs is imported when it is
first called: a program that only asks for states does not pay for the launcher.
"""

from __future__ import annotations

import os

from ociruntime import container
from ociruntime.container import ignored, list_all
from ociruntime.descriptors import Descriptors
from ociruntime.errors import RuntimeFailure, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ociruntime.api.documents import Statistics
    from ociruntime.api.exchange import Input, Output
    from ociruntime.bundle import Bundle
    from ociruntime.operations.events import MemoryWatch
    from ociruntime.operations.exec import ExecProcess, Fate, PassSignals
    from ociruntime.operations.exec_document import Request
    from ociruntime.operations.result import Result
    from ociruntime.operations.rootfs_mounts import RootfsMount
    from ociruntime.plan.order import Options
    from ociruntime.statedir import Record, StateDir

__all__ = [
    "Container",
    "create",
    "delete",
    "gc",
    "list_all",
    "load",
    "mount_rootfs",
    "run",
    "run_async",
    "unmount_rootfs",
]

_PATIENCE = 10.0  # seconds for killed processes to end
_OUTPUT_LIMIT = 16 << 20  # bytes of each captured stream


class Container(container.Container):
    """A container that exists, and what can be done with it; the attributes are those of container.Container.

    `with` deletes it at the end, by force.
    """

    def __init__(self, directory: StateDir, record: Record) -> None:
        super().__init__(directory, record)
        self._opened = Descriptors()
        self._ending: tuple[int | None, int] | None = None
        self._fates: list[Fate] = []  # of processes that this one has to reap

    def __repr__(self) -> str:
        return f"<Container {self.id}, pid {self.pid}, below {os.path.dirname(self.directory.path)}>"

    def __enter__(self) -> Container:  # noqa: PYI034 - Self is in typing, which costs 6 ms
        return self

    def __exit__(self, *details: object) -> None:
        from ociruntime.errors import NoSuchContainer

        try:
            self.delete(force=True)
        except NoSuchContainer:
            return  # it has been deleted before
        finally:
            self.reap()
            self._opened.close()

    def pidfd(self) -> int:
        """A pidfd of init, this object's own: ready to be read when init has ended. pidfd_open(2)

        For a container that this process has created. Raises RuntimeFailure if init is gone.
        """
        if "init" not in self._opened:
            try:
                self._opened["init"] = os.pidfd_open(self.pid)
            except OSError as failure:
                raise RuntimeFailure(f"init, process {self.pid}", errno=failure.errno or 0) from None
        return self._opened["init"]

    def ending(self) -> tuple[int | None, int]:
        """(exit code, signal) of init, once it has ended: (3, 0), or (None, 9). Waits for that; may be called again.

        Raises RuntimeFailure if init is not a child of this process, or something else has collected its exit status.
        """
        if self._ending is None:
            from ociruntime.operations.result import ending

            try:
                self._ending = ending(self.pidfd())
            except ChildProcessError:
                raise RuntimeFailure(
                    "init is not a child of this process, or its exit status has been collected"
                ) from None
        return self._ending

    def _end_execs(self) -> None:
        import time
        from _signal import SIGKILL, pidfd_send_signal

        from ociruntime.api.exchange import is_ready

        deadline = time.monotonic() + _PATIENCE
        for fate in self._fates:
            if fate.ending is not None:
                continue
            try:
                with Descriptors() as opened:
                    opened["process"] = os.pidfd_open(
                        fate.pid
                    )  # it has not been reaped: the number is its own
                    pidfd_send_signal(opened["process"], SIGKILL)
                    if is_ready(opened["process"], deadline - time.monotonic()):
                        fate.collect()
            except (ProcessLookupError, RuntimeFailure):
                continue  # something else in this process has reaped it

    def reap(self) -> None:
        """Collect the exit status of an init that this process has created and that has ended."""
        if self._ending is None:  # else the number may be another child's by now
            super().reap()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of a container that this process has created; may be called again.

        timeout   seconds, or None
        By a pidfd, so it takes nothing away from subprocess, asyncio or another thread.
        Returns init's exit code, or 128 + n if signal n ended it. Raises TimeoutError; RuntimeFailure as `ending`.
        """
        if self._ending is None and timeout is not None:
            from ociruntime.api.exchange import is_ready

            if not is_ready(self.pidfd(), timeout):
                raise TimeoutError(f"{self.id} has not ended after {timeout} s")
        code, signal = self.ending()
        return 128 + signal if code is None else code

    def run(
        self,
        request: Request | list[str],
        *,
        stdin: Input = None,
        stdout: Output = None,
        stderr: Output = None,
        capture: bool = False,
        output_limit: int = _OUTPUT_LIMIT,
        timeout: float | None = None,
    ) -> Result:
        """Run one more program to its end, and then end everything that it has started.

        request   the program, and how it differs from the container's own process; or just its arguments
        The rest, and the result, are those of `run`. It gets a cgroup of its own below the container's, if one can be made
        (else the result says nothing of what it has used). Raises as `exec`.
        """
        from ociruntime.api.running import InExisting, Streams, driven

        streams = Streams(stdin, stdout, stderr, capture=capture, output_limit=output_limit, timeout=timeout)
        return driven(InExisting(self, _request(request), streams))

    async def run_async(
        self,
        request: Request | list[str],
        *,
        stdin: Input = None,
        stdout: Output = None,
        stderr: Output = None,
        capture: bool = False,
        output_limit: int = _OUTPUT_LIMIT,
        timeout: float | None = None,
    ) -> Result:
        """As `Container.run`, without blocking the asyncio loop while the program runs. If cancelled, it ends the program."""
        from ociruntime.api.asynchronous import driven
        from ociruntime.api.running import InExisting, Streams

        streams = Streams(stdin, stdout, stderr, capture=capture, output_limit=output_limit, timeout=timeout)
        return await driven(InExisting(self, _request(request), streams))

    def start(self, trace: str = "") -> None:
        """Run the program.

        trace   file for a timeline of the steps, or ""
        Raises WrongState unless created; StepFailed (HookFailed) if a hook or execve failed: then the container is stopped.
        """
        from ociruntime.operations.start import start

        start(self, trace)

    def exec(
        self,
        request: Request | list[str],
        *,
        pid_file: str = "",
        stdio: tuple[int, int, int] = (-1, -1, -1),
        console_socket: str = "",
        pidfd_socket: str = "",
        take_terminal: Callable[[int], None] | None = None,
        pass_signals: PassSignals | None = None,
        trace: str = "",
    ) -> ExecProcess:
        """Run one more program in a container; returns when it has been executed.

        request   the program, and how it differs from the container's own process; or just its arguments
        pid_file  where to write its process id, or ""
        stdio     descriptors that become its 0, 1, 2; -1: the caller's
        console_socket, pidfd_socket  sockets to send its terminal, or a pidfd, to; or ""
        take_terminal  is called with the master of its terminal, and owns it, before the program runs
        pass_signals   is called before the program runs, with two functions: whether it has begun, and one that sends
                       it a signal; for a command that forwards what it receives
        trace     file for a timeline of the steps, or ""
        Raises WrongState unless the container is created or running; UsageError, InvalidConfig, NotSupported,
        StepFailed: then there is no process.
        """
        from ociruntime.operations.exec import execute

        self._fates = [fate for fate in self._fates if fate.ending is None]
        return execute(
            self,
            _request(request),
            pid_file=pid_file,
            stdio=stdio,
            console_socket=console_socket,
            pidfd_socket=pidfd_socket,
            take_terminal=take_terminal,
            pass_signals=pass_signals,
            trace=trace,
            fates=self._fates,
        )

    def kill(self, signal: int | str, all_processes: bool = False) -> None:
        """Send a signal to init, or to all processes of the container.

        signal   its number or name (9, "KILL", "SIGKILL")
        Raises WrongState unless the container is created, running or paused, or has processes that outlived its init.
        """
        from ociruntime.operations.signal import kill

        if isinstance(signal, str):
            from ociruntime.signals import parse

            signal = parse(signal)
        kill(self, int(signal), all_processes)

    def pause(self) -> None:
        """Freeze every process, and wait until they have stopped.

        Raises WrongState unless created or running, RuntimeFailure if it can't be frozen.
        """
        from ociruntime.operations.signal import pause

        pause(self)

    def resume(self) -> None:
        """Let a paused container go on. Raises WrongState unless paused."""
        from ociruntime.operations.signal import resume

        resume(self)

    def update(self, resources: object, schemata: dict[str, str] | None = None) -> list[str]:
        """Change limits; what `resources` (as /linux/resources of config.json) does not name stays as it is.

        schemata   lines for the container's resctrl group, keyed by the name that an error shows
        Either all of them are set, or none. Returns warnings, also of what is ignored: unknown names, device rules.
        Raises WrongState unless created, running or paused; InvalidConfig, NotSupported or StepFailed with a pointer below /linux/resources.
        """
        from ociruntime.operations.update import change, ignored

        return [*change(self, resources, schemata), *ignored(resources)]

    def processes(self) -> list[int]:
        """The process ids of all its processes. Raises RuntimeFailure if it has no cgroup (then they are unknown)."""
        from ociruntime.operations.ps import of

        return of(self)

    def stats(self) -> Statistics:
        """What it has used, as the `data` of `ociruntime events`. Raises RuntimeFailure if it has no cgroup."""
        from ociruntime.linux.cgroups.stats import stats

        try:
            found: Statistics = stats(self.cgroup_paths())  # type: ignore[assignment]  # a test compares what comes
            return found
        except OSError as failure:
            raise RuntimeFailure(str(failure.filename or ""), errno=failure.errno or 0) from None

    def watch_memory(self) -> MemoryWatch:
        """What tells when it is out of memory: a descriptor for poll(2), and how often that has happened; close it.

        `descriptor` (-1: no memory controller) is to be polled for `readiness` and nothing else: on cgroup v2 it is always
        ready for reading. Raises RuntimeFailure if it has no cgroup.
        """
        from ociruntime.operations.events import memory_watch

        try:
            return memory_watch(self)
        except OSError as failure:
            raise RuntimeFailure(str(failure.filename or ""), errno=failure.errno or 0) from None

    def delete(self, force: bool = False) -> list[str]:
        """Remove the container and everything that create made; see `delete`.

        By force, it also ends and reaps what this object's `exec` has started: init can't end before that.
        """
        if force:
            self._end_execs()
        return delete(os.path.dirname(self.directory.path), self.id, force)


def create(
    root: str,
    bundle: Bundle,
    options: Options,
    *,
    pid_file: str = "",
    stdio: tuple[int, int, int] = (-1, -1, -1),
    keep_terminal: bool = False,
    life_line: bool = False,
    trace: str = "",
) -> Container:
    """Make a container; its program waits for start.

    root      directory of the containers' state
    pid_file  where to write init's pid, or ""
    stdio     descriptors that become the program's 0, 1, 2 if it has no terminal; -1: the caller's
    keep_terminal  the caller takes the master of the program's terminal (Container.terminal); else
                   options.console_socket says who gets it
    life_line  it is deleted, by force, when this process ends, even by SIGKILL: see docs/library.md
    trace     file for a timeline of the steps, or ""
    Raises InvalidConfig, NotSupported, ContainerExists, StepFailed, ...; then nothing is left behind.
    """
    _require_kinds(bundle, options)
    options.maker = _maker_of(root) if life_line else ""
    from ociruntime.operations import create as operation

    return operation.create(
        root,
        bundle,
        options,
        pid_file=pid_file,
        stdio=stdio,
        keep_terminal=keep_terminal,
        trace=trace,
        kind=Container,
    )


def run(
    root: str,
    bundle: Bundle,
    options: Options,
    *,
    stdin: Input = None,
    stdout: Output = None,
    stderr: Output = None,
    capture: bool = False,
    output_limit: int = _OUTPUT_LIMIT,
    timeout: float | None = None,
    life_line: bool = False,
) -> Result:
    """Create a container, run its program to the end, delete the container, and say how it was.

    root          directory of the containers' state
    stdin         None: the caller's. bytes: given to the program, then the end of file. An int: a descriptor; or an open file
    stdout, stderr  None: the caller's. True: captured in the result. An int: a descriptor; or an open file. A function: is
                  called with each piece of bytes as it comes
    capture       the same as stdout=True and stderr=True, where they are None
    output_limit  bytes of each captured stream that are kept; what comes after that is read and dropped
    timeout       seconds from the start of the program; then everything in the container is killed. None: no limit
    life_line     as for `create`
    Raises as `create`, and StepFailed if the program could not be executed; then nothing is left behind. What the program
    does is no exception: the result says it.
    """
    from ociruntime.api.running import InContainer, Streams, driven

    streams = Streams(stdin, stdout, stderr, capture=capture, output_limit=output_limit, timeout=timeout)
    return driven(InContainer(_making(root, bundle, options, life_line=life_line), streams))


async def run_async(
    root: str,
    bundle: Bundle,
    options: Options,
    *,
    stdin: Input = None,
    stdout: Output = None,
    stderr: Output = None,
    capture: bool = False,
    output_limit: int = _OUTPUT_LIMIT,
    timeout: float | None = None,
    life_line: bool = False,
) -> Result:
    """As `run`, without blocking the asyncio loop while the program runs. If cancelled, it removes the container."""
    from ociruntime.api.asynchronous import driven
    from ociruntime.api.running import InContainer, Streams

    streams = Streams(stdin, stdout, stderr, capture=capture, output_limit=output_limit, timeout=timeout)
    return await driven(InContainer(_making(root, bundle, options, life_line=life_line), streams))


def _making(
    root: str, bundle: Bundle, options: Options, *, life_line: bool
) -> Callable[[tuple[int, int, int]], Container]:
    return lambda stdio: create(root, bundle, options, stdio=stdio, life_line=life_line)


def _require_kinds(bundle: object, options: object) -> None:
    """Raise UsageError for a config, path or id in place of the object that is made of it."""
    from ociruntime.bundle import Bundle
    from ociruntime.plan.order import Options

    if not isinstance(bundle, Bundle):
        hint = "bundle.made(config) makes one of a dict, bundle.load(directory) reads one"
        raise UsageError(f"bundle: a Bundle is wanted, not {type(bundle).__name__}", hint=hint)
    if not isinstance(options, Options):
        raise UsageError(f"options: Options are wanted, not {type(options).__name__}", hint='Options("ID")')


def _maker_of(root: str) -> str:
    from ociruntime.api.life_line import tie

    return tie(root)


def _request(given: Request | list[str]) -> Request:
    from ociruntime.operations.exec_document import Request

    return given if isinstance(given, Request) else Request(given)


def load(root: str, container_id: str) -> Container:
    """The container of this id, whichever process has created it; this changes nothing. See Container.load."""
    return Container.load(root, container_id)


def delete(root: str, container_id: str, force: bool = False) -> list[str]:
    """Remove a container: kill it (if `force`), undo everything that create did, run its poststop hooks.

    Returns warnings (failed poststop hooks). Raises NoSuchContainer, WrongState, StateUnreadable.
    """
    from ociruntime.operations import delete as operation

    return operation.delete(root, container_id, force)


def gc(
    root: str,
    warn: Callable[[str], None] = ignored,
    fail: Callable[[RuntimeFailure], None] | None = None,
) -> list[str]:
    """Finish every create and delete below a root that was interrupted; returns the ids cleaned up.

    warn   is called with what does not belong to this runtime
    fail   is called with the error of each container that can't be cleaned up now, and the others are cleaned up.
           None: the first of these errors is raised at the end
    Raises RuntimeFailure if the root is not a directory, or another user can change it.
    """
    from ociruntime.operations import recover

    return recover.gc(root, warn, fail)


def mount_rootfs(rootfs: str, mounts: Sequence[RootfsMount]) -> None:
    """Mount a root filesystem in this process's mount namespace, in this order, before create.

    rootfs   a directory, which must exist
    mounts   RootfsMount(kind, source, options, target): overlay, bind, or a file system of a device
    Raises NotSupported for loop devices and fuse; StepFailed: then everything there is unmounted again.
    """
    from ociruntime.operations import rootfs_mounts

    rootfs_mounts.mount_rootfs(rootfs, mounts)


def unmount_rootfs(rootfs: str) -> None:
    """Unmount everything that is mounted on a directory, after delete. That nothing is there is no error."""
    from ociruntime.operations import rootfs_mounts

    rootfs_mounts.unmount_rootfs(rootfs)
