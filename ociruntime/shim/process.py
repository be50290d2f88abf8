# SPDX-License-Identifier: Apache-2.0
"""What does the shim know of a container and of each process that containerd has asked for?

registered --Start--> running --its end--> stopped          init is "created" where a process of exec is registered
"""

from __future__ import annotations

from ociruntime.shim.events import timestamp
from ociruntime.shim.tables import WAITED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ociruntime.api import Container
    from ociruntime.operations.events import MemoryWatch
    from ociruntime.operations.exec import ExecProcess
    from ociruntime.shim.runtime_options import RuntimeOptions
    from ociruntime.shim.server import Call
    from ociruntime.shim.streams import Names, Streams

CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4  # containerd.task.Status
WORDS = {CREATED: "created", RUNNING: "running", STOPPED: "stopped", PAUSED: "paused"}


class Process:
    """Init, or a process of exec.

    exec_id   "" for init
    document  what exec runs
    """

    def __init__(self, exec_id: str, names: Names, document: dict[str, object] | None = None) -> None:
        self.exec_id = exec_id
        self.names = names
        self.document = document
        self.streams: Streams | None = None
        self.executed: ExecProcess | None = None
        self.pid = 0
        self.status = CREATED
        self.starting = False
        self.exit_status = 0
        self.exited_at = 0  # nanoseconds since 1970; 0: it has not
        self._waiting: list[Call] = []

    def wait(self, call: Call) -> bytes | None:
        """The answer to Wait, now or later."""
        if self.status == STOPPED:
            return WAITED.encode(self.exit())
        self._waiting = [one for one in self._waiting if not one.gone]
        self._waiting.append(call)
        return None

    def exit(self) -> dict[str, Any]:
        """Status and time of its end."""
        if not self.exited_at:
            return {}
        return {"exit_status": self.exit_status, "exited_at": timestamp(self.exited_at)}

    def stop(self, status: int, moment: int) -> None:
        """It has ended: everybody who waits is told."""
        self.status, self.exit_status, self.exited_at = STOPPED, status, moment
        if self.streams is not None:
            self.streams.ended()
        if self.executed is not None:
            self.executed.close()
            self.executed = None
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call.answer(WAITED.encode(self.exit()))

    def close(self) -> None:
        """It is deleted."""
        if self.streams is not None:
            self.streams.close()
        for call in self._waiting:
            call.answer(WAITED.encode(self.exit()))


class Task:
    """A container.

    container   None until it has been created
    rootfs      where its root filesystem is mounted, or ""
    end         status and time of init's end, while processes of exec have not ended yet
    early_end   the same, while its start has not been told yet
    """

    def __init__(self, task_id: str, bundle: str, init: Process) -> None:
        self.id = task_id
        self.bundle = bundle
        self.init = init
        self.execs: dict[str, Process] = {}
        self.container: Container | None = None
        self.options: RuntimeOptions | None = None
        self.rootfs = ""
        self.memory: MemoryWatch | None = None
        self.end: tuple[int, int] | None = None
        self.early_end: tuple[int, int] | None = None
        self.deleting = False

    def running_execs(self) -> list[Process]:
        """The processes of exec that have not ended."""
        return [process for process in self.execs.values() if process.status == RUNNING]
