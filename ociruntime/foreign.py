# SPDX-License-Identifier: Apache-2.0
"""Is a directory below --root one of ours? Another runtime may use the same --root, or may have been replaced by us.

Every verb reports what is not ours and leaves it alone: its files mean something else, and if they were removed, its
processes would keep running without a runtime that knows about them.

    runc, and runtimes made from it   state.json with init_process_pid
    crun                              status, with pid
    youki                             state.json with ociVersion and pid
    ours                              a lock that was signed, a journal with our entries, or state.json with version

Must not import a verb, nor what only create needs.
"""

from __future__ import annotations

import os

from ociruntime.config import parse
from ociruntime.errors import BundleError, ForeignContainer, StateUnreadable
from ociruntime.identity import lives

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.statedir import StateDir

_SIGNED = 64  # bytes of a lock, once it was held
_BESIDE = ("config.json", "progress")
_MOST_PIDS = 1 << 22  # PID_MAX_LIMIT of linux/threads.h


def refuse(directory: StateDir) -> None:
    """Raise ForeignContainer if the directory is not ours. An empty one is being made or removed, maybe by us."""
    for name in ("state.json", "deleted.json"):
        document = _document(directory, name)
        if "init_process_pid" in document:
            start_time = document.get("init_process_start")
            raise _of("runc", directory, document["init_process_pid"], start_time)
        if "version" in document or "start_time" in document:
            return
        if name == "state.json" and "ociVersion" in document and "pid" in document:
            raise _of("youki", directory, document["pid"], None)
    if _bears_our_mark(directory):
        return
    document = _document(directory, "status")
    if "pid" in document:
        raise _of("crun", directory, document["pid"], document.get("process-start-time"))
    try:
        if not os.listdir(directory.path):
            return
    except OSError as failure:
        raise StateUnreadable(directory.path, errno=failure.errno or 0) from None
    raise ForeignContainer(
        f"{directory.path} belongs to another runtime or program: it has none of ociruntime's files",
        hint="remove it by hand if it is not needed, or use another --root",
    )


def _bears_our_mark(directory: StateDir) -> bool:
    """Other programs have files named lock and journal, too: what counts is their content, or the files beside them.

    An unsigned lock is all there is of a create that was killed at once.
    """
    from ociruntime.journal import is_entry

    lock = directory.read_if_sound("lock") or b""
    numbers = lock.split()
    if len(lock) == _SIGNED and len(numbers) in (0, 2) and all(number.isdigit() for number in numbers):
        return True
    journal = directory.read_if_sound("journal") or b""
    if directory.has("deleted.json") or any(is_entry(line) for line in journal.split(b"\n")):
        return True
    if not directory.has("lock"):
        return False
    return any(directory.has(name) for name in _BESIDE) or os.listdir(directory.path) == ["lock"]


def _of(runtime: str, directory: StateDir, pid: object, start_time: object) -> ForeignContainer:
    process = "no process"
    if isinstance(pid, int) and 0 < pid < _MOST_PIDS:
        process = f"pid {pid}"
        # youki keeps no start time: by now this pid may be another process
        if start_time is not None:
            process += ", which is running" if lives(pid, start_time) else ", which has ended"
    root, container_id = os.path.split(directory.path)
    command = f"{runtime} --root {_quoted(root)} delete --force {_quoted(container_id)}"
    return ForeignContainer(
        f"{directory.path} belongs to another runtime, {runtime}: {process}", hint=f"end it with: {command}"
    )


def _quoted(word: str) -> str:
    """Quoted for a shell; shlex would import re."""
    if word.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum() and word[0] != "-":
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def _document(directory: StateDir, name: str) -> dict[str, object]:
    """A JSON object of the directory; empty if there is none that can be read."""
    try:
        data = directory.read(name)
        value = parse(data, name).value if data else None
    except (BundleError, StateUnreadable):
        return {}
    return value if isinstance(value, dict) else {}
