# SPDX-License-Identifier: Apache-2.0
"""Spine 6: the life cycle. What state is a container in, and what may be done with it?

    create --> created --start--> running --its program ends--> stopped --delete--> gone
                  |                  |  ^
                  |            pause v  | resume  (from created as well)
                  |                paused
                  '--kill--> stopped            delete --force: from every state

    operation   allowed when                       otherwise
    start       created                            WrongState, no effect (R229)
    exec        created, running                   WrongState, no effect
    pause       created, running                   WrongState, no effect
    resume      paused                             WrongState, no effect
    kill        created, running, paused           WrongState, no effect (R233)
    delete      stopped                            WrongState, no effect (R236)
    update      created, running, paused           WrongState, no effect

`state`, `kill` and `delete` are polled by engines: what only create and start need is in operations/create.py.
"""

from __future__ import annotations

import os
from _signal import SIGKILL, pidfd_send_signal

from ociruntime.descriptors import Descriptors
from ociruntime.errors import NoSuchContainer, RuntimeFailure, StateUnreadable, WrongState
from ociruntime.identity import lives, open_process, reap, start_time_of
from ociruntime.progress import EXECUTING, STARTING, phase_in
from ociruntime.statedir import StateDir
from ociruntime.stateroot import default_root, names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.bundle import Bundle
    from ociruntime.operations.exec import Executed, PassSignals
    from ociruntime.operations.exec_document import Request
    from ociruntime.plan.order import Options

__all__ = ["Container", "create", "default_root", "delete", "gc", "list_all", "run"]


def _silent(_warning: str) -> None:
    """Drop a warning."""


SPEC_VERSION = "1.3.0"


