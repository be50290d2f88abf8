# SPDX-License-Identifier: Apache-2.0
"""Spine 7: what is written down about a container, and how does it survive kill -9?

    ROOT/ID/                0700; an id is unique because this can be made only once (R201)
        lock                flock: held while the container is made or deleted
        journal             one line of JSON before each host step that must be undone
        state.json          written last; without it the container is being made, or was never finished
        config.json         the config as create read it (R207)
        progress            init's own page(s): phase, record, error, time stamps
        start               the socket on which init waits for start
        deleted.json        state.json, renamed by delete: from then on only forward

Files are replaced by rename, and read only if they are regular files of a sensible size. Anything else in their place is
damage to that container: an error names it, and no verb waits for it. Whether another user could change the directory
is for stateroot.py. This module must not import a subject, launch or a verb: `state`, `kill` and `delete`
are on the path of every engine's poll.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from ociruntime.config import parse
from ociruntime.descriptors import Descriptors
from ociruntime.errors import (
    BundleError,
    ContainerExists,
    ForeignContainer,
    NoSuchContainer,
    RuntimeFailure,
    StateUnreadable,
)
from ociruntime.identity import lives, start_time_of
from ociruntime.jsontext import compact
from ociruntime.stateroot import check_id, check_root, make_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from ociruntime.config import Node

    Kind = TypeVar("Kind")

STATE_VERSION = 1
_LARGEST = 64 << 20  # bytes of a file: configs and journals have kilobytes, so a larger one is not ours
# How its files are opened: no link is followed, and a FIFO or a terminal in place of one is not waited for.
_AS_IT_IS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_WAY_OUT = "delete --force cleans it up"


class Record:
    """What state.json says of a container; false while there is none, and then everything in it is empty.

    members       all of it, as it is read and written; what this version does not know stays in it
    pid           init's process id in the runtime's pid namespace
    start_time    its start time: with it the pid is unique
    bundle        absolute path of the bundle
    rootfs        absolute path of the root filesystem
    created       when it was created, by RFC 3339
    owner         as runc shows it: empty
    facts         what later verbs need, by subject; each subject knows what it has put there
    cgroup_paths  the container's cgroup directory per v1 controller, "" for v2; empty if it has none
    hooks         the kinds of hook that the config has
    shares_pids   without a pid namespace of its own, the end of init is not the end of the container
    has_process   without one there is nothing to start
    options       create's flags, as plan/order.py's Options keeps them
    annotations   those of the config
    """

    __slots__ = (
        "annotations",
        "bundle",
        "cgroup_paths",
        "created",
        "facts",
        "has_process",
        "hooks",
        "members",
        "options",
        "owner",
        "pid",
        "rootfs",
        "shares_pids",
        "start_time",
    )

    def __init__(self, members: dict[str, object] | None = None) -> None:
        """Raises ValueError if a member that every verb relies on is missing, or is not what it should be."""
        said = _nothing() if members is None else members
        _member(said, "id", str)
        self.members = said
        self.pid = _member(said, "pid", int)
        self.start_time = _member(said, "start_time", int)
        self.bundle = _member(said, "bundle", str)
        self.rootfs = _member(said, "rootfs", str)
        self.facts: dict[str, object] = _member(said, "facts", dict)
        self.hooks: list[str] = _member(said, "hooks", list)
        self.options: dict[str, Any] = _member(said, "options", dict)
        self.created = _text(said.get("created"))
        self.owner = _text(said.get("owner"))
        annotations = said.get("annotations")
        self.annotations: dict[str, str] = annotations if isinstance(annotations, dict) else {}
        self.shares_pids = bool(said.get("shares_pids"))
        self.has_process = bool(said.get("has_process"))
        cgroups = _member(self.facts, "cgroups", dict) if "cgroups" in self.facts else {"paths": {}}
        paths = _member(cgroups, "paths", dict)
        if not all(isinstance(path, str) and "\0" not in path for path in paths.values()):
            raise ValueError("paths")
        if members is not None and self.pid <= 0:
            raise ValueError("pid")
        self.cgroup_paths: dict[str, str] = paths

    def __bool__(self) -> bool:
        return self.pid > 0

    def init(self) -> dict[str, object]:
        """What identifies init, as the journal has it."""
        return {"pid": self.pid, "start_time": self.start_time}

    @property
    def resources(self) -> object:
        """The limits of its cgroup, if `update` has changed them; None as long as those of the config hold."""
        group = self.facts["cgroups"] if self.cgroup_paths else None
        return group.get("resources") if isinstance(group, dict) else None

    @property
    def unit(self) -> str:
        """The systemd unit whose cgroup it is in, or "" if the runtime has made its cgroup itself."""
        group = self.facts.get("cgroups")
        return _text(group.get("unit")) if isinstance(group, dict) else ""

    def set_resources(self, resources: object) -> None:
        """Note what `update` has set."""
        _member(self.facts, "cgroups", dict)["resources"] = resources


def _nothing() -> dict[str, object]:
    return {
        "id": "",
        "pid": 0,
        "start_time": 0,
        "bundle": "",
        "rootfs": "",
        "facts": {},
        "hooks": [],
        "options": {},
    }


def _member(said: dict[str, object], name: str, kind: type[Kind]) -> Kind:
    value = said.get(name)
    if not isinstance(value, kind):
        raise ValueError(name)
    return value


def _text(value: object) -> str:
    """What is only shown; "" if it is something else."""
    return value if isinstance(value, str) else ""


class StateDir:
    """One container's directory."""

    __slots__ = ("_held", "_holder_pid", "container_id", "path")

    def __init__(self, root: str, container_id: str) -> None:
        self.container_id = container_id
        self.path = os.path.join(root, container_id)
        self._held = Descriptors()  # the lock
        self._holder_pid = 0  # the process that has taken it: a fork of it has a copy of this object

    def __del__(self) -> None:
        if getattr(self, "_held", None) and self._holder_pid == os.getpid():
            self.unlock()

    @classmethod
    def claim(cls, root: str, container_id: str) -> StateDir:
        """Make the directory of a new container, locked.

        Raises ContainerExists if the id is taken, UsageError if it is invalid.
        """
        check_id(container_id)
        directory = cls(root, container_id)
        make_root(root)
        try:
            os.mkdir(directory.path, 0o700)
        except FileExistsError:
            raise ContainerExists(container_id) from None
        except OSError as failure:
            raise RuntimeFailure(
                directory.path, step="make state directory", errno=failure.errno or 0
            ) from None
        try:
            locked = directory.lock(wait=False, create=True)
        except StateUnreadable as failure:
            directory.remove()
            raise RuntimeFailure(failure.reason, step="make state directory", errno=failure.errno) from None
        if not locked:
            raise ContainerExists(container_id)
        return directory

    @classmethod
    def find(cls, root: str, container_id: str) -> StateDir:
        """The directory of a container that exists in whatever form; raises NoSuchContainer.

        Raises RuntimeFailure if the root is not a directory, or another user can change it.
        """
        check_id(container_id)
        if check_root(root):
            raise NoSuchContainer(container_id)
        return cls.within(root, container_id)

    @classmethod
    def within(cls, root: str, container_id: str) -> StateDir:
        """As `find`, below a root that has been checked."""
        directory = cls(root, container_id)
        try:
            status = os.lstat(directory.path)
        except FileNotFoundError:
            raise NoSuchContainer(container_id) from None
        except OSError as failure:
            raise StateUnreadable(directory.path, errno=failure.errno or 0) from None
        if not stat.S_ISDIR(status.st_mode):  # a link, too: containers are directories
            raise NoSuchContainer(container_id)
        if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise ForeignContainer(
                f"{directory.path} belongs to uid {status.st_uid} and has mode "
                f"{stat.S_IMODE(status.st_mode):04o}: another user has made it, or could change it",
                hint="remove it by hand if it is not needed",
            )
        return directory

    def file(self, name: str) -> str:
        """Path of one of the files."""
        return f"{self.path}/{name}"

    def has(self, name: str) -> bool:
        """Is there anything of this name?"""
        return os.path.lexists(self.file(name))

    def read(self, name: str, most: int = _LARGEST) -> bytes | None:
        """One of the files, up to `most` bytes of it; None if there is none.

        Raises StateUnreadable if it is not a regular file, can't be read, or is too large.
        """
        path = self.file(name)
        with Descriptors() as opened:
            try:
                # Without waiting, in case it is a FIFO.
                opened["file"] = descriptor = os.open(path, os.O_RDONLY | _AS_IT_IS)
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise StateUnreadable(f"{path}: not a regular file", hint=_WAY_OUT)
                if status.st_size > _LARGEST:
                    raise StateUnreadable(f"{path}: too large: {status.st_size} bytes", hint=_WAY_OUT)
                data = os.read(descriptor, min(most, status.st_size + 1))
                while len(data) < min(most, status.st_size) and (more := os.read(descriptor, _LARGEST)):
                    data += more
            except FileNotFoundError:
                return None
            except OSError as failure:
                raise _damaged(path, failure) from None
        return data

    def read_if_sound(self, name: str) -> bytes | None:
        """The same, or None where it would raise."""
        try:
            return self.read(name)
        except StateUnreadable:
            return None

    def lock(self, wait: bool, create: bool = False) -> bool:
        """Take the lock; false if another process has it (and `wait` is false), or it is gone.

        Raises StateUnreadable if what is there can't be the lock.
        """
        path = self.file("lock")
        with Descriptors() as opened:
            try:
                flags = os.O_RDWR | _AS_IT_IS | (os.O_CREAT if create else 0)
                opened["lock"] = descriptor = os.open(path, flags, 0o600)
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise StateUnreadable(f"{path}: not a regular file", hint=_WAY_OUT)
            except FileNotFoundError:
                return False
            except OSError as failure:
                raise _damaged(path, failure) from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                # The previous holder may have removed the directory, and this file with it.
                current = os.stat(path)
            except (BlockingIOError, FileNotFoundError):
                return False
            mine = os.fstat(descriptor)
            if (current.st_dev, current.st_ino) != (mine.st_dev, mine.st_ino):
                return False
            self._holder_pid = os.getpid()
            self._held["lock"] = opened.pop("lock")
            self._sign(b"%-32d%-32d" % (self._holder_pid, start_time_of(self._holder_pid)))
            return True

    def mend_lock(self) -> None:
        """Remove what is in place of the lock, if it is not a file and so can't be held."""
        path = self.file("lock")
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):
                self._remove("lock")
        except FileNotFoundError:
            return

    def _sign(self, words: bytes) -> None:
        """Record in the lock who holds it; if there is no room this stays unknown, which does no harm."""
        try:
            os.pwrite(self._held["lock"], words, 0)
        except OSError:
            return

    def _holder(self) -> tuple[int, int]:
        """Process id and start time of the process that signed the lock; (0, 0) if it was released, or is gone."""
        try:
            words = (self.read("lock", 64) or b"").split()
            pid, start_time = (int(word) for word in words)
        except (StateUnreadable, ValueError):
            return 0, 0
        return pid, start_time

    def is_lock_of_the_dead(self) -> bool:
        """Was the lock taken by a process that has ended?

        Then it is about to be free: a child that the kernel has cloned and that has not yet come to its exec
        still shares the open file, for as long as it waits for a CPU.
        """
        pid, start_time = self._holder()
        return pid > 0 and not lives(pid, start_time)

    def is_in_work(self) -> bool:
        """Is a living process making or deleting the container, as far as the lock's file says?

        This looks only: `state` and `list` must not hold the lock, not even for a moment.
        """
        pid, start_time = self._holder()
        return pid > 0 and lives(pid, start_time)

    def unlock(self) -> None:
        """Release the lock."""
        if self._held:
            self._sign(b" " * 64)
            # Not by close alone: a child that another thread is cloning right now shares the open file.
            fcntl.flock(self._held["lock"], fcntl.LOCK_UN)
            self._held.close()

    def write(self, name: str, data: bytes) -> None:
        """Replace one of the files atomically."""
        temporary = self.file(f".{name}.new")
        try:
            with Descriptors() as opened:
                opened["file"] = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _AS_IT_IS, 0o600)
                _write_all(opened["file"], data)
            os.rename(temporary, self.file(name))
        except OSError as failure:
            raise RuntimeFailure(self.file(name), step="write state", errno=failure.errno or 0) from None

    def write_state(self, record: Record) -> None:
        """Write state.json: the container exists from now on."""
        self.write("state.json", compact({"version": STATE_VERSION, **record.members}).encode())

    def read_state(self, name: str = "state.json") -> Record | None:
        """What state.json says; None if there is none.

        Raises StateUnreadable if it is damaged or of another version.
        """
        data = self.read(name)
        if data is None:
            return None
        try:
            state = parse(data, self.file(name)).value
        except BundleError as mistake:
            raise StateUnreadable(str(mistake), hint=_WAY_OUT) from None
        version = state.get("version") if isinstance(state, dict) else None
        if not isinstance(state, dict) or version != STATE_VERSION:
            raise StateUnreadable(
                f"{self.file(name)}: the state has version {version}, but this runtime uses version {STATE_VERSION}",
                hint=_WAY_OUT,
            )
        try:
            return Record(state)
        except ValueError:
            raise StateUnreadable(f"{self.file(name)}: damaged", hint=_WAY_OUT) from None

    def kept(self) -> bytes:
        """The text of the config as create read it. Raises StateUnreadable."""
        data = self.read("config.json")
        if data is None:
            raise StateUnreadable(f"{self.file('config.json')}: no such file", hint=_WAY_OUT)
        return data

    def config(self) -> Node:
        """The config as create read it. Raises StateUnreadable, BundleError."""
        return parse(self.kept(), self.file("config.json"))

    def begin_delete(self) -> None:
        """Rename state.json to deleted.json: from then on there is only forward. Raises OSError."""
        source, target = self.file("state.json"), self.file("deleted.json")
        try:
            os.rename(source, target)
        except (
            IsADirectoryError,
            NotADirectoryError,
        ):  # one of them is not ours: state.json counts
            self._remove("deleted.json")
            os.rename(source, target)

    def note(self, entry: dict[str, object]) -> None:
        """Add an entry to the journal, before the step that it is about."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _AS_IT_IS
            with Descriptors() as opened:
                opened["file"] = os.open(self.file("journal"), flags, 0o600)
                _write_all(opened["file"], compact(entry).encode() + b"\n")
        except OSError as failure:
            raise RuntimeFailure(
                self.file("journal"), step="write journal", errno=failure.errno or 0
            ) from None

    def journal(self) -> list[dict[str, object]]:
        """What must be undone, in the order in which it was done.

        A step whose line was cut off by a crash was not begun; a line that is not an entry can't be undone, and must not
        keep the others from being undone. Raises StateUnreadable if it can't be read at all.
        """
        from ociruntime.journal import entries

        return entries(self.read("journal") or b"")

    def remove(self) -> None:
        """Remove the directory, lock last; a file that is already gone is ignored. Raises RuntimeFailure."""
        try:
            names = [name for name in os.listdir(self.path) if name not in ("lock", "deleted.json")]
            # deleted.json first: if it stayed, the next verb would run the poststop hooks a second time
            for name in ["deleted.json", *names, "lock"]:
                self._remove(name)
            os.rmdir(self.path)
        except FileNotFoundError:
            return
        except OSError as failure:
            place = failure.filename if isinstance(failure.filename, str) else self.path
            raise RuntimeFailure(place, step="remove state directory", errno=failure.errno or 0) from None
        finally:
            self.unlock()

    def _remove(self, name: str) -> None:
        try:
            os.unlink(self.file(name))
        except FileNotFoundError:
            return
        except IsADirectoryError:  # not made by us: removed with everything in it
            from ociruntime.removal import remove_tree

            remove_tree(self.file(name))


def _damaged(path: str, failure: OSError) -> StateUnreadable:
    if failure.errno == errno.ELOOP:
        return StateUnreadable(f"{path}: not a regular file", hint=_WAY_OUT)
    return StateUnreadable(path, errno=failure.errno or 0, hint=_WAY_OUT)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
