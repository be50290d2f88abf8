# SPDX-License-Identifier: Apache-2.0
"""The exec operation: one more process in a container that exists.

    container is       exec
    created, running   joins it
    paused             refused, unless the caller wants to wait until it is resumed
    stopped, creating  refused

Nothing is recorded about the process: if the runtime is killed before the process has become its program, the process
ends; after that it belongs to the container. No lock is held, so any number may be made at once. This module must not
import create, start or a verb: it is on the path of every health probe.
"""

from __future__ import annotations

import errno
import os
from _signal import pidfd_send_signal

from ociruntime import host
from ociruntime.container import ALLOWED
from ociruntime.errors import InvalidConfig, RuntimeFailure, StepFailed, Violation, WrongState
from ociruntime.identity import frozen, root_of
from ociruntime.launch.context import Context
from ociruntime.launch.launch import Launch
from ociruntime.launch.trace import Trace
from ociruntime.linux import awake, credentials
from ociruntime.linux.cgroups import membership
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.operations import exec_document
from ociruntime.operations.pid_file import remove_pid_file, write_pid_file
from ociruntime.plan import exec_order
from ociruntime.plan.entering import Target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.config import Node
    from ociruntime.container import Container
    from ociruntime.launch.trace_origin import Command
    from ociruntime.native.spawn import Child
    from ociruntime.operations.exec_document import Request

    # Is given (has the program begun?, send it a signal) before it begins.
    PassSignals = Callable[[Callable[[], bool], Callable[[int], None]], None]
    from ociruntime.step import Plan

_REFUSALS = {
    "stopped": "cannot exec in a stopped container",
    "creating": "cannot exec in a container that is being created",
    "paused": "cannot exec in a paused container",
}


class Fate:
    """How a process that exec has made ends: (exit code, signal), once it is known. It holds no descriptors.

    Whoever has to reap it may have this without the process: its number is its own as long as `ending` is None.
    """

    __slots__ = ("ending", "pid")

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ending: tuple[int | None, int] | None = None

    def collect(self) -> tuple[int | None, int]:
        """Wait for the end and reap it. May be called again. Raises RuntimeFailure if something else has collected it."""
        if self.ending is None:
            try:
                _, status = os.waitpid(self.pid, 0)
            except ChildProcessError:
                raise RuntimeFailure("the exit status of the process has already been collected") from None
            code = os.waitstatus_to_exitcode(status)
            self.ending = (code, 0) if code >= 0 else (None, -code)
        return self.ending


class ExecProcess:
    """A process that exec has made; `with` closes its descriptor.

    pid       its process id in the runtime's pid namespace
    warnings  what it asked for and did not get
    """

    def __init__(self, child: Child, warnings: list[str]) -> None:
        self.pid = child.pid
        self.warnings = warnings
        self._child = child
        self.fate = Fate(child.pid)

    @property
    def pidfd(self) -> int:
        """A pidfd of it, this object's own: ready to be read when the process has ended. pidfd_open(2)"""
        return self._child.pidfd

    def wait(self) -> int:
        """Wait for its end: its exit status, or 128 + n if signal n ended it.

        May be called again. Raises RuntimeFailure if something else has collected its exit status.
        """
        code, signal = self.ending()
        return 128 + signal if code is None else code

    def ending(self) -> tuple[int | None, int]:
        """(exit code, signal), once it has ended: (3, 0), or (None, 9). Waits for that; as `wait`."""
        return self.fate.collect()

    def kill(self, signal: int) -> None:
        """Send it a signal. Raises WrongState if it has ended."""
        try:
            pidfd_send_signal(self._child.pidfd, signal)
        except ProcessLookupError:
            raise WrongState("process not running") from None

    def let_go(self) -> ExecProcess:
        """This object, now the caller's: the process lives on when it is closed."""
        return self if self._child.let_go() else self  # noqa: RUF034 - in one line, so that nothing comes between

    def close(self) -> None:
        """Forget it; it keeps running."""
        self._child.close()

    def __enter__(self) -> ExecProcess:  # noqa: PYI034 - Self is in typing, which costs 6 ms
        return self

    def __exit__(self, *details: object) -> None:
        self.close()


