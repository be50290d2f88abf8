# SPDX-License-Identifier: Apache-2.0
"""What does each method of containerd's Task service do? Versions 2 and 3 have the same methods.

Containers are made, started and deleted by the library (api.py) in this process. These calls take some milliseconds, in which
nothing else goes on; docs/shim.md says what they were measured to be. What waits for somebody else is a generator
(shim/loop.py): a logger, output that a slow reader takes.
"""

from __future__ import annotations

import os
import time
from _signal import SIGKILL

from ociruntime import api, bundle
from ociruntime.config import DEEPEST, parse
from ociruntime.errors import NoSuchContainer, RuntimeFailure, WrongState
from ociruntime.jsontext import compact
from ociruntime.operations.exec_document import Request
from ociruntime.operations.rootfs_mounts import RootfsMount
from ociruntime.plan.order import Options
from ociruntime.shim import runtime_options
from ociruntime.shim.leftover import NOTE, forget, state_root
from ociruntime.shim.loop import IN, PRIORITY, Pause, tell
from ociruntime.shim.process import CREATED, PAUSED, RUNNING, STOPPED, WORDS, Process, Task
from ociruntime.shim.reaper import EARLY, LATE
from ociruntime.shim.status import (
    ALREADY_EXISTS,
    FAILED_PRECONDITION,
    INVALID_ARGUMENT,
    NOT_FOUND,
    UNIMPLEMENTED,
    Refusal,
)
from ociruntime.shim.streams import Names, Streams
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
_DRAIN = 10.0  # seconds that Delete waits for a reader of the terminal's last output
_FLUSH = 5.0  # seconds that Shutdown waits until containerd has taken all events
_LOST = 255  # exit status of a process whose real one the library has collected, because it could not start


