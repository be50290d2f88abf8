# SPDX-License-Identifier: Apache-2.0
"""Spine 6: the life cycle. What state is a container in, and what may be done with it?

    create --> created --start--> running --its program ends--> stopped --delete--> gone
                  |                  |  ^
                  |            pause v  | resume  (from created as well)
                  |                paused
                  '--kill--> stopped            delete --force: from every state

A Container is a record: it says what the container's files say, and changes nothing. The operations act on it
(operations/, one file each) if ALLOWED has its state; otherwise they raise WrongState and have no effect. api/ has a
Container with a method for each of them. This module must not import an operation or a subject: engines poll `state`,
`kill` and `delete`.
"""

from __future__ import annotations

from ociruntime.errors import NoSuchContainer, RuntimeFailure, StateUnreadable
from ociruntime.identity import exit_status, frozen, lives, reap
from ociruntime.statedir import Record, StateDir
from ociruntime.stateroot import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from ociruntime.api.documents import State

# operation -> the states in which it is allowed (R229, R233, R236)
ALLOWED = {
    "start": ("created",),
    "exec": ("created", "running"),
    "pause": ("created", "running"),
    "resume": ("paused",),
    "kill": ("created", "running", "paused"),
    "update": ("created", "running", "paused"),
    "events": ("created", "running", "paused"),
    "delete": ("stopped",),
}
SPEC_VERSION = "1.3.0"


def ignored(_warning: str) -> None:
    """Drop a warning."""


class Container:
    """A container that exists.

    record       what its state.json says; empty (and false) until its create gets that far
    warnings     what create could not do quite as the config says; after `load`, what is wrong with the container's files
    unfinished   "create" or "delete" while that runs, or after it was interrupted; else ""
    interrupted  no process is working on it any more: `delete`, `start`, `gc` and a create of this id finish it
    terminal     after a create with keep_terminal: the master of the program's terminal, the caller's to close; else -1
    """

    def __init__(self, directory: StateDir, record: Record) -> None:
        self.directory = directory
        self.record = record
        self.warnings: list[str] = []
        self.unfinished = ""
        self.interrupted = False
        self.early_pid = 0  # of init, while there is no state.json
        self.terminal = -1

    @classmethod
    def load(cls, root: str, container_id: str) -> Self:
        """The container of this id.

        This changes nothing: what an interrupted create or delete has left is shown as it is.
        Raises NoSuchContainer, StateUnreadable; ForeignContainer if it is not one of ours.
        """
        return cls.of(StateDir.find(root, container_id))

    @classmethod
    def of(cls, directory: StateDir) -> Self:
        """The container of this directory; as `load`."""
        try:
            record = directory.read_state()
        except StateUnreadable:
            from ociruntime.foreign import refuse

            refuse(directory)
            raise
        if record is not None:
            return cls(directory, record)
        from ociruntime.unfinished import look

        found = look(directory)
        container = cls(directory, found.record)
        container.unfinished = found.operation
        container.interrupted = found.interrupted
        container.early_pid = found.pid
        container.warnings += found.warnings()
        return container

    @property
    def id(self) -> str:
        """The container's id."""
        return self.directory.container_id

    @property
    def pid(self) -> int:
        """Process id of init in the runtime's pid namespace; 0 if it is not there yet, or ended before create did."""
        return self.record.pid or self.early_pid

    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        status = self.rough_status()
        if status != "running":
            return status
        from ociruntime.progress import EXECUTING

        return "created" if self._phase() < EXECUTING else "running"

    def rough_status(self) -> str:
        """As `status`, but "running" for a created container, too: where both are alike, nothing more has to be read."""
        if not self.record:
            return "stopped" if self.interrupted and not self.early_pid else "creating"
        if not lives(self.pid, self.record.start_time):
            return "stopped"
        if frozen(self.record.cgroup_paths):
            return "paused"
        return "running"

    def has_begun(self) -> bool:
        """True once start has let init go on to its program."""
        from ociruntime.progress import STARTING

        return self._phase() >= STARTING

    def _phase(self) -> int:
        from ociruntime.progress import EXECUTING, phase_in

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
        return str(self.record.options.get("notify", ""))

    def keyring(self) -> str:
        """Name of its session keyring, or "" if it has that of create's caller."""
        return "" if self.record.options.get("no_new_keyring") else f"_ses.{self.id}"

    def cgroup_paths(self) -> dict[str, str]:
        """Its cgroup directory per v1 controller, "" for v2. Raises RuntimeFailure if it has none."""
        if not self.record.cgroup_paths:
            raise RuntimeFailure(
                "the container has no cgroup of its own",
                hint="it was created with --cgroup-manager disabled, or without root",
            )
        return self.record.cgroup_paths

    def state(self) -> State:
        """The state document (runtime.md, State), with runc's additions."""
        status = self.status()
        state: State = {  # type: ignore[typeddict-item]  # "owner" comes last, as in runc
            "ociVersion": SPEC_VERSION,
            "id": self.id,
            "pid": 0 if status == "stopped" else self.pid,
            "status": status,
            "bundle": self.record.bundle,
            "rootfs": self.record.rootfs,
            "created": self.record.created,
        }
        if self.record.annotations:
            state["annotations"] = self.record.annotations
        state["owner"] = self.record.owner
        return state

    def wait(self) -> int:
        """Wait for the end of a container that this process has created.

        Returns its exit status, or 128 + n if signal n ended it. Raises RuntimeFailure if init is not
        a child of this process.
        """
        try:
            return exit_status(self.pid)
        except ChildProcessError:
            raise RuntimeFailure("init is not a child of this process") from None

    def reap(self) -> None:
        """Collect the exit status of an init that this process has created and that has ended."""
        reap(self.pid)


def list_all(root: str, warn: Callable[[str], None] = ignored) -> list[State]:
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
