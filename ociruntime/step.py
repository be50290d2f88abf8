# SPDX-License-Identifier: Apache-2.0
"""What a plan is made of: steps. Pure data; nothing here touches the system.

A step is one operation, the JSON pointer of the property that caused it, and words for people.
Host steps run in Python in the runtime's namespaces; init steps run in C inside the container's;
a sync step is where the two sides meet. Order is decided in plan.py, and nowhere else.
"""

from __future__ import annotations


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
        """The step as `plan --format json` prints it; see specs/plan.md."""
        return {"where": self.where, "name": self.name, "pointer": self.pointer, "text": self.text}


class HostStep(Step):
    """A step of the runtime's side, done by the subject module that planned it.

    subject  the module below `ociruntime` with `apply(step, run)`, and `undo(name, args, run)` if undoable
    args     what to do; JSON values only, because they are written to the journal as they are
    undoable a journal entry is written before the step, and undo() is called after a failure and at delete
    """

    __slots__ = ("args", "subject", "undoable")
    where = "host"

    def __init__(
        self,
        subject: str,
        name: str,
        args: dict[str, object],
        *,
        pointer: str = "",
        text: str = "",
        undoable: bool = False,
    ) -> None:
        super().__init__(name, pointer, text)
        self.subject = subject
        self.args = args
        self.undoable = undoable

    def as_dict(self) -> dict[str, object]:
        """Also which module does it, with which arguments."""
        return {**super().as_dict(), "subject": self.subject, "args": self.args}


class Slot:
    """A descriptor that a host step opens before the clone and an init step uses: `Slot(3)`.

    Slots are numbered from 0 by their order in the plan; see `slot_of` in plan.py.
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


class InitStep(Step):
    """A step of the container's side, done by one op of native/plan.h.

    op       the op's name in plan.h: "mount_fs", "mknod", ...
    args     its arguments in the order of plan.h
    ignore   an errno that is no failure for this step, or 0
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
        shown = [argument.key if isinstance(argument, (Slot, Blob)) else argument for argument in self.args]
        return {**super().as_dict(), "op": self.op, "args": shown}


class SyncStep(Step):
    """init reports that it has come this far and waits; the host steps that follow are done meanwhile."""

    __slots__ = ("point",)
    where = "sync"

    def __init__(self, point: str, text: str, pointer: str = "") -> None:
        super().__init__("sync", pointer, f"{point}: {text}")
        self.point = point
