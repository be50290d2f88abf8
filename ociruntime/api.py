# SPDX-License-Identifier: Apache-2.0
"""The library's face: what a program that imports ociruntime calls. Nothing inside the package imports this.

`ociruntime` itself offers these names, and Options, Request and the errors. What an operation needs is imported when it is
first called: a program that only asks for states does not pay for the launcher.
"""

from __future__ import annotations

import os

from ociruntime import container
from ociruntime.container import ignored, list_all
from ociruntime.errors import RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ociruntime.bundle import Bundle
    from ociruntime.operations.events import MemoryWatch
    from ociruntime.operations.exec import ExecProcess, PassSignals
    from ociruntime.operations.exec_document import Request
    from ociruntime.operations.rootfs_mounts import RootfsMount
    from ociruntime.plan.order import Options

__all__ = [
    "Container",
    "create",
    "delete",
    "gc",
    "list_all",
    "load",
    "mount_rootfs",
    "run",
    "unmount_rootfs",
]


class Container(container.Container):
    """A container that exists, and what can be done with it; the attributes are those of container.Container."""

    def start(self, trace: str = "") -> None:
        """Run the program.

        trace   file for a timeline of the steps, or ""
        Raises WrongState unless created; StepFailed (HookFailed) if a hook or execve failed: then the container is stopped.
        """
        from ociruntime.operations.start import start

        start(self, trace)

    def exec(
        self,
        request: Request,
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

        request   the program, and how it differs from the container's own process
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

        return execute(
            self,
            request,
            pid_file=pid_file,
            stdio=stdio,
            console_socket=console_socket,
            pidfd_socket=pidfd_socket,
            take_terminal=take_terminal,
            pass_signals=pass_signals,
            trace=trace,
        )

    def kill(self, signal: int, all_processes: bool = False) -> None:
        """Send a signal to init, or to all processes of the container.

        signal   its number
        Raises WrongState unless the container is created, running or paused, or has processes that outlived its init.
        """
        from ociruntime.operations.signal import kill

        kill(self, signal, all_processes)

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
        Either all of them are set, or none. Returns warnings. Raises WrongState unless created, running or paused;
        InvalidConfig, NotSupported or StepFailed with a pointer below /linux/resources.
        """
        from ociruntime.operations.update import change

        return change(self, resources, schemata)

    def processes(self) -> list[int]:
        """The process ids of all its processes. Raises RuntimeFailure if it has no cgroup (then they are unknown)."""
        from ociruntime.operations.ps import of

        return of(self)

    def stats(self) -> dict[str, object]:
        """What it has used, as the `data` of `ociruntime events`. Raises RuntimeFailure if it has no cgroup."""
        from ociruntime.linux.cgroups.stats import stats

        try:
            return stats(self.cgroup_paths())
        except OSError as failure:
            raise RuntimeFailure(str(failure.filename or ""), errno=failure.errno or 0) from None

    def watch_memory(self) -> MemoryWatch:
        """What tells when it is out of memory: a descriptor for poll(2), and how often that has happened; close it.

        Raises RuntimeFailure if it has no cgroup.
        """
        from ociruntime.operations.events import memory_watch

        try:
            return memory_watch(self)
        except OSError as failure:
            raise RuntimeFailure(str(failure.filename or ""), errno=failure.errno or 0) from None

    def delete(self, force: bool = False) -> list[str]:
        """Remove the container and everything that create made; see `delete`."""
        return delete(os.path.dirname(self.directory.path), self.id, force)


def create(
    root: str,
    bundle: Bundle,
    options: Options,
    *,
    pid_file: str = "",
    stdio: tuple[int, int, int] = (-1, -1, -1),
    keep_terminal: bool = False,
    trace: str = "",
) -> Container:
    """Make a container; its program waits for start.

    root      directory of the containers' state
    pid_file  where to write init's pid, or ""
    stdio     descriptors that become the program's 0, 1, 2 if it has no terminal; -1: the caller's
    keep_terminal  the caller takes the master of the program's terminal (Container.terminal); else
                   options.console_socket says who gets it
    trace     file for a timeline of the steps, or ""
    Raises InvalidConfig, NotSupported, ContainerExists, StepFailed, ...; then nothing is left behind.
    """
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
    pid_file: str = "",
    detach: bool = False,
    keep: bool = False,
    trace: str = "",
    forward_signals: bool = False,
    notify: str = "",
    warn: Callable[[str], None] = ignored,
) -> int:
    """Create and start a container and, unless `detach`, wait for it and delete it.

    keep             do not delete it
    forward_signals  forward this process's signals to the program, and connect its terminal to this process's own, or
                     give it pipes in place of this process's terminal (for a command, not for a library)
    notify           the service manager's socket ($NOTIFY_SOCKET), if options.notify is set, or ""
    warn             is called with each warning
    Returns the program's exit status (128 + n for signal n), 0 if detached.
    """
    from ociruntime.operations import run as operation

    return operation.run(
        root,
        bundle,
        options,
        pid_file=pid_file,
        detach=detach,
        keep=keep,
        trace=trace,
        forward_signals=forward_signals,
        notify=notify,
        warn=warn,
    )


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
