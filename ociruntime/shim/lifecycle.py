# SPDX-License-Identifier: Apache-2.0
"""How does a container come to be, start, end and go? The methods of the Task service that do that.

    Create --> Start --> its end, told in order --> Delete

Containers are made, started and deleted by the library (api/) in this process. These calls take some milliseconds, in which
nothing else goes on; docs/shim.md says what they were measured to be. What waits for somebody else is a generator
(shim/loop.py): a logger, output that a slow reader takes. A call that runs hooks or asks systemd gets a thread (shim/apart.py).
"""

from __future__ import annotations

import os
import time
from _signal import SIGKILL

from ociruntime import api, bundle
from ociruntime.errors import NoSuchContainer, RuntimeFailure
from ociruntime.jsontext import compact
from ociruntime.operations.exec_document import Request
from ociruntime.operations.rootfs_mounts import RootfsMount
from ociruntime.plan.order import Options
from ociruntime.shim import runtime_options
from ociruntime.shim.apart import apart
from ociruntime.shim.leftover import NOTE, forget, state_root
from ociruntime.shim.loop import Pause, tell
from ociruntime.shim.process import CREATED, RUNNING, STOPPED, WORDS, Process, Task
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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator
    from typing import Any

    from ociruntime.shim.events import Publisher
    from ociruntime.shim.loop import Loop
    from ociruntime.shim.reaper import Reaper
    from ociruntime.shim.server import Call

    Asked = dict[str, Any]
    Answered = Generator[Pause, bool, dict[str, Any]]

_DRAIN = 10.0  # seconds that Delete waits for a reader of the terminal's last output
_LOST = 255  # exit status of a process whose real one the library has collected, because it could not start


class Lifecycle:
    """The tasks of one shim, from Create to Delete; shim/task.py has the other methods."""

    def __init__(self, loop: Loop, reaper: Reaper, publisher: Publisher, namespace: str) -> None:
        self.tasks: dict[str, Task] = {}
        self._loop = loop
        self._reaper = reaper
        self._publisher = publisher
        self._namespace = namespace

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
        if not request["bundle"].startswith("/"):
            raise Refusal(INVALID_ARGUMENT, f"bundle {request['bundle']!r}: not an absolute path")
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
            found = bundle.load(task.bundle)
            waits = bool(found.config.at("hooks")) or options.cgroup_manager == "systemd"
            container = yield from apart(
                lambda: api.create(
                    root,
                    found,
                    Options(
                        task.id,
                        cgroup_manager=options.cgroup_manager,
                        no_pivot=options.no_pivot,
                        no_new_keyring=options.no_new_keyring,
                    ),
                    stdio=streams.program,
                    keep_terminal=task.init.names.terminal,
                ),
                self._reaper,
                waits,
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
            self._loop.watch(watch.descriptor, watch.readiness, lambda _: self._out_of_memory(task))

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
        return self._start_init(task, container)

    def _start_init(self, task: Task, container: api.Container) -> Answered:
        init = task.init
        init.starting = True
        try:
            yield from apart(container.start, self._reaper, bool(container.record.hooks))
            init.status = RUNNING
            self._publisher.publish("/tasks/start", container_id=task.id, pid=init.pid)
        except RuntimeFailure:
            if task.early_end is None and not self._reaper.is_there(init.pid):
                task.early_end = (_LOST, time.time_ns())
            raise
        finally:
            init.starting = False
            if task.early_end is not None:
                end, task.early_end = task.early_end, None
                self._init_ended(task, *end)
        return {"pid": init.pid}

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
        if task.init.starting:  # its start is told first
            task.early_end = (status, moment)
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
            yield from self._delete_container(task, container)
        finally:
            task.deleting = False
        for one in (process, *task.execs.values()):
            one.close()
        self._unwatch_memory(task)
        del self.tasks[task.id]
        self._publisher.publish("/tasks/delete", container_id=task.id, pid=process.pid, **process.exit())
        return {"pid": process.pid, **process.exit()}

    def _delete_container(self, task: Task, container: api.Container) -> Generator[Pause, bool, None]:
        """Also one that was never started, which ends with it."""
        try:
            waits = bool(container.record.hooks or container.record.unit)
            for warning in (yield from apart(lambda: container.delete(force=True), self._reaper, waits)):
                tell(f"{task.id}: warning: {warning}")
        except NoSuchContainer as gone:  # a failing hook of start has removed it
            del gone
        if task.init.status != STOPPED:
            self._reaper.collect()
        if task.init.status != STOPPED and not self._reaper.is_there(task.init.pid):
            self._init_ended(task, 128 + SIGKILL, time.time_ns())
        if task.rootfs:
            api.unmount_rootfs(task.rootfs)
        forget(task.bundle)


def _mount(one: Asked) -> RootfsMount:
    return RootfsMount(one["type"], one["source"], one["options"], one["target"])


def _write(path: str, text: str) -> None:
    """A small file, whole or not at all."""
    descriptor = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
    os.replace(f"{path}.new", path)