class Service:
    """The tasks of one shim.

    over   is called when the shim is to end
    """

    def __init__(
        self, loop: Loop, reaper: Reaper, publisher: Publisher, namespace: str, over: Callable[[], object]
    ) -> None:
        self.tasks: dict[str, Task] = {}
        self._loop = loop
        self._reaper = reaper
        self._publisher = publisher
        self._namespace = namespace
        self._over = over

    def handlers(self) -> dict[str, dict[str, Handler]]:
        """For the server: service -> method -> handler."""
        made = {name: self._handler(name) for name in METHODS}
        return dict.fromkeys(SERVICES, made)

    def _handler(self, name: str) -> Handler:
        asked, answered = METHODS[name]
        method: Callable[[Asked, Call], Any] = getattr(self, f"_{name.lower()}")

        def encoded(steps: Answered) -> Generator[Pause, bool, object]:
            return answered.encode((yield from steps))

        def handle(payload: bytes, call: Call) -> Any:
            result = method(asked.decode(payload), call)
            if hasattr(result, "send"):
                return encoded(result)
            return answered.encode(result) if isinstance(result, dict) else result

        return handle

    # --- which task, which process

    def _task(self, request: Asked) -> Task:
        task = self.tasks.get(request["id"])
        if task is None:
            raise Refusal(NOT_FOUND, f"container does not exist: {request['id']}")
        return task

    def _made(self, request: Asked) -> tuple[Task, api.Container]:
        task = self._task(request)
        if task.container is None:
            raise Refusal(FAILED_PRECONDITION, f"container {task.id} is being created")
        return task, task.container

    def _process(self, request: Asked) -> tuple[Task, Process]:
        task = self._task(request)
        if not request["exec_id"]:
            return task, task.init
        process = task.execs.get(request["exec_id"])
        if process is None:
            raise Refusal(NOT_FOUND, f"container {task.id} has no process {request['exec_id']}")
        return task, process

    # --- Create

    def _create(self, request: Asked, _call: Call) -> Answered:
        task_id = request["id"]
        if task_id in self.tasks:
            raise Refusal(ALREADY_EXISTS, f"container already exists: {task_id}")
        if request["checkpoint"]:
            raise Refusal(UNIMPLEMENTED, "a container from a checkpoint is not supported yet")
        names = Names(request["stdin"], request["stdout"], request["stderr"], request["terminal"])
        task = Task(task_id, request["bundle"], Process("", names))
        self.tasks[task_id] = task
        return self._make(task, request)

    def _make(self, task: Task, request: Asked) -> Answered:
        streams = Streams(self._loop, task.init.names)
        mounted = ""
        try:
            task.options = options = runtime_options.of(request["options"])
            root = state_root(options.root, self._namespace)
            _write(f"{task.bundle}/{NOTE}", compact({"root": root}))
            if request["rootfs"]:
                mounted = f"{task.bundle}/rootfs"
                os.makedirs(mounted, exist_ok=True)
                api.mount_rootfs(mounted, [_mount(one) for one in request["rootfs"]])
            yield from streams.open(self._reaper, task.id, self._namespace, (options.io_uid, options.io_gid))
            container = api.create(
                root,
                bundle.load(task.bundle),
                Options(task.id, no_pivot=options.no_pivot, no_new_keyring=options.no_new_keyring),
                stdio=streams.program,
                keep_terminal=task.init.names.terminal,
            )
        except BaseException:
            del self.tasks[task.id]
            streams.close()
            if mounted:
                api.unmount_rootfs(mounted)
            raise
        self._adopt(task, container, streams, request)
        return {"pid": task.init.pid}

    def _adopt(self, task: Task, container: api.Container, streams: Streams, request: Asked) -> None:
        """The container is there."""
        for warning in container.warnings:
            tell(f"{task.id}: warning: {warning}")
        task.container, task.init.streams = container, streams
        task.rootfs = f"{task.bundle}/rootfs" if request["rootfs"] else ""
        task.init.pid = container.pid
        self._reaper.on(container.pid, lambda status, moment: self._init_ended(task, status, moment), LATE)
        streams.given()
        if container.terminal >= 0:
            streams.take_terminal(container.terminal)
            container.terminal = -1
        self._watch_memory(task, container)
        self._publisher.publish(
            "/tasks/create",
            container_id=task.id,
            bundle=task.bundle,
            rootfs=request["rootfs"],
            io=task.init.names.as_dict(),
            pid=task.init.pid,
        )

    def _watch_memory(self, task: Task, container: api.Container) -> None:
        try:
            task.memory = watch = container.watch_memory()
        except RuntimeFailure:
            return  # it has no cgroup
        if watch.descriptor >= 0:
            self._loop.watch(watch.descriptor, IN | PRIORITY, lambda _: self._out_of_memory(task))

    def _out_of_memory(self, task: Task) -> None:
        if task.memory is None:
            return
        if task.memory.wait(0):
            self._publisher.publish("/tasks/oom", container_id=task.id)
        if task.memory.ended():
            self._unwatch_memory(task)

    def _unwatch_memory(self, task: Task) -> None:
        if task.memory is not None:
            self._loop.forget(task.memory.descriptor)
            task.memory.close()
            task.memory = None

    # --- Start

    def _start(self, request: Asked, _call: Call) -> dict[str, Any] | Answered:
        task, process = self._process(request)
        _, container = self._made(request)
        if process.status != CREATED or process.starting:
            word = "being started" if process.starting else WORDS[process.status]
            raise Refusal(FAILED_PRECONDITION, f"cannot start a process that is {word}")
        if process.exec_id:
            return self._start_exec(task, container, process)
        try:
            container.start()
        except RuntimeFailure:
            if not self._reaper.is_there(process.pid):
                self._init_ended(task, _LOST, time.time_ns())
            raise
        if process.status == CREATED:
            process.status = RUNNING
        self._publisher.publish("/tasks/start", container_id=task.id, pid=process.pid)
        return {"pid": process.pid}

    def _start_exec(self, task: Task, container: api.Container, process: Process) -> Answered:
        options = task.options or runtime_options.of(None)
        streams = Streams(self._loop, process.names)
        terminal: list[int] = []
        process.starting = True
        try:
            yield from streams.open(self._reaper, task.id, self._namespace, (options.io_uid, options.io_gid))
            process.executed = executed = container.exec(
                Request(document=process.document),
                stdio=streams.program,
                take_terminal=terminal.append if process.names.terminal else None,
            )
        except BaseException:
            streams.close()
            for master in terminal:
                os.close(master)
            process.stop(_LOST, time.time_ns())
            raise
        finally:
            process.starting = False
        streams.given()
        process.streams, process.pid, process.status = streams, executed.pid, RUNNING
        for master in terminal:
            streams.take_terminal(master)
        self._publisher.publish(
            "/tasks/exec-started", container_id=task.id, exec_id=process.exec_id, pid=process.pid
        )
        self._reaper.on(
            process.pid, lambda status, moment: self._exec_ended(task, process, status, moment), EARLY
        )
        return {"pid": process.pid}

    # --- the end of processes

    def _exec_ended(self, task: Task, process: Process, status: int, moment: int) -> None:
        self._tell_exit(task, process, status, moment)
        if task.end is not None and not task.running_execs():
            end, task.end = task.end, None
            self._tell_exit(task, task.init, *end)

    def _init_ended(self, task: Task, status: int, moment: int) -> None:
        """Its end is told last: without a pid namespace of its own, what exec has started is ended first."""
        if task.init.status == STOPPED:
            return
        if task.memory is not None:
            self._out_of_memory(task)
            self._unwatch_memory(task)
        container = task.container
        if container is not None and container.record.shares_pids and not task.deleting:
            try:
                container.kill(SIGKILL, all_processes=True)
            except RuntimeFailure as failure:
                tell(f"{task.id}: processes that outlive init: {failure}")
        if task.running_execs():
            task.end = (status, moment)
        else:
            self._tell_exit(task, task.init, status, moment)

    def _tell_exit(self, task: Task, process: Process, status: int, moment: int) -> None:
        process.stop(status, moment)
        self._publisher.publish(
            "/tasks/exit",
            container_id=task.id,
            id=process.exec_id or task.id,
            pid=process.pid,
            **process.exit(),
        )

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

    # --- Delete

    def _delete(self, request: Asked, _call: Call) -> Answered:
        task, process = self._process(request)
        _, container = self._made(request)
        if process.status == RUNNING or process.starting or (process is task.init and task.end is not None):
            raise Refusal(FAILED_PRECONDITION, "cannot delete a running process")
        if task.deleting:
            raise Refusal(FAILED_PRECONDITION, f"container {task.id} is being deleted")
        return self._remove(task, container, process)

    def _remove(self, task: Task, container: api.Container, process: Process) -> Answered:
        until = time.monotonic() + _DRAIN
        while process.streams is not None and process.streams.busy and time.monotonic() < until:
            yield Pause(0.02)
        if process.exec_id:
            process.close()
            task.execs.pop(process.exec_id, None)
            return {"pid": process.pid, **process.exit()}
        task.deleting = True
        try:
            self._delete_container(task, container)
        finally:
            task.deleting = False
        for one in (process, *task.execs.values()):
            one.close()
        self._unwatch_memory(task)
        del self.tasks[task.id]
        self._publisher.publish("/tasks/delete", container_id=task.id, pid=process.pid, **process.exit())
        return {"pid": process.pid, **process.exit()}

    def _delete_container(self, task: Task, container: api.Container) -> None:
        """Also one that was never started, which ends with it."""
        try:
            for warning in container.delete(force=True):
                tell(f"{task.id}: warning: {warning}")
        except NoSuchContainer:
            pass  # a failing hook of start has removed it
        if task.init.status != STOPPED:
            self._reaper.collect()
        if task.init.status != STOPPED and not self._reaper.is_there(task.init.pid):
            self._init_ended(task, 128 + SIGKILL, time.time_ns())
        if task.rootfs:
            api.unmount_rootfs(task.rootfs)
        forget(task.bundle)

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

    def _update(self, request: Asked, _call: Call) -> dict[str, Any]:
        task, container = self._made(request)
        for warning in container.update(_json(request["resources"], "resources")):
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


def _mount(one: Asked) -> RootfsMount:
    return RootfsMount(one["type"], one["source"], one["options"], one["target"])


def _is_paused(task: Task) -> bool:
    return task.container is not None and task.container.rough_status() == "paused"


def _json(content: Asked | None, what: str) -> dict[str, Any]:
    """The object in an Any whose value is JSON. Raises BundleError, Refusal."""
    found = parse(content["value"], what, DEEPEST).value if content is not None else None
    if not isinstance(found, dict):
        raise Refusal(INVALID_ARGUMENT, f"{what}: not a JSON object")
    return found


def _write(path: str, text: str) -> None:
    """A small file, whole or not at all."""
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    os.replace(f"{path}.new", path)
