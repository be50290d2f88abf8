# SPDX-License-Identifier: Apache-2.0
"""What a plan is made of: steps. Pure data; nothing here touches the system, and ops.py says which module does them.

A step is one operation, the JSON pointer of the property that caused it, and words for people.
Host steps run in Python in the runtime's namespaces; init steps run in C inside the container's;
a sync step is where the two sides meet. Order is decided in plan/order.py, and nowhere else.
"""

from __future__ import annotations

from ociruntime.ops import OPS, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.errors import Violation


class Step:
    """One operation of a plan.

    name     the operation, as errors and traces show it: "mount", "join cgroup", "set rlimit"
    pointer  JSON pointer of the config property behind it ("" if it belongs to every container)
    text     what exactly is done, for people: "tmpfs on /dev/shm (nosuid,nodev,size=64m)"
    """

    __slots__ = ("name", "pointer", "text")
    where = ""

    def __init__(self, name: str, pointer: str, text: str) -> None:
        self.name = name
        self.pointer = pointer
        self.text = text

    def describe(self) -> str:
        """One line for people, without the pointer."""
        return f"{self.name} {self.text}" if self.text else self.name

    def as_dict(self) -> dict[str, object]:
        """The step as `plan --format json` prints it; see docs/internals/plan.md."""
        return {"where": self.where, "name": self.name, "pointer": self.pointer, "text": self.text}


class HostStep(Step):
    """A step on the runtime's side, done by the module that OPS names for its op.

    That module has `apply(step, context)`, and `undo(op, args, context)` if steps of it can be undone.

    op       the operation: a key of OPS
    args     what to do; JSON values only, because they are written to the journal as they are
    undoable a journal entry is written before the step, and undo() is called after a failure and at delete
    """

    __slots__ = ("args", "op", "undoable")
    where = "host"

    def __init__(
        self,
        op: str,
        args: dict[str, object],
        *,
        pointer: str = "",
        text: str = "",
        undoable: bool = False,
    ) -> None:
        super().__init__(words_of(op), pointer, text)
        self.op = op
        self.args = args
        self.undoable = undoable

    def as_dict(self) -> dict[str, object]:
        """Also the op, which module does it, and with which arguments."""
        return {**super().as_dict(), "op": self.op, "subject": OPS[self.op], "args": self.args}

    def entry(self) -> dict[str, object]:
        """The step as the journal has it; see docs/internals/state.md."""
        return {"op": self.op, "args": self.args}


class Slot:
    """A descriptor that a host step opens before the clone and an init step uses: `Slot(3)`.

    Slots are numbered from 0 by their order in the plan: Plan.slots.
    """

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key

    def __repr__(self) -> str:
        return f"Slot({self.key!r})"


class Blob:
    """Bytes that a host step makes before the clone and an init step uses: `Blob("seccomp filter")`."""

    __slots__ = ("key",)

    def __init__(self, key: str) -> None:
        self.key = key

    def __repr__(self) -> str:
        return f"Blob({self.key!r})"


Argument = int | str | None | Slot | Blob | list[str] | list[int]


def shown(argument: Argument) -> object:
    """An argument as `plan --format json` prints it: a slot and a blob by their keys."""
    return argument.key if isinstance(argument, (Slot, Blob)) else argument


class InitStep(Step):
    """A step on the container's side, done by one op of native/plan.h.

    op       the op's name in plan.h: "mount_fs", "mknod", ...
    args     its arguments in the order of plan.h
    ignore   an errno that is not a failure for this step, or 0
    """

    __slots__ = ("args", "ignore", "op")
    where = "init"

    def __init__(
        self,
        op: str,
        *args: Argument,
        name: str = "",
        pointer: str = "",
        text: str = "",
        ignore: int = 0,
    ) -> None:
        super().__init__(name or op.replace("_", " "), pointer, text)
        self.op = op
        self.args = args
        self.ignore = ignore

    def as_dict(self) -> dict[str, object]:
        """Also the op and its arguments; a slot or blob is shown by its key."""
        return {**super().as_dict(), "op": self.op, "args": [shown(argument) for argument in self.args]}


class SyncStep(Step):
    """init reports that it has come this far and waits; the host steps that follow are done meanwhile."""

    __slots__ = ("point",)
    where = "sync"

    def __init__(self, point: str, text: str, pointer: str = "") -> None:
        super().__init__("sync", pointer, f"{point}: {text}")
        self.point = point


class Plan:
    """The steps of one container, from nothing to its program; or of one more process in it.

    steps        all of them, in order; create does those before the sync "start", start the others
    clone_flags  CLONE_NEW* flags of the clone that makes init (or its helper: then 0)
    slots        keys of the descriptors that host steps open for init, in init's order
    warnings     what the config asks for but does not get
    """

    __slots__ = ("clone_flags", "slots", "steps", "warnings")

    def __init__(self, steps: list[Step], clone_flags: int, warnings: list[Violation]) -> None:
        self.steps = steps
        self.clone_flags = clone_flags
        self.warnings = warnings
        keys: dict[str, None] = {}
        for step in steps:
            if isinstance(step, InitStep):
                keys.update((argument.key, None) for argument in step.args if isinstance(argument, Slot))
        self.slots = list(keys)

    def start_index(self) -> int:
        """Number of the step at which create ends and start begins; that of the end in a plan of exec."""
        return self._index_of("start")

    def steps_at(self, point: str) -> list[tuple[int, HostStep]]:
        """(number, step) of the host steps that are done while init waits at a sync point."""
        found: list[tuple[int, HostStep]] = []
        first = self._index_of(point) + 1
        for index, step in enumerate(self.steps[first:], first):
            if not isinstance(step, HostStep):
                break
            found.append((index, step))
        return found

    def host_step(self, op: str) -> HostStep | None:
        """The first host step of an op, if there is one."""
        return next((step for step in self.steps if isinstance(step, HostStep) and step.op == op), None)

    def _index_of(self, point: str) -> int:
        for index, step in enumerate(self.steps):
            if isinstance(step, SyncStep) and step.point == point:
                return index
        return len(self.steps)

    def init_steps(self) -> list[tuple[int, Step]]:
        """(number, step) of what init does: its records, in order."""
        return [(index, step) for index, step in enumerate(self.steps) if not isinstance(step, HostStep)]

    def forks(self) -> bool:
        """True if init is made by a helper that joins namespaces first."""
        return any(isinstance(step, InitStep) and step.op == "fork" for step in self.steps)
