# SPDX-License-Identifier: Apache-2.0
"""What is known about a container that is being made or deleted, or whose create or delete was interrupted?

This looks, and changes nothing: create, start, delete and gc finish what was interrupted (operations/delete.py).

    deleted.json   journal   init     status                       pid
    yes            any       lives    created, running, paused     init's
    yes            any       ended    stopped                      0
    no             any       lives    creating                     init's
    no             any       none     creating; stopped if no process is at work on it           0

Must not import a verb, nor what only create needs.
"""

from __future__ import annotations

import os

from ociruntime.container import Container
from ociruntime.errors import NoSuchContainer
from ociruntime.foreign import refuse
from ociruntime.identity import lives
from ociruntime.statedir import init_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.statedir import StateDir


def look(directory: StateDir) -> Container:
    """The container of a directory that had no state.json a moment ago.

    Raises NoSuchContainer, ForeignContainer, StateUnreadable.
    """
    refuse(directory)
    stored = directory.read_state("deleted.json")
    if stored is not None:
        return _marked(Container(directory, stored), "delete")
    stored = directory.read_state()
    if stored is not None:  # its create has been completed in the meantime
        return Container(directory, stored)
    container = Container(directory, {})
    entry = init_of(directory.journal())
    pid = entry.get("pid")
    if isinstance(pid, int) and lives(pid, entry.get("start_time")):
        container.early_pid = pid
    if not directory.has("lock") and not _files(directory):
        raise NoSuchContainer(directory.container_id)
    return _marked(container, "create")


def _marked(container: Container, operation: str) -> Container:
    container.unfinished = operation
    if not container.directory.is_in_work():
        container.interrupted = True
        container.warnings.append(f"its {operation} was interrupted: `gc` or `delete --force` finishes it")
    return container


def _files(directory: StateDir) -> list[str]:
    try:
        return os.listdir(directory.path)
    except FileNotFoundError:
        return []
