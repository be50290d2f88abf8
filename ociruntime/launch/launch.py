# SPDX-License-Identifier: Apache-2.0
"""Spine 5: a plan is carried out. The only part with effects.

docs/internals/handshake.md has a diagram of what the two sides say to each other.
One loop walks the steps: a host step is done here, init steps let init go on, a sync step waits for it.
An undoable step is noted in the journal first; after a failure the journal is undone backwards.
This module must not import a verb or container.py; subjects are imported by the op of the step.
"""

from __future__ import annotations

import _socket
import errno
import os

from ociruntime.descriptors import Descriptors
from ociruntime.errors import (
    InitLost,
    ProgramNotExecutable,
    ProgramNotFound,
    RuntimeFailure,
    StepFailed,
    hint_for,
)
from ociruntime.identity import (
    is_thread,
    living_thread,
    open_process,
    open_thread,
    start_time_of,
)
from ociruntime.linux.cgroups.membership import CLONE_SLOT
from ociruntime.native.encode import encode, named
from ociruntime.native.spawn import Child, ChildFailed, descriptor_of
from ociruntime.ops import module_of, words_of
from ociruntime.progress import CONTINUE, SYNC_POINTS, progress_size
from ociruntime.step import HostStep, InitStep, SyncStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.launch.context import Context
    from ociruntime.launch.trace import Trace
    from ociruntime.statedir import StateDir
    from ociruntime.step import Plan, Step

# What the parts of an op that are not system calls mean, in words for people.
_DETAILS = {
    "target_is_link": "the mount point is a symbolic link, or is reached through one",
    "target_is_root": "the mount point is the container's root",
    "target_on_proc": "the mount point is on /proc, where nothing may be covered",
    "foreign_mount": "a bind mount shows the host's files there, and a device must not be made among them",
    "not_a_device": "/dev/null in the container is not the null device",
    "exists_with_other_type": "another file is there already",
    "cwd_outside_root": "the directory is not inside the container's root",
    "is_a_directory": "it is a directory",
    "too_many_links": "too many symbolic links",
    "name_too_long": "the path or the options are too long",
    "source_no_procfs": "its source is not a proc file system",
    "not_devpts": "/dev/pts in the container is not a devpts",
    "foreign_keyring": "another user has made a keyring of this name",
    "hidden_mount": "a procfs or sysfs of the host is mounted where it can be neither unmounted nor covered",
    "runtime_gone": "the runtime gave up",
    "copy": "copying the directory's contents",
    "bad_plan": "the plan is malformed",
}


# Steps whose text is a list that errors should not repeat: their reasons name the rule, the file or the mount.
_LISTS = (
    "check_cgroup",
    "make_cgroup",
    "start_scope",
    "set_unit_properties",
    "set_device_rules",
    "load_device_program",
    "hold_id_maps",
    "write_id_map",
)
_MEMORY_LIMITS = ("/linux/resources/memory/limit", "/linux/resources/unified/memory.max")
_CLONES = ("clone_init", "clone_helper", "clone_hook")