def execute(
    container: Container,
    request: Request,
    *,
    pid_file: str = "",
    stdio: tuple[int, int, int] = (-1, -1, -1),
    console_socket: str = "",
    pidfd_socket: str = "",
    take_terminal: Callable[[int], None] | None = None,
    pass_signals: PassSignals | None = None,
    trace: str | Command = "",
    fates: list[Fate] | None = None,
) -> ExecProcess:
    """Run a program in a container; see api.Container.exec.

    fates   gets that of the process before the caller has the process
    """
    if container.unfinished == "delete":
        raise WrongState(
            "cannot exec in a container that is being deleted", hint="; ".join(container.warnings)
        )
    status = container.status()
    if status not in ALLOWED["exec"] and not (status == "paused" and request.ignore_paused):
        hint = "--ignore-paused waits until it is resumed" if status == "paused" else ""
        raise WrongState(_REFUSALS[status], hint=hint)
    timeline = Trace(trace, "exec")
    options = exec_order.Options(
        keyring=container.keyring(),
        preserve_fds=request.preserve_fds,
        pid_file=pid_file,
        move=status == "paused",
        container_id=container.id,
        console_socket=console_socket,
        pidfd_socket=pidfd_socket,
        foreground=take_terminal is not None,
        signals=pass_signals is not None,
    )
    executed: ExecProcess | None = None
    try:
        with timeline:
            executed = _carry_out(
                _Execution(container, options, stdio, take_terminal, timeline), request, pass_signals
            )
    except BaseException:
        if executed is not None:
            executed.close()  # no one else knows about it: it is ended
        raise
    if fates is not None:
        fates.append(executed.fate)
    # In one line: if a signal handler raises before it, the process is ended; after it, the caller has the process.
    return executed.let_go()


def _carry_out(execution: _Execution, request: Request, pass_signals: PassSignals | None) -> ExecProcess:
    execution.pass_signals = pass_signals
    try:
        return execution.carry_out(request)
    except RuntimeFailure as failure:
        raise _relative(failure) if request.document is not None else failure from None


class _Execution:
    """One call of exec."""

    def __init__(
        self,
        container: Container,
        options: exec_order.Options,
        stdio: tuple[int, int, int],
        take_terminal: Callable[[int], None] | None,
        timeline: Trace,
    ) -> None:
        self.container = container
        self.options = options
        self.stdio = stdio
        self.take_terminal = take_terminal
        self.timeline = timeline
        self.pass_signals: PassSignals | None = None
        self.pid_file_written = False

    def carry_out(self, request: Request) -> ExecProcess:
        """Check, plan, launch."""
        options = self.options
        config = exec_document.with_process(self.container.directory.config(), request)
        warnings = exec_document.require(config)
        if options.console_socket or config.at("process", "terminal").flag():
            from ociruntime.linux import console

            console.refuse(config, options.console_socket, detached=self.take_terminal is None)
        if awake(config, "seccomp"):
            from ociruntime.linux import seccomp

            seccomp.foresee(os.path.dirname(self.container.directory.path), config)
        target = target_of(self.container, request.cgroups)
        uid = config.at("process", "user", "uid").number()
        options.home = credentials.home_of(uid, root_of(target.pid))
        machine = host.probe(config, Layout("none"))  # the cgroups are known
        if machine.rootless:
            machine.setgroups = host.setgroups_allowed(target.pid)
        made = exec_order.make(config, machine, target, options)
        try:
            child = self._launch(made, config)
        except StepFailed as failure:
            if failure.errno == errno.ESRCH:  # setns by a pidfd: init is ending, its namespaces are gone
                raise WrongState(_REFUSALS["stopped"]) from None
            if failure.errno != errno.EBUSY or request.cgroups or not _enter_cgroup_of_init(target):
                raise
            made = exec_order.make(config, machine, target, options)
            child = self._launch(made, config)
        if not (request.document or request.capabilities or request.apparmor or request.process_label):
            # create has given these warnings; a probe's output is not the place to repeat them
            made.warnings, warnings = [], []
        told = [*warnings, *made.warnings]
        for violation in told if request.document is not None else ():
            violation.pointer = _own(violation.pointer)
        return ExecProcess(child, [str(violation) for violation in told])

    def _launch(self, made: Plan, config: Node) -> Child:
        container, options = self.container, self.options
        context = Context(container.id, container.record.bundle, container.directory.path, config)
        context.init_pid = container.pid
        if awake(config, "seccomp"):  # only an agent of a filter is told
            context.status = "created" if container.status() == "created" else "running"

        def commit() -> None:
            if self.take_terminal is not None:
                self.take_terminal(context.take_terminal())
            if options.pid_file:
                write_pid_file(options.pid_file, context.pid)
                self.pid_file_written = True
            child = launch.child
            if self.pass_signals is not None and child is not None:
                # Now, rather than when the program is known to run: a signal may have come by then.
                self.pass_signals(child.has_begun, ExecProcess(child, []).kill)

        launch = Launch(
            made,
            context,
            None,
            fd_base=3 + options.preserve_fds,
            stdio=self.stdio,
            commit=commit,
            trace=self.timeline,
        )
        try:
            launch.carry_out()
            child = launch.become_program()
            launch.finish()
            return child
        except BaseException:
            try:
                _thaw(launch.child, made)
            finally:
                launch.give_up()
                if self.pid_file_written:
                    remove_pid_file(options.pid_file)
            raise


