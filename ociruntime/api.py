# SPDX-License-Identifier: Apache-2.0
"""The library's face: what a program that imports ociruntime calls. Nothing inside the package imports this.

`ociruntime` itself offers these names, and Options, Request and the errors. What an operation needs is imported when it is
first called: a program that only asks for states does not pay for the launcher.
"""

from __future__ import annotations

import os

from ociruntime import container
from ociruntime.container import ignored, list_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.bundle import Bundle
    from ociruntime.errors import RuntimeFailure
    from ociruntime.operations.exec import ExecProcess, PassSignals
    from ociruntime.operations.exec_document import Request
    from ociruntime.plan.order import Options

__all__ = ["Container", "create", "delete", "gc", "list_all", "load", "run"]


class Container(container.Container):
    """A container that exists, and what can be done with it; the attributes are those of container.Container."""

    def start(self, trace: str = "") -> None:
        """Run the program; see operations/start.py."""
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
        """Run one more program in the container; see operations/exec.py."""
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
        """Send a signal to init, or to all processes of the container; see operations/signal.py."""
        from ociruntime.operations.signal import kill

        kill(self, signal, all_processes)

    def pause(self) -> None:
        """Freeze every process, and wait until they have stopped; see operations/signal.py."""
        from ociruntime.operations.signal import pause

        pause(self)

    def resume(self) -> None:
        """Let a paused container go on; see operations/signal.py."""
        from ociruntime.operations.signal import resume

        resume(self)

    def update(self, resources: object, schemata: dict[str, str] | None = None) -> list[str]:
        """Change limits, all of them or none; returns warnings. See operations/update.py."""
        from ociruntime.operations.update import change

        return change(self, resources, schemata)

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
    """Make a container; its program waits for start. See operations/create.py."""
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
    """Create and start a container and, unless `detach`, wait for it and delete it. See operations/run.py.

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
    """Remove a container, also one that `load` can't read (if `force`). See operations/delete.py.

    Returns warnings (failed poststop hooks).
    """
    from ociruntime.operations import delete as operation

    return operation.delete(root, container_id, force)


def gc(
    root: str,
    warn: Callable[[str], None] = ignored,
    fail: Callable[[RuntimeFailure], None] | None = None,
) -> list[str]:
    """Finish every create and delete below a root that was interrupted; returns the ids. See operations/recover.py."""
    from ociruntime.operations import recover

    return recover.gc(root, warn, fail)
