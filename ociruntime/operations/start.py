# SPDX-License-Identifier: Apache-2.0
"""The start operation; docs/internals/handshake.md has a diagram of its messages.

No lock is held meanwhile: kill, state and delete --force never wait for a hook. Init takes one starter at
a time, so two starts can't both succeed. This module must not import a verb.
"""

from __future__ import annotations

import _socket
import errno
import os

from ociruntime.container import ALLOWED
from ociruntime.descriptors import Descriptors
from ociruntime.errors import InitLost, NoSuchContainer, RuntimeFailure, StateUnreadable, WrongState
from ociruntime.identity import open_process, start_time_of
from ociruntime.launch.undo import end_init
from ociruntime.operations.delete import delete
from ociruntime.operations.recover import context_of, finish
from ociruntime.progress import (
    CONTINUE,
    CREATED,
    EXECUTING,
    GO,
    MESSAGE_SIZE,
    MESSAGE_SYNC,
    PID_OFFSET,
    STAMPS_OFFSET,
    error_in,
    phase_in,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ociruntime.bundle import Bundle
    from ociruntime.container import Container
    from ociruntime.launch.trace import Trace
    from ociruntime.launch.trace_origin import Command
    from ociruntime.step import Plan

_REFUSALS = {
    "running": "cannot start an already running container",
    "paused": "cannot start a container in the paused state",
    "stopped": "cannot start a container that has stopped",
    "creating": "cannot start a container that is being created",
    "deleting": "cannot start a container that is being deleted",
}


def start(container: Container, trace: str | Command = "") -> None:
    """Run the program; see api.Container.start."""
    if not trace:
        begin(container)
        return
    from ociruntime.launch.trace import Trace

    timeline = Trace(trace, "start")
    with timeline:
        begin(container, timeline)


def start_and_tell(
    container: Container, manager: str, trace: str | Command, warn: Callable[[str], None]
) -> None:
    """As start; then wait until the program is ready or has ended, and tell the service manager.

    manager   its socket ($NOTIFY_SOCKET)
    warn      is called if it can't be reached, or does not answer
    """
    from ociruntime.foreground.readiness import News

    news = News(container, manager, container.pid, warn)
    try:
        start(container, trace)
        news.pass_on(wait=True)
    finally:
        news.proxy.close()


def begin(container: Container, timeline: Trace | None = None) -> None:
    """As start, for a caller who has the timeline."""
    if container.unfinished:
        _refuse_unfinished(container)
    status = container.status()
    if status not in ALLOWED["start"]:
        if status == "stopped":
            _tell_own_failure(container)
        raise WrongState(_REFUSALS[status], hint="; ".join(container.warnings))
    if not container.record.has_process:
        raise WrongState(
            "process property must not be empty", pointer="/process", hint="start needs a process to run"
        )
    starter = _connect(container)
    try:
        _greet(container, starter)
        _start(container, starter, timeline)
    finally:
        starter.close()


def _refuse_unfinished(container: Container) -> NoReturn:
    """There is nothing to start: finish what was interrupted, and leave what another process is working on."""
    if finish(container.directory) is not None:
        raise NoSuchContainer(container.id)
    raise WrongState(_REFUSALS["creating" if container.unfinished == "create" else "deleting"])


def _connect(container: Container) -> _socket.socket:
    starter = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        with Descriptors() as opened:
            opened["place"] = os.open(container.directory.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            starter.connect(f"/proc/self/fd/{opened['place']}/start")
    except (ConnectionRefusedError, FileNotFoundError):
        starter.close()
        raise WrongState(_REFUSALS.get(container.status(), _REFUSALS["running"])) from None
    return starter


def _greet(container: Container, starter: _socket.socket) -> None:
    """Wait for init's hello: if none comes, init is busy with another starter, or gone."""
    try:
        hello = starter.recv(MESSAGE_SIZE)
    except ConnectionResetError:
        hello = b""
    if not hello:
        if container.status() == "stopped":
            _tell_own_failure(container)
        raise WrongState(_REFUSALS.get(container.status(), _REFUSALS["running"]))


def _start(container: Container, starter: _socket.socket, timeline: Trace | None) -> None:
    kinds = container.record.hooks
    if "startContainer" in kinds:
        _run_hooks(container, "startContainer", timeline)
    try:
        _go(container, starter, timeline)
    finally:
        if timeline is not None and timeline.path:
            _take_stamps(container, timeline)
    if "poststart" in kinds:
        _run_hooks(container, "poststart", timeline)


def _run_hooks(container: Container, kind: str, timeline: Trace | None) -> None:
    """A failing hook of start ends the container's life: stopped, deleted, poststop (R211, R213)."""
    from ociruntime import host
    from ociruntime.errors import HookFailed
    from ociruntime.launch.hooks import apply
    from ociruntime.linux import credentials, hooks as programs

    context = context_of(container.directory, container.record)
    context.host = host.probe()
    context.keyring = container.keyring()
    context.home = credentials.home_of(context.config.at("process", "user", "uid").number(), context.rootfs)
    steps = (
        programs.plan_start(context.config)
        if kind == "startContainer"
        else programs.plan_poststart(context.config)
    )
    numbers = _numbers(container, timeline)
    try:
        for step in steps:
            number = numbers.get((step.pointer, step.describe()), -1)
            with timeline.host(number, step) if timeline is not None else _UNTIMED:
                apply(step, context)
    except HookFailed as failure:
        try:
            delete(os.path.dirname(container.directory.path), container.id, True)
        except RuntimeFailure as second:
            failure.and_then([str(second)])
        raise


def _numbers(container: Container, timeline: Trace | None) -> dict[tuple[str, str], int]:
    """(pointer, words) -> the step's number in the plan; only for a trace."""
    if timeline is None or not timeline.path:
        return {}
    return {(step.pointer, step.describe()): index for index, step in enumerate(plan_again(container).steps)}


def _go(container: Container, starter: _socket.socket, timeline: Trace | None) -> None:
    """Let init become the program. The connection's end says that it did, if the progress pages agree."""
    answer = _ask(starter, GO)
    if answer and answer[0] == MESSAGE_SYNC:
        number = int.from_bytes(answer[PID_OFFSET:], "little")
        _serve_listener(container, number, timeline)
        answer = _ask(starter, CONTINUE)
    if answer:
        _fail(container, answer)
    if not os.path.exists(container.directory.path):
        return  # somebody has deleted it by force meanwhile: how its program ended is known to whoever waits for it
    pages = _pages(container)
    if error := error_in(pages):  # it was killed before it could send what it had written down
        _fail(container, error)
    if phase_in(pages) < EXECUTING:
        raise InitLost("init ended before it could execute the program")


def _ask(starter: _socket.socket, word: bytes) -> bytes:
    """Say a word to init and wait for its answer; b"" if it has executed the program, or is gone."""
    try:
        starter.send(word, _socket.MSG_NOSIGNAL)
        return starter.recv(MESSAGE_SIZE)
    except (BrokenPipeError, ConnectionResetError):  # the pages say how far it came
        return b""


def _serve_listener(container: Container, number: int, timeline: Trace | None) -> None:
    """Init has loaded a filter that asks an agent: do what follows the sync "listener" in the plan.

    number   of the notify descriptor in init
    Raises StepFailed; then init has been ended, as no agent would ever answer its program.
    """
    from ociruntime.launch.launch import step_failed
    from ociruntime.ops import module_of

    context = context_of(container.directory, container.record)
    context.config = _bundle(container).config
    made = plan_again(container)
    for index, step in made.steps_at("listener"):
        try:
            with timeline.host(index, step) if timeline is not None else _UNTIMED:
                context.received["listener"] = _copy_of(container, number)
                module_of(step.op).apply(step, context)
        except RuntimeFailure:
            end_init(container.record.init())
            raise
        except OSError as failure:
            end_init(container.record.init())
            raise step_failed(step, failure) from None
        finally:
            context.received.close()


def _copy_of(container: Container, number: int) -> int:
    """A copy of a descriptor of init."""
    from ociruntime.native.spawn import descriptor_of

    with Descriptors() as opened:
        opened["init"] = open_process(container.pid)
        if start_time_of(container.pid) != container.record.start_time:
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        return descriptor_of(opened["init"], number)


def _pages(container: Container) -> bytes:
    path = container.directory.file("progress")
    pages = container.directory.read("progress", STAMPS_OFFSET) or b""
    if len(pages) < STAMPS_OFFSET:
        raise StateUnreadable(f"{path}: missing or too short", hint="delete --force cleans it up")
    return pages


def _tell_own_failure(container: Container) -> None:
    """If init failed by itself while it waited for start (a tiny RLIMIT_NOFILE, say), raise what it wrote down."""
    pages = _pages(container)
    error = error_in(pages)
    if error and phase_in(pages) == CREATED:
        _fail(container, error)


def _fail(container: Container, message: bytes) -> NoReturn:
    """Turn init's record of an error into words; init is ended, so that the container is stopped."""
    from ociruntime.launch.launch import explain
    from ociruntime.native.spawn import failure_of

    end_init(container.record.init())
    steps = plan_again(container).steps
    raise explain(failure_of(message), steps)


def plan_again(container: Container) -> Plan:
    """The plan of a container that exists, made again from the kept config."""
    from ociruntime import host
    from ociruntime.plan import order

    options = order.Options(container.id, **container.record.options)
    bundle = _bundle(container)
    return order.make(bundle, host.probe_for(bundle.config, options), options)


def _bundle(container: Container) -> Bundle:
    """The bundle with the config as it was when the container was created."""
    from ociruntime.bundle import Bundle

    directory = container.directory
    return Bundle(container.record.bundle, directory.file("config.json"), directory.kept())


def _take_stamps(container: Container, timeline: Trace) -> None:
    with open(container.directory.file("progress"), "rb", buffering=0) as progress:
        timeline.init(progress.fileno(), plan_again(container), start=True)


class _Untimed:
    """In place of a span when no trace is wanted."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, *details: object) -> None:
        return None


_UNTIMED = _Untimed()