def target_of(container: Container, below: list[str]) -> Target:
    """The container as exec sees it; `below` are the cgroups that --cgroup names."""
    record = container.record
    paths = membership.below(record.cgroup_paths, below) if below else record.cgroup_paths
    return Target(record.pid, record.start_time, record.rootfs, paths)


def _enter_cgroup_of_init(target: Target) -> bool:
    """A cgroup2 cgroup that enables controllers for its children takes no process: then init has moved further down."""
    place = target.cgroups.get("", "")
    layout = host.probe().cgroups
    try:
        with open(f"/proc/{target.pid}/cgroup", "rb", buffering=0) as file:
            lines = os.fsdecode(file.read()).splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False  # it has ended in the meantime
    own = next((line[3:] for line in lines if line.startswith("0::")), "")
    if not place or not f"{layout.v2}{own}".startswith(f"{place}/") or ".." in own.split("/"):
        return False
    target.cgroups = {**target.cgroups, "": f"{layout.v2}{own}"}
    return True


def _thaw(child: Child | None, made: Plan) -> None:
    """A process in a frozen cgroup of version 1 can't die: it is moved out first."""
    opened = made.host_step("open_cgroup")
    slots = getattr(opened, "args", {}).get("slots", {})
    path = slots.get("cgroup freezer")
    pids = child.pids() if child is not None else []
    if not path or not pids:
        return
    directory = path.rpartition("/")[0]
    if not frozen({"freezer": directory}):  # or it is gone, with the container and all that was in it
        return
    with open(f"{directory.rpartition('/')[0]}/tasks", "wb", buffering=0) as file:
        for pid in pids:
            try:
                file.write(str(pid).encode())
            except ProcessLookupError:
                continue  # it has ended


def _relative(failure: RuntimeFailure) -> RuntimeFailure:
    """The error of a process document: its pointers are relative to that document."""
    if isinstance(failure, InvalidConfig):
        found = [
            Violation(_own(one.pointer), one.reason, one.rule, one.severity) for one in failure.violations
        ]
        return InvalidConfig(found, all_shown=True)
    failure.pointer = _own(failure.pointer)
    return failure


def _own(pointer: str) -> str:
    """A pointer into the config's process object, as a pointer into a document that is this object."""
    return (pointer.removeprefix("/process") or "/") if f"{pointer}/".startswith("/process/") else pointer
