# SPDX-License-Identifier: Apache-2.0
"""The delete operation.

state.json becomes deleted.json: from then on it only goes forward, and if this is interrupted, the next create, start,
delete or gc continues from there. What follows is in recover.py. This module must not import a verb, nor what only create needs.
"""

from __future__ import annotations

import os
import time

from ociruntime.container import ALLOWED, Container
from ociruntime.errors import NoSuchContainer, RuntimeFailure, StateUnreadable, WrongState
from ociruntime.statedir import Record, StateDir


def delete(root: str, container_id: str, force: bool = False) -> list[str]:
    """Remove a container; see api.delete. Returns warnings."""
    directory = StateDir.find(root, container_id)
    # Not before: engines delete many that are gone already.
    from ociruntime.operations.recover import complete, remove_empty

    record = Record()
    try:
        container = Container.of(directory)
        if container.unfinished:
            return _end_unfinished(container, force)
        record = container.record
        if not force and (status := container.status()) not in ALLOWED["delete"]:
            raise WrongState(f"cannot delete container {container_id} that is not stopped: {status}")
    except StateUnreadable:
        if not force:
            raise
    except NoSuchContainer:
        remove_empty(directory)
        raise
    if force:
        directory.mend_lock()
    # The lock file may have been cleaned up; a directory that is being removed has no state.json any more.
    create = directory.has("state.json") or directory.has("deleted.json")
    try:
        if not directory.lock(wait=True, create=create):
            raise NoSuchContainer(container_id)
        _begin(directory)
        return complete(directory, record)
    finally:
        directory.unlock()  # at once: an exception's traceback keeps `directory` alive


def _begin(directory: StateDir) -> None:
    try:
        directory.begin_delete()
    except FileNotFoundError:
        if not directory.has("deleted.json"):
            raise NoSuchContainer(directory.container_id) from None
    except OSError as failure:
        raise RuntimeFailure(
            directory.file("deleted.json"), step="delete state", errno=failure.errno or 0
        ) from None


def _end_unfinished(container: Container, force: bool) -> list[str]:
    """Finish what was interrupted; wait for a delete by another process, and with `force` end its create."""
    from ociruntime.launch.undo import PATIENCE
    from ociruntime.operations.recover import finish

    directory = container.directory
    deadline = time.monotonic() + PATIENCE
    if force:
        directory.mend_lock()
    warnings = finish(directory, deadline)
    if warnings is not None:
        return warnings
    if container.unfinished == "create" and not force:
        raise WrongState(f"cannot delete container {container.id} that is not stopped: creating")
    _wait_for_end(container, deadline)
    if directory.has("state.json"):
        return delete(os.path.dirname(directory.path), container.id, force)
    if not force:
        raise NoSuchContainer(container.id)  # another process has deleted it
    return []


def _wait_for_end(container: Container, deadline: float) -> None:
    """Another process is creating or deleting it; end the init of a create, which then fails and cleans up by itself."""
    from ociruntime.journal import init_of
    from ociruntime.launch.undo import end_init
    from ociruntime.operations.recover import finish

    directory = container.directory
    while os.path.isdir(directory.path) and not directory.has("state.json"):
        if container.unfinished == "create":
            init = init_of(directory.journal())
            if init:
                end_init(init, deadline=deadline)
        if finish(directory, deadline) is not None:
            return
        if time.monotonic() > deadline:
            raise RuntimeFailure(f"the {container.unfinished} in progress has not ended in time")
        time.sleep(0.01)
