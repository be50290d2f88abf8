# SPDX-License-Identifier: Apache-2.0
"""Spine 7: what is written down about a container, and how does it survive kill -9?

    ROOT/ID/                0700; that it can be made is what makes an id unique (R201)
        lock                flock: held while the container is made or deleted
        journal             one line of JSON before each host step that must be undone
        state.json          written last; without it the container is being made, or was never finished
        config.json         the config as create read it (R207)
        progress            init's own page(s): phase, record, error, time stamps
        start               the socket on which init waits for start
        deleted.json        state.json, renamed by delete: from then on only forward

Files are replaced by rename. This module must not import a subject, launch or a verb: `state`,
`kill` and `delete` are on the path of every engine's poll.
"""

from __future__ import annotations

import fcntl
import os

from ociruntime.config import parse
from ociruntime.descriptors import Descriptors
from ociruntime.errors import (
    BundleError,
    ContainerExists,
    NoSuchContainer,
    RuntimeFailure,
    StateUnreadable,
    UsageError,
)
from ociruntime.identity import lives, start_time_of
from ociruntime.jsontext import compact

STATE_VERSION = 1
_ID_LIMIT = 255  # NAME_MAX
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.,")


def default_root() -> str:
    """Where containers are kept without --root."""
    if os.geteuid() == 0:
        return "/run/ociruntime"
    return os.path.join(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "ociruntime")


def check_id(container_id: str) -> None:
    """Refuse what is no id: it becomes a file name and a cgroup's name (invariant 11).

    Raises UsageError.
    """
    if not container_id:
        raise UsageError("container id cannot be empty")
    if container_id in (".", "..") or not _ID_CHARACTERS.issuperset(container_id):
        raise UsageError(
            f"invalid container id format: {container_id!r}", hint="letters, digits and _ + - . , are allowed"
        )
    if len(container_id) > _ID_LIMIT:
        raise UsageError(f"container id is longer than {_ID_LIMIT} characters")


def is_id(name: str) -> bool:
    """Could a container have this name?"""
    try:
        check_id(name)
    except UsageError:
        return False
    return True