class Container:
    """A container that exists.

    warnings     what create could not do quite as the config says; after `load`, what is wrong with the container's files
    unfinished   "create" or "delete" while that runs, or after it was interrupted; else ""
    interrupted  no process is working on it any more: `delete`, `start`, `gc` and a create of this id finish it
    terminal     after a create with keep_terminal: the master of the program's terminal, the caller's to close; else -1
    """

    def __init__(self, directory: StateDir, stored: dict[str, object]) -> None:
        self.directory = directory
        self.stored = stored
        self.warnings: list[str] = []
        self.unfinished = ""
        self.interrupted = False
        self.early_pid = 0  # of init, while there is no state.json
        self.terminal = -1

    @classmethod
    def load(cls, root: str, container_id: str) -> Container:
        """The container of this id.

        This changes nothing: what an interrupted create or delete has left is shown as it is.
        Raises NoSuchContainer, StateUnreadable; ForeignContainer if it is not one of ours.
        """
        return cls.of(StateDir.find(root, container_id))

    @classmethod
    def of(cls, directory: StateDir) -> Container:
        """The container of this directory; as `load`."""
        try:
            stored = directory.read_state()
        except StateUnreadable:
            from ociruntime.foreign import refuse

            refuse(directory)
            raise
        if stored is None:
            from ociruntime.unfinished import look

            return look(directory)
        return cls(directory, stored)

    @property
    def id(self) -> str:
        """The container's id."""
        return self.directory.container_id

    @property
    def pid(self) -> int:
        """Process id of init in the runtime's pid namespace; 0 if it is not there yet, or ended before create did."""
        pid = self.stored.get("pid", self.early_pid)
        return pid if isinstance(pid, int) else 0

    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        if not self.stored:
            return "stopped" if self.interrupted and not self.early_pid else "creating"
        if not lives(self.pid, self.stored["start_time"]):
            return "stopped"
        if self._frozen():
            return "paused"
        return "created" if self._phase() < EXECUTING else "running"

    def has_begun(self) -> bool:
        """True once start has let init go on to its program."""
        return self._phase() >= STARTING

    def _phase(self) -> int:
        try:
            head = self.directory.read("progress", 8)
        except StateUnreadable as damage:
            head = None
            if str(damage) not in self.warnings:
                self.warnings.append(str(damage))
        # Without it (it was removed, or is damaged) start must refuse.
        return EXECUTING if head is None else phase_in(head)

    def notify_directory(self) -> str:
        """Where its program's notify socket is, or ""; see foreground/readiness.py."""
        options = self.stored.get("options")
        return str(options.get("notify", "")) if isinstance(options, dict) else ""

    def keyring(self) -> str:
        """Name of its session keyring, or "" if it has that of create's caller."""
        options = self.stored.get("options")
        return "" if isinstance(options, dict) and options.get("no_new_keyring") else f"_ses.{self.id}"

    def cgroup_paths(self) -> dict[str, str]:
        """Its cgroup directory per v1 controller, "" for v2; empty if it has none."""
        facts = self.stored.get("facts")
        cgroups = facts.get("cgroups") if isinstance(facts, dict) else None
        return dict(cgroups["paths"]) if cgroups else {}

    def _frozen(self) -> bool:
        paths = self.cgroup_paths()
        if not paths:
            return False
        from ociruntime.frozen import frozen

        return frozen(paths)

    def state(self) -> dict[str, object]:
        """The state document (runtime.md, State), with runc's additions."""
        status = self.status()
        state: dict[str, object] = {
            "ociVersion": SPEC_VERSION,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.stored.get("bundle", ""),
            "rootfs": self.stored.get("rootfs", ""),
            "created": self.stored.get("created", ""),
        }
        if self.stored.get("annotations"):
            state["annotations"] = self.stored["annotations"]
        state["owner"] = self.stored.get("owner", "")
        return state

    def start(self, trace: str = "") -> None:
        """Run the program.

        Raises WrongState unless created; StepFailed (HookFailed) if a hook or execve failed: then
        the container is stopped.
        """
        from ociruntime.operations.start import start

        if not trace:
            start(self)
            return
        from ociruntime.launch.trace import Trace

        timeline = Trace(trace, "start")
        with timeline:
            start(self, timeline)

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
    ) -> Executed:
        """Run one more program in the container; returns when it has been executed.

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
        status = self.status()
        if status in ("stopped", "creating"):
            if status == "stopped" and self._kill_left(signal, all_processes):
                return
            raise WrongState("container not running")
        # Without a pid namespace of its own, the end of init is not the end of the container.
        everybody = all_processes or (signal == SIGKILL and self.stored.get("shares_pids"))
        reached = bool(everybody) and self._kill_all(signal)
        if reached and signal != SIGKILL:
            return  # init has received it with the others
        try:
            self._signal_init(signal, status)
        except WrongState:
            if not reached:
                raise  # else cgroup.kill was so quick that init has been reaped

    def _kill_left(self, signal: int, all_processes: bool) -> bool:
        """Signal what has outlived init; true if there was anything, or if all processes were asked for.

        Without a pid namespace of its own, processes do not end with init: KILL ends them too, as with runc.
        """
        if all_processes:
            self._kill_all(signal)
            return True
        if signal != SIGKILL or not self.stored.get("shares_pids"):
            return False
        from ociruntime.linux.cgroups.remove import processes

        return bool(processes(self.cgroup_paths())) and self._kill_all(signal)

    def pause(self) -> None:
        """Freeze every process, and wait until they have stopped.

        Raises WrongState unless created or running, RuntimeFailure if it can't be frozen.
        """
        if self.status() not in ("created", "running"):
            raise WrongState("container not running")
        self._set_frozen(True)

    def resume(self) -> None:
        """Let a paused container go on. Raises WrongState unless paused."""
        if self.status() != "paused":
            raise WrongState("container not paused")
        self._set_frozen(False)

    def _set_frozen(self, wanted: bool) -> None:
        from ociruntime.linux.cgroups.freezer import set_frozen

        try:
            if not set_frozen(self.cgroup_paths(), wanted):
                raise RuntimeFailure("the container has no cgroup that can be frozen")
        except FileNotFoundError:
            raise WrongState("container not running") from None
        except TimeoutError as late:
            raise RuntimeFailure(str(late)) from None
        except OSError as failure:
            raise RuntimeFailure("freezer", errno=failure.errno or 0) from None

    def _signal_init(self, signal: int, status: str) -> None:
        try:
            with Descriptors() as opened:
                opened["init"] = open_process(self.pid)
                if start_time_of(self.pid) != self.stored["start_time"]:
                    raise WrongState("container not running")
                pidfd_send_signal(opened["init"], signal)
                if signal == SIGKILL and status == "paused":
                    self._thaw()  # cgroup v1 does not let a frozen process die
        except ProcessLookupError:
            raise WrongState("container not running") from None
        except OSError as failure:
            raise RuntimeFailure(f"signal {signal} to init", errno=failure.errno or 0) from None

    def _thaw(self) -> None:
        from ociruntime.linux.cgroups.freezer import set_frozen

        set_frozen(self.cgroup_paths(), False)

    def _kill_all(self, signal: int) -> bool:
        """Signal all in the container's cgroup; False if it has none."""
        paths = self.cgroup_paths()
        if not paths:
            return False
        from ociruntime.linux.cgroups.remove import kill_all

        kill_all(paths, signal)
        return True

    def update(self, resources: object, schemata: dict[str, str] | None = None) -> list[str]:
        """Change limits; what `resources` (as /linux/resources of config.json) does not name stays as it is.

        schemata   lines for the container's resctrl group, keyed by the name that an error shows
        Either all of them are set, or none. Returns warnings. Raises WrongState unless created, running or paused;
        InvalidConfig, NotSupported or StepFailed with a pointer below /linux/resources.
        """
        from ociruntime.operations.update import change

        return change(self, resources, schemata)

    def wait(self) -> int:
        """Wait for the end of a container that this process has created.

        Returns its exit status, or 128 + n if signal n ended it. Raises RuntimeFailure if init is not
        a child of this process.
        """
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            raise RuntimeFailure("init is not a child of this process") from None
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def reap(self) -> None:
        """Collect the exit status of an init that this process has created and that has ended."""
        reap(self.pid)

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
    from ociruntime.launch.trace import Trace
    from ociruntime.operations.create import create as make

    timeline = Trace(trace, "create")
    return make(
        root,
        bundle,
        options,
        pid_file=pid_file,
        stdio=stdio,
        keep_terminal=keep_terminal,
        timeline=timeline,
        done=timeline.write,
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
    warn: Callable[[str], None] = _silent,
) -> int:
    """Create and start a container and, unless `detach`, wait for it and delete it.

    keep             do not delete it
    forward_signals  forward this process's signals to the program, and connect its terminal to this process's own, or
                     give it pipes in place of this process's terminal (for a command, not for a library)
    notify           the service manager's socket ($NOTIFY_SOCKET), if options.notify is set, or ""
    warn             is called with each warning
    Returns the program's exit status (128 + n for signal n), 0 if detached.
    """
    from ociruntime.operations.run import run as run_foreground

    return run_foreground(
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


def delete(root: str, container_id: str, force: bool = False) -> list[str]:
    """Remove a container: kill it (if `force`), undo everything that create did, run its poststop hooks.

    Returns warnings (failed poststop hooks). Raises NoSuchContainer, WrongState, StateUnreadable.
    """
    from ociruntime.operations.delete import delete as remove

    return remove(root, container_id, force)


def list_all(root: str, warn: Callable[[str], None] = _silent) -> list[dict[str, object]]:
    """The states of all containers below a root, by id.

    warn   is called with what is wrong with a container, and with what does not belong to this runtime; a container
           that can't be read is left out
    Raises RuntimeFailure if the root is not a directory, or another user can change it.
    """
    states = []
    for name in names(root):
        try:
            container = Container.of(StateDir.within(root, name))
            states.append(container.state())
        except NoSuchContainer:
            continue  # deleted in the meantime
        except RuntimeFailure as failure:
            warn(f"{name}: {failure}")
            continue
        except OSError as failure:
            warn(f"{name}: {RuntimeFailure(str(failure.filename or ''), errno=failure.errno or 0)}")
            continue
        for warning in container.warnings:
            warn(f"{name}: {warning}")
    return states


def gc(
    root: str,
    warn: Callable[[str], None] = _silent,
    fail: Callable[[RuntimeFailure], None] | None = None,
) -> list[str]:
    """Finish every create and delete below a root that was interrupted; returns the ids cleaned up.

    warn   is called with what does not belong to this runtime
    fail   is called with the error of each container that can't be cleaned up now, and the others are cleaned up.
           None: the first of these errors is raised at the end
    Raises RuntimeFailure if the root is not a directory, or another user can change it.
    """
    from ociruntime.operations.delete import collect

    return collect(root, warn, fail)
