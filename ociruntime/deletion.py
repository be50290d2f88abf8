# SPDX-License-Identifier: Apache-2.0
"""The delete operation, and the end of what kill -9 interrupted.

Only forward: state.json becomes deleted.json, the journal is undone backwards, the poststop hooks run,
the directory goes. Whoever finds deleted.json, or no state.json at all, and can take the lock, goes on
from there. This module must not import a verb, nor what only create needs.
"""

from __future__ import annotations

import os
import time

from ociruntime.config import Node
from ociruntime.container import Container
from ociruntime.errors import BundleError, NoSuchContainer, RuntimeFailure, StateUnreadable, WrongState
from ociruntime.run import Run
from ociruntime.statedir import StateDir
from ociruntime.undo import end_init, undo

_PATIENCE = 10.0  # seconds for whoever holds the lock to come to its end


def delete(root: str, container_id: str, force: bool) -> list[str]:
    """Remove a container; see container.delete. Returns warnings."""
    directory = StateDir.find(root, container_id)
    stored: dict[str, object] = {}
    try:
        container = Container.load(root, container_id)
        stored = container.stored
        status = container.status()
    except StateUnreadable:
        if not force:
            raise
        status = "unreadable"
    if status != "stopped" and not force:
        raise WrongState(f"cannot delete container {container_id} that is not stopped: {status}")
    if status == "creating":
        return _end_creation(directory)
    # The lock file may have been swept away; a directory that is being removed has no state.json any more.
    try:
        if not directory.lock(wait=True, create=os.path.exists(directory.file("state.json"))):
            raise NoSuchContainer(container_id)
        os.rename(directory.file("state.json"), directory.file("deleted.json"))
        return _complete(directory, stored)
    except FileNotFoundError:
        raise NoSuchContainer(container_id) from None
    finally:
        directory.unlock()  # at once: an exception's traceback keeps `directory` alive


def finish(directory: StateDir) -> bool:
    """Finish an interrupted create or delete; true if nothing is left.

    False if somebody is at work on the container, or if something can't be undone.
    """
    if not directory.lock(wait=False) and not (directory.is_lock_of_the_dead() and directory.lock(wait=True)):
        return _remove_empty(directory)
    if os.path.exists(directory.file("state.json")):
        directory.unlock()
        return False
    try:
        stored = directory.read_state("deleted.json") or {}
    except StateUnreadable:
        stored = {}
    _complete(directory, stored)
    return not os.path.isdir(directory.path)


def _remove_empty(directory: StateDir) -> bool:
    """A directory without a lock file is one that was being made or removed at that very moment."""
    if os.path.exists(directory.file("lock")):
        return False
    try:
        os.rmdir(directory.path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _complete(directory: StateDir, stored: dict[str, object]) -> list[str]:
    """Undo, run poststop hooks, remove; the lock is held. Returns warnings.

    Raises RuntimeFailure if something can't be undone; the journal stays for the next try.
    """
    run = run_of(directory, stored, needs_config=False)
    problems = undo(directory, run)
    if problems:
        directory.unlock()
        raise RuntimeFailure("; ".join(problems), hint="delete --force or gc tries again")
    hooks = stored.get("hooks")
    warnings = run_poststop(run) if isinstance(hooks, list) and "poststop" in hooks else []
    directory.remove()
    return [*run.warnings, *warnings]


def _end_creation(directory: StateDir) -> list[str]:
    """Somebody is creating it: end its init, then that create fails and cleans up by itself."""
    deadline = time.monotonic() + _PATIENCE
    while os.path.isdir(directory.path):
        for entry in directory.journal():
            if entry["subject"] == "launch" and isinstance(entry["args"], dict):
                end_init(entry["args"])
        if directory.lock(wait=False):
            directory.unlock()
            finish(directory)
        if time.monotonic() > deadline:
            raise RuntimeFailure("the create that is going on does not end")
        time.sleep(0.01)
    return []


def run_of(directory: StateDir, stored: dict[str, object], needs_config: bool = True) -> Run:
    """The Run of a container that exists: for undo, and for the hooks after create.

    needs_config   raise BundleError if the kept config is gone; else it is a warning
    """
    config, lost = Node({}), ""
    if stored.get("hooks"):
        from ociruntime.bundle import load_config

        try:
            config = load_config(directory.file("config.json"))
        except BundleError as mistake:
            if needs_config:
                raise
            lost = f"poststop hooks are not run: {mistake}"
    run = Run(directory.container_id, str(stored.get("bundle", "")), directory.path, config)
    if lost:
        run.warnings.append(lost)
    run.committed = bool(stored) or os.path.exists(directory.file("deleted.json"))
    run.rootfs = str(stored.get("rootfs", ""))
    facts = stored.get("facts")
    run.facts = facts if isinstance(facts, dict) else {}
    pid = stored.get("pid")
    run.pid = pid if isinstance(pid, int) else 0
    start_time = stored.get("start_time")
    run.start_time = start_time if isinstance(start_time, int) else 0
    return run


def run_poststop(run: Run) -> list[str]:
    """Run the poststop hooks; a failing one is a warning, and the others still run (R215)."""
    from ociruntime import hooks

    warnings = []
    for step in hooks.plan_poststop(run.config):
        try:
            hooks.apply(step, run)
        except RuntimeFailure as failure:
            warnings.append(str(failure))
    return warnings
