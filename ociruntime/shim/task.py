# SPDX-License-Identifier: Apache-2.0
"""What does each method of containerd's Task service do? Versions 2 and 3 have the same methods.

Create, Start and Delete, and the ends of processes, are in shim/lifecycle.py.
"""

from __future__ import annotations

import os
import time

from ociruntime.config import DEEPEST, parse
from ociruntime.errors import WrongState
from ociruntime.shim.apart import apart
from ociruntime.shim.lifecycle import Lifecycle
from ociruntime.shim.loop import Pause, tell
from ociruntime.shim.process import CREATED, PAUSED, RUNNING, STOPPED, Process, Task
from ociruntime.shim.status import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    UNIMPLEMENTED,
    Refusal,
)
from ociruntime.shim.streams import Names
from ociruntime.shim.tables import METHODS, PROCESS_DETAILS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any

    from ociruntime.shim.events import Publisher
    from ociruntime.shim.loop import Loop
    from ociruntime.shim.reaper import Reaper
    from ociruntime.shim.server import Call, Handler

    Asked = dict[str, Any]
    Answered = Generator[Pause, bool, dict[str, Any]]

SERVICES = ("containerd.task.v2.Task", "containerd.task.v3.Task")
_FLUSH = 5.0  # seconds that Shutdown waits until containerd has taken all events