class Launch:
    """Carries out the create part of one plan, or the whole plan of one more process in a container.

    directory  where the journal and the progress pages are; None: nothing must be undone after kill -9
    commit     is called by the step "commit": it writes state.json, or the pid file
    meanwhile  is called when init has been started: what can be done while it works
    """

    def __init__(
        self,
        plan: Plan,
        context: Context,
        directory: StateDir | None,
        *,
        fd_base: int,
        stdio: tuple[int, int, int],
        commit: Callable[[], None],
        trace: Trace,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        self.plan = plan
        self.context = context
        self.directory = directory
        self.fd_base = fd_base
        self.stdio = stdio
        self.commit = commit
        self.trace = trace
        self.meanwhile = meanwhile
        self.child: Child | None = None
        self._init_waits = False
        self._stamps_taken = False

    def carry_out(self) -> None:
        """Do every step up to the sync "start".

        Raises StepFailed (or a RuntimeFailure of another kind); the caller undoes the journal.
        """
        for index, step in enumerate(self.plan.steps[: self.plan.start_index() + 1]):
            if isinstance(step, HostStep):
                with self.trace.host(index, step):
                    self._host_step(step)
                if step.op in _CLONES and self.meanwhile is not None:
                    self.meanwhile()
            elif isinstance(step, SyncStep) and step.point != "start":
                self._let_go_on()
                self._wait_for(step.point)
            else:
                self._let_go_on()

    def become_program(self) -> Child:
        """After the last step of a plan without a start: wait until the process is its program.

        Raises StepFailed, or InitLost if it was ended before.
        """
        assert self.child is not None
        self._let_go_on()
        try:
            self.child.wait_end()
        except ChildFailed as failure:
            raise explain(failure, self.plan.steps) from None
        return self.child

    def finish(self, keep_terminal: bool = False) -> None:
        """Close what only the launch needed, and take over the times that init has recorded; the child is kept."""
        self._close_slots(keep_terminal)
        self.commit = (
            _committed  # what was here refers to this object: a reference cycle would keep the child open
        )
        self.meanwhile = None
        if self.child is not None and self.child.progress >= 0 and not self._stamps_taken:
            self.trace.init(self.child.progress, self.plan)
            self._stamps_taken = True

    def _close_slots(self, keep_terminal: bool = False) -> None:
        self.context.close_slots(keep_terminal)
        if self.context.needs_descriptors:  # it failed before the step that lowers the limit
            from ociruntime.linux.descriptor_limit import release

            release(self.context)

    def give_up(self) -> None:
        """End init after a failure, before the journal is undone, and close the descriptors of this side."""
        if self.child is not None:
            self.child.kill()
        self.finish()
        if self.child is not None:
            self.child.close()

    def _let_go_on(self) -> None:
        if self._init_waits and self.child is not None:
            self.child.reply(CONTINUE)
            self._init_waits = False

    def _wait_for(self, point: str) -> None:
        assert self.child is not None
        try:
            self.child.wait_for(SYNC_POINTS[point])
        except ChildFailed as failure:
            raise explain(failure, self.plan.steps) from None
        except InitLost as lost:
            raise lost_to_limit(lost, self.plan.steps) from None
        self._init_waits = True
        self._note_init()
        if "terminal" in self.child.opened:
            self.context.received["terminal"] = self.child.opened.pop("terminal")
        if point == "listener":
            try:
                self.context.received["listener"] = descriptor_of(self.child.pidfd, self.child.listener)
            except OSError as failure:
                raise StepFailed("copy the filter's descriptor", errno=failure.errno or 0) from None

    def _note_init(self) -> None:
        """As soon as init's pid is known: undoing the journal must end it first."""
        assert self.child is not None
        if self.context.pid == self.child.pid:
            return
        self.context.pid = self.child.pid
        if self.directory is not None:
            self.context.start_time = start_time_of(self.child.pid)
            args: dict[str, object] = {"pid": self.context.pid, "start_time": self.context.start_time}
            self.directory.note({"op": "init", "args": args})

    def _host_step(self, step: HostStep) -> None:
        try:
            if step.op == "commit":
                self.commit()
                return
            if step.op in _CLONES:
                self._clone()
                return
            if step.op == "open_init":
                open_init(step, self.context)
                return
            if step.undoable:
                assert self.directory is not None
                self.directory.note(step.entry())
            module_of(step.op).apply(step, self.context)
        except StepFailed as failure:
            failure.pointer = failure.pointer or step.pointer
            if failure.step in ("", step.name):
                failure.step = said_once(step, failure.reason)
            raise
        except OSError as failure:
            raise step_failed(step, failure, self.plan.clone_flags) from None

    def _clone(self) -> None:
        self._make_child()
        for key in self.plan.slots:  # init has its own
            os.close(self.context.slots.pop(key))

    def _make_child(self) -> None:
        if self.directory is None:
            self.child = self._child()
            return
        path = self.directory.file("progress")
        with Descriptors() as opened:
            opened["progress"] = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            # Written, not only extended: a full disk must show here, not as SIGBUS in init.
            _fill(opened["progress"], progress_size(len(self.plan.init_steps())), path)
            start = listen(self.directory)
            try:
                self.child = self._child(opened["progress"], start.fileno())
            finally:
                start.close()
        self._note_init()

    def _child(self, progress: int = -1, start: int = -1) -> Child:
        records = self.plan.init_steps()
        return Child(
            encode(records, self.plan.slots, self.fd_base, self.context.blobs),
            records=len(records),
            fd_base=self.fd_base,
            slots=[self.context.slots[key] for key in self.plan.slots],
            clone_flags=self.plan.clone_flags,
            cgroup=self.context.slots.get(CLONE_SLOT, -1),
            stdio=self.stdio,
            progress=progress,
            start=start,
            forks=self.plan.forks(),
        )


def open_init(step: HostStep, context: Context) -> None:
    """Open init, and not a process that has its number by now. Raises StepFailed if it has ended."""
    pid, start_time = step.args["pid"], step.args["start_time"]
    assert isinstance(pid, int)
    try:
        context.slots["init"] = open_process(pid)
    except ProcessLookupError:
        raise StepFailed("init has ended", step=step.name) from None
    if start_time and start_time_of(pid) != start_time:
        raise StepFailed("init has ended", step=step.name)
    thread = living_thread(pid)
    while thread not in (0, pid):
        if _open_thread(step, context, pid, thread):
            return
        thread = living_thread(pid)


def _open_thread(step: HostStep, context: Context, pid: int, thread: int) -> bool:
    """Init's first thread has ended and has no namespaces any more; another of its threads still has them.

    False if that one has ended in the meantime, too: its number may belong to a process of the host by then.
    """
    try:
        with Descriptors() as opened:
            opened["thread"] = open_thread(thread)
            # It is alive, and a thread of init's: no two threads of the machine have this number at the same time.
            if not is_thread(opened["thread"], pid, thread):
                return False
            os.close(context.slots.pop("init"))
            context.slots["init"] = opened.pop("thread")
        return True
    except ProcessLookupError:
        return False
    except OSError as failure:
        raise StepFailed(
            f"thread {thread}",
            step=step.name,
            errno=failure.errno or 0,
            hint="init's first thread has ended; entering by another one needs Linux 6.9 or newer",
        ) from None


def _committed() -> None:
    """There is nothing to commit any more."""


def _fill(descriptor: int, size: int, path: str) -> None:
    try:
        if os.write(descriptor, bytes(size)) == size:
            return
        number = errno.ENOSPC
    except OSError as failure:
        number = failure.errno or 0
    raise OSError(number, os.strerror(number), path)


def listen(directory: StateDir) -> _socket.socket:
    """The socket on which init waits for `start`; reached through a descriptor, as its path may be long."""
    listening = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    try:
        with Descriptors() as opened:
            opened["place"] = os.open(directory.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            listening.bind(f"/proc/self/fd/{opened['place']}/start")
            listening.listen(16)
    except OSError as failure:
        listening.close()
        raise OSError(failure.errno, failure.strerror, directory.file("start")) from None
    return listening


def explain(failure: ChildFailed, steps: list[Step]) -> RuntimeFailure:
    """The failure of a record in terms of the step behind it."""
    detail = _DETAILS.get(failure.detail, failure.detail.replace("_", " "))
    if failure.index >= len(steps):
        hint = _remedy("executable", failure.errno)
        return StepFailed(f"starting init: {detail}", errno=failure.errno, hint=hint)
    step = steps[failure.index]
    if isinstance(step, InitStep) and step.op in ("find_program", "exec"):
        return program_failed(step, failure, steps)
    if failure.detail == "bind_source" and isinstance(step, InitStep):
        return _source_failed(step, failure)
    hint = _hint(failure, step, steps)
    words = failure.log or ("" if failure.detail == step.name.replace(" ", "_") else detail)
    shown = step.describe()
    return StepFailed(
        words,
        pointer=step.pointer,
        step=shown,
        errno=failure.errno,
        hint=hint,
    )


def lost_to_limit(lost: InitLost, steps: list[Step]) -> InitLost:
    """The same with the config's memory limit, if there is one and init was killed: it needs 128 to 256 KiB."""
    for step in steps if lost.killed else ():
        if step.pointer in _MEMORY_LIMITS and isinstance(step, HostStep):
            limit = step.describe().rpartition("= ")[2]
            hint = f"the memory limit of {limit} bytes may be too low: init needs 256 KiB; the kernel log says more"
            return InitLost(lost.reason, pointer=step.pointer, hint=hint)
    return lost


def _source_failed(step: InitStep, failure: ChildFailed) -> StepFailed:
    """A bind whose source init could not open, reported like one that the runtime opens."""
    from ociruntime.linux.bind_sources import BIND_IN_ROOT

    args = named(step)
    flags = args["source_flags"]
    inside = " in the rootfs" if isinstance(flags, int) and flags & BIND_IN_ROOT else ""
    op = "open_bind_source"
    return StepFailed(
        f"{args['source']}{inside} on {args['destination']}",
        pointer=step.pointer,
        step=words_of(op),
        errno=failure.errno,
        hint=hint_for(failure.errno, op),
    )


def _hint(failure: ChildFailed, step: Step, steps: list[Step]) -> str:
    op = step.op if isinstance(step, InitStep) else "sync"
    users = any(isinstance(one, HostStep) and one.op == "note_id_maps" for one in steps)
    if isinstance(step, InitStep):
        found = _remedy("of_init_step", op, failure.errno, named(step), users=users)
        if found:
            return found
    if failure.errno == errno.EPERM and op == "mount_fs" and users:
        return _OWN_NAMESPACES
    if failure.errno == errno.EPERM and failure.detail == "mount_setattr":
        return "the source has flags that are locked in this user namespace: leave out the option that clears one"
    if failure.errno == errno.ENOSPC:  # a mount point is a file, and needs room on a disk
        return hint_for(failure.errno, "mount_fs" if failure.detail in _MOUNTING else "")
    if isinstance(step, InitStep) and op == "attribute":
        op = f"{op} {named(step)['name']}"
    return hint_for(failure.errno, op)


# The calls that add to the mounts of a namespace.
_MOUNTING = ("move_mount", "open_tree", "fsmount", "mount", "pivot_root", "bind_source")


_OWN_NAMESPACES = "a user namespace may mount proc, sysfs and mqueue only if it also has its own pid, network and ipc namespaces"


def _remedy(kind: str, *facts: object, **more: object) -> str:
    """What this host lacks and which command gives it, or "": refusals/steps.py, which is loaded only after a failure."""
    from ociruntime.linux.refusals import steps

    return str(getattr(steps, kind)(*facts, **more) or "")


# What filters answer with. Others, such as ENOEXEC of a program for another machine, are the kernel's own reasons: engines give
# nearly every container a filter.
_OF_FILTERS = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def program_failed(step: InitStep, failure: ChildFailed, steps: list[Step]) -> StepFailed:
    """Engines look for these words to tell "not found" (127) from "not executable" (126)."""
    program = step.text.split(" ", 1)[0]
    where = "" if "/" in program else " in $PATH"
    missing = failure.errno in (errno.ENOENT, errno.ENOTDIR)
    reason = hint = ""
    if missing and step.op == "find_program":
        reason = f"executable file not found{where}: no such file or directory"
    elif failure.errno in (errno.EACCES, errno.EISDIR):
        reason = "permission denied"
    elif failure.errno == errno.ENOENT:
        hint = "its interpreter (the #! line or the dynamic linker) is missing"
    filtered = any(isinstance(one, InitStep) and one.op == "seccomp" for one in steps)
    if step.op == "exec" and filtered and failure.errno in _OF_FILTERS:
        hint = "does /linux/seccomp allow execve?"
    kind = ProgramNotFound if missing else ProgramNotExecutable
    shown = f'{step.name} "{program}"'
    failed = kind(reason, pointer=step.pointer, step=shown, errno=failure.errno, hint=hint)
    failed.reason_has_errno = bool(reason)
    return failed


def step_failed(step: HostStep, failure: OSError, clone_flags: int = 0) -> StepFailed:
    """A host step's OSError as the error that people see."""
    number = failure.errno or 0
    name = os.fsdecode(failure.filename) if isinstance(failure.filename, (str, bytes)) else ""
    shown = said_once(step, name)
    hint = _remedy("of_host_step", step.op, number, name, clone_flags) or hint_for(number, step.op)
    return StepFailed(name, pointer=step.pointer, step=shown, errno=number, hint=hint)


def said_once(step: HostStep, reason: str) -> str:
    """The step as an error shows it before the reason: with its text, unless the reason contains it."""
    return step.name if step.text in reason or step.op in _LISTS else step.describe()
