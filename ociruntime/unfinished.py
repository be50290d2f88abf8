# SPDX-License-Identifier: Apache-2.0
"""What is known about a container that is being made or deleted, or whose create or delete was interrupted?

This looks, and changes nothing: create, start, delete and gc finish what was interrupted (operations/recover.py).

    deleted.json   journal   init     status                       pid
    yes            any       lives    created, running, paused     init's
    yes            any       ended    stopped                      0
    no             any       lives    creating                     init's
    no             any       none     creating; stopped if no process is working on it            0

Must not import a verb, nor what only create needs.
"""

from __future__ import annotations

import os

from ociruntime.errors import NoSuchContainer
from ociruntime.foreign import refuse
from ociruntime.identity import lives
from ociruntime.journal import init_of
from ociruntime.statedir import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.statedir import StateDir


class Found:
    """What was found in a directory that had no state.json a moment ago.

    record       what deleted.json says; empty if only a create has worked there
    operation    "create" or "delete" while that runs, or after it was interrupted; "" if it has been completed in the meantime
    interrupted  no process is working on it any more
    pid          of init, if it lives and is not in the record
    """

    __slots__ = ("interrupted", "operation", "pid", "record")

    def __init__(self, record: Record, operation: str, interrupted: bool, pid: int = 0) -> None:
        self.record = record
        self.operation = operation
        self.interrupted = interrupted
        self.pid = pid

    def warnings(self) -> list[str]:
        """What a person should know of it."""
        if not self.interrupted:
            return []
        return [f"its {self.operation} was interrupted: `gc` or `delete --force` finishes it"]


def look(directory: StateDir) -> Found:
    """What there is in a directory that had no state.json a moment ago.

    Raises NoSuchContainer, ForeignContainer, StateUnreadable.
    """
    refuse(directory)
    record = directory.read_state("deleted.json")
    if record is not None:
        return Found(record, "delete", not directory.is_in_work())
    record = directory.read_state()
    if record is not None:  # its create has been completed in the meantime
        return Found(record, "", False)
    entry = init_of(directory.journal())
    pid = entry.get("pid")
    living = pid if isinstance(pid, int) and lives(pid, entry.get("start_time")) else 0
    if not directory.has("lock") and not _files(directory):
        raise NoSuchContainer(directory.container_id)
    return Found(Record(), "create", not directory.is_in_work(), living)


def _files(directory: StateDir) -> list[str]:
    try:
        return os.listdir(directory.path)
    except FileNotFoundError:
        return []