class Service(Lifecycle):
    """The methods; see Lifecycle.

    over   is called when the shim is to end
    """

    def __init__(
        self, loop: Loop, reaper: Reaper, publisher: Publisher, namespace: str, over: Callable[[], object]
    ) -> None:
        super().__init__(loop, reaper, publisher, namespace)
        self._over = over

    def handlers(self) -> dict[str, dict[str, Handler]]:
        """For the server: service -> method -> handler."""
        made = {name: self._handler(name) for name in METHODS}
        return dict.fromkeys(SERVICES, made)

    def _handler(self, name: str) -> Handler:
        asked, answered = METHODS[name]
        method: Callable[[Asked, Call], Any] = getattr(self, f"_{name.lower()}")

        def encoded(steps: Generator[Pause, bool, Asked | None]) -> Generator[Pause, bool, object]:
            result = yield from steps
            return None if result is None else answered.encode(result)  # None: it has answered itself

        def handle(payload: bytes, call: Call) -> Any:
            result = method(asked.decode_words(payload), call)
            if hasattr(result, "send"):
                return encoded(result)
            return answered.encode(result) if isinstance(result, dict) else result

        return handle

    # --- Exec, and what is done with a process

    def _exec(self, request: Asked, _call: Call) -> dict[str, Any]:
        task, _ = self._made(request)
        exec_id = request["exec_id"]
        if exec_id in task.execs or not exec_id:
            raise Refusal(ALREADY_EXISTS, f"container {task.id} has a process {exec_id or 'init'} already")
        if task.init.status == STOPPED:
            raise Refusal(FAILED_PRECONDITION, "cannot exec in a stopped container")
        document = _json(request["spec"], "process")
        document["terminal"] = request["terminal"]
        names = Names(request["stdin"], request["stdout"], request["stderr"], request["terminal"])
        task.execs[exec_id] = Process(exec_id, names, document)
        self._publisher.publish("/tasks/exec-added", container_id=task.id, exec_id=exec_id)
        return {}

    def _state(self, request: Asked, _call: Call) -> dict[str, Any]:
        task, process = self._process(request)
        status = process.status
        if process is task.init and status == RUNNING and _is_paused(task):
            status = PAUSED
        return {
            "id": process.exec_id or task.id,
            "bundle": task.bundle,
            "pid": process.pid,
            "status": status,
            **process.names.as_dict(),
            **process.exit(),
            "exec_id": process.exec_id,
        }

    def _wait(self, request: Asked, call: Call) -> bytes | None:
        return self._process(request)[1].wait(call)

    def _kill(self, request: Asked, _call: Call) -> dict[str, Any]:
        task, process = self._process(request)
        _, container = self._made(request)
        number = request["signal"]
        if not 0 < number < 65:
            raise Refusal(INVALID_ARGUMENT, f"signal {number}: not the number of a signal")
        if process.exec_id:
            if process.status == CREATED:
                raise Refusal(FAILED_PRECONDITION, f"process {process.exec_id} has not been started")
            if process.executed is None:
                raise Refusal(NOT_FOUND, f"process {process.exec_id} has already finished: not found")
            try:
                process.executed.kill(number)
            except WrongState:
                raise Refusal(
                    NOT_FOUND, f"process {process.exec_id} has already finished: not found"
                ) from None
            return {}
        try:
            container.kill(number, request["all"])
        except WrongState:
            raise Refusal(NOT_FOUND, f"container {task.id} has already finished: not found") from None
        return {}

    def _resizepty(self, request: Asked, _call: Call) -> dict[str, Any]:
        _, process = self._process(request)
        if process.streams is None or not process.streams.resize(request["width"], request["height"]):
            if not process.names.terminal:
                raise Refusal(FAILED_PRECONDITION, "the process has no terminal")
            if process.document is not None and process.status == CREATED:  # it gets that size when it starts
                process.document["consoleSize"] = {"width": request["width"], "height": request["height"]}
        return {}

    def _closeio(self, request: Asked, _call: Call) -> dict[str, Any]:
        _, process = self._process(request)
        if request["stdin"] and process.streams is not None:
            process.streams.close_stdin()
        return {}

    # --- the container

    def _pids(self, request: Asked, _call: Call) -> dict[str, Any]:
        task, container = self._made(request)
        names = {process.pid: process.exec_id for process in task.execs.values() if process.status == RUNNING}
        found: list[dict[str, Any]] = []
        pids = container.processes() if task.init.status != STOPPED else []
        # Of an ended container its init: containerd 1.7 and newer, when they are started again, take a shim without
        # processes for one that was never used, and throw it away with the exit status that it keeps for them.
        for pid in pids or [task.init.pid]:
            info: dict[str, Any] = {"pid": pid}
            if pid in names:
                details = PROCESS_DETAILS.encode({"exec_id": names[pid]})
                info["info"] = {"type_url": PROCESS_DETAILS.name, "value": details}
            found.append(info)
        return {"processes": found}

    def _pause(self, request: Asked, _call: Call) -> dict[str, Any]:
        task, container = self._made(request)
        container.pause()
        self._publisher.publish("/tasks/paused", container_id=task.id)
        return {}

    def _resume(self, request: Asked, _call: Call) -> dict[str, Any]:
        task, container = self._made(request)
        container.resume()
        self._publisher.publish("/tasks/resumed", container_id=task.id)
        return {}

    def _update(self, request: Asked, _call: Call) -> Answered:
        task, container = self._made(request)
        resources, waits = _json(request["resources"], "resources"), bool(container.record.unit)
        for warning in (yield from apart(lambda: container.update(resources), self._reaper, waits)):
            tell(f"{task.id}: warning: {warning}")
        return {}

    def _stats(self, request: Asked, _call: Call) -> dict[str, Any]:
        from ociruntime.shim.stats import metrics

        task, container = self._made(request)
        if task.init.status == STOPPED:
            raise Refusal(NOT_FOUND, f"container {task.id} has finished: its cgroup is not found")
        return {"stats": metrics(container)}

    def _checkpoint(self, request: Asked, _call: Call) -> dict[str, Any]:
        self._task(request)
        raise Refusal(UNIMPLEMENTED, "checkpoint is not supported yet")

    # --- the shim

    def _connect(self, request: Asked, _call: Call) -> dict[str, Any]:
        from ociruntime import __version__

        task = self.tasks.get(request["id"])
        pid = task.init.pid if task is not None else 0
        return {"shim_pid": os.getpid(), "task_pid": pid, "version": __version__}

    def _shutdown(self, _request: Asked, call: Call) -> dict[str, Any] | Generator[Pause, bool, object]:
        if self.tasks:
            return {}
        return self._end(call)

    def _end(self, call: Call) -> Generator[Pause, bool, None]:
        self._over()
        until = time.monotonic() + _FLUSH
        while self._publisher.queue and time.monotonic() < until:
            yield Pause(0.002)
        call.answer(b"")
        self._loop.stop()


def _is_paused(task: Task) -> bool:
    return task.container is not None and task.container.rough_status() == "paused"


def _json(content: Asked | None, what: str) -> dict[str, Any]:
    """The object in an Any whose value is JSON. Raises BundleError, Refusal."""
    found = parse(content["value"], what, DEEPEST).value if content is not None else None
    if not isinstance(found, dict):
        raise Refusal(INVALID_ARGUMENT, f"{what}: not a JSON object")
    return found