def names(root: str) -> list[str]:
    """Ids of everything below a root that could be a container, in order; raises RuntimeFailure if it is no directory."""
    try:
        found = sorted(entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise RuntimeFailure(root, step="read state directory", errno=failure.errno or 0) from None
    return [name for name in found if is_id(name)]


class StateDir:
    """One container's directory."""

    __slots__ = ("_held", "container_id", "path")

    def __init__(self, root: str, container_id: str) -> None:
        self.container_id = container_id
        self.path = os.path.join(root, container_id)
        self._held = Descriptors()  # the lock: free with the last reference to this object at the latest

    @classmethod
    def claim(cls, root: str, container_id: str) -> StateDir:
        """Make the directory of a new container, locked.

        Raises ContainerExists if the id is taken, UsageError if it is none.
        """
        check_id(container_id)
        directory = cls(root, container_id)
        try:
            os.makedirs(root, 0o700, exist_ok=True)
            os.mkdir(directory.path, 0o700)
        except FileExistsError as failure:
            if failure.filename == directory.path:
                raise ContainerExists(container_id) from None
            raise RuntimeFailure(root, step="make state directory", errno=failure.errno or 0) from None
        except OSError as failure:
            raise RuntimeFailure(
                f"{directory.path}", step="make state directory", errno=failure.errno or 0
            ) from None
        try:
            locked = directory.lock(wait=False, create=True)
        except OSError as failure:
            directory.remove()
            raise RuntimeFailure(
                directory.file("lock"), step="make state directory", errno=failure.errno or 0
            ) from None
        if not locked:
            raise ContainerExists(container_id)
        return directory

    @classmethod
    def find(cls, root: str, container_id: str) -> StateDir:
        """The directory of a container that exists in whatever form; raises NoSuchContainer.

        Raises RuntimeFailure if the root is no directory.
        """
        check_id(container_id)
        directory = cls(root, container_id)
        if not os.path.isdir(directory.path):
            if not os.path.isdir(root):
                names(root)  # says what is wrong with it, if it is there
            raise NoSuchContainer(container_id)
        return directory

    def file(self, name: str) -> str:
        """Path of one of the files."""
        return f"{self.path}/{name}"

    def lock(self, wait: bool, create: bool = False) -> bool:
        """Take the lock; false if somebody else has it (and `wait` is false), or it is gone."""
        with Descriptors() as opened:
            try:
                flags = os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0)
                opened["lock"] = descriptor = os.open(self.file("lock"), flags, 0o600)
                fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                # The previous holder may have removed the directory, and this file with it.
                current = os.stat(self.file("lock"))
            except (BlockingIOError, FileNotFoundError):
                return False
            mine = os.fstat(descriptor)
            if (current.st_dev, current.st_ino) != (mine.st_dev, mine.st_ino):
                return False
            self._sign(descriptor)
            self._held["lock"] = opened.pop("lock")
            return True

    def _sign(self, descriptor: int) -> None:
        """Write into the lock who holds it; without room for it nobody knows, which is no harm."""
        pid = os.getpid()
        try:
            os.pwrite(descriptor, b"%-32d%-32d" % (pid, start_time_of(pid)), 0)
        except OSError:
            return

    def is_lock_of_the_dead(self) -> bool:
        """Was the lock taken by a process that has ended?

        Then it is about to be free: a child that the kernel has cloned and that has not yet come to its exec
        still shares the open file, for as long as it waits for a CPU.
        """
        try:
            with open(self.file("lock"), "rb", buffering=0) as file:
                pid, start_time = (int(number) for number in file.read(64).split())
        except (FileNotFoundError, ValueError):
            return False
        return not lives(pid, start_time)

    def unlock(self) -> None:
        """Release the lock."""
        if self._held:
            # Not by close alone: a child that another thread is cloning right now shares the open file.
            fcntl.flock(self._held["lock"], fcntl.LOCK_UN)
            self._held.close()

    def write(self, name: str, data: bytes) -> None:
        """Replace one of the files atomically."""
        temporary = self.file(f".{name}.new")
        try:
            with Descriptors() as opened:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
                opened["file"] = os.open(temporary, flags, 0o600)
                _write_all(opened["file"], data)
            os.rename(temporary, self.file(name))
        except OSError as failure:
            raise RuntimeFailure(self.file(name), step="write state", errno=failure.errno or 0) from None

    def write_state(self, state: dict[str, object]) -> None:
        """Write state.json: the container exists from now on."""
        self.write("state.json", compact({"version": STATE_VERSION, **state}).encode())

    def read_state(self, name: str = "state.json") -> dict[str, object] | None:
        """The content of state.json; None if there is none.

        Raises StateUnreadable if it is damaged or of another version.
        """
        try:
            with open(self.file(name), "rb", buffering=0) as file:
                data = file.read()
        except FileNotFoundError:
            return None
        hint = "delete --force cleans it up"
        try:
            state = parse(data, self.file(name)).value
        except BundleError as mistake:
            raise StateUnreadable(str(mistake), hint=hint) from None
        version = state.get("version") if isinstance(state, dict) else None
        if not isinstance(state, dict) or version != STATE_VERSION:
            raise StateUnreadable(
                f"{self.file(name)}: version {version} of the state, and this is version {STATE_VERSION}",
                hint=hint,
            )
        if not _has_shape(state):
            raise StateUnreadable(f"{self.file(name)}: damaged", hint=hint)
        return state

    def note(self, entry: dict[str, object]) -> None:
        """Add an entry to the journal, before the step that it is about."""
        try:
            with Descriptors() as opened:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                opened["file"] = os.open(self.file("journal"), flags, 0o600)
                _write_all(opened["file"], compact(entry).encode() + b"\n")
        except OSError as failure:
            raise RuntimeFailure(
                self.file("journal"), step="write journal", errno=failure.errno or 0
            ) from None

    def journal(self) -> list[dict[str, object]]:
        """What must be undone, in the order in which it was done.

        A line cut off by a crash was not begun; one that is no entry can be undone by nobody, and must not
        keep the others from being undone.
        """
        entries: list[dict[str, object]] = []
        try:
            with open(self.file("journal"), "rb", buffering=0) as file:
                lines = file.read().split(b"\n")
        except FileNotFoundError:
            return entries
        for line in lines[:-1]:
            entry = _entry_of(line)
            if entry:
                entries.append(entry)
        return entries

    def remove(self) -> None:
        """Remove the directory, lock last; what is gone already is fine."""
        try:
            names = [name for name in os.listdir(self.path) if name not in ("lock", "deleted.json")]
        except FileNotFoundError:
            return
        # deleted.json first: with it the poststop hooks would be run a second time by whoever goes on from here
        for name in ["deleted.json", *names, "lock"]:
            try:
                os.unlink(self.file(name))
            except FileNotFoundError:
                continue
        try:
            os.rmdir(self.path)
        except FileNotFoundError:
            return
        finally:
            self.unlock()


def _entry_of(line: bytes) -> dict[str, object]:
    try:
        entry = parse(line, "journal").value
    except BundleError:
        return {}
    if not isinstance(entry, dict) or not isinstance(entry.get("args"), dict):
        return {}
    return entry if isinstance(entry.get("subject"), str) and isinstance(entry.get("name"), str) else {}


# Members that every verb relies on, and their types.
_MEMBERS = {
    "id": str,
    "pid": int,
    "start_time": int,
    "bundle": str,
    "rootfs": str,
    "facts": dict,
    "hooks": list,
    "options": dict,
}


def _has_shape(state: dict[str, object]) -> bool:
    if any(not isinstance(state.get(name), kind) for name, kind in _MEMBERS.items()):
        return False
    facts, pid = state["facts"], state["pid"]
    assert isinstance(facts, dict)
    assert isinstance(pid, int)
    cgroups = facts.get("cgroups", {"paths": {}})
    return pid > 0 and isinstance(cgroups, dict) and isinstance(cgroups.get("paths"), dict)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
