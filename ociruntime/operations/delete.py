# SPDX-License-Identifier: Apache-2.0
"""The delete operation, which also finishes what kill -9 interrupted.

It only goes forward: state.json becomes deleted.json, the journal is undone backwards, the poststop hooks run,
the directory is removed. create, delete, start and gc go on from there if they find deleted.json, or no state.json at
all, and can take the lock; queries (`state`, `list`, ...) don't: see unfinished.py. What belongs to another runtime
is never touched: see foreign.py. This module must not import a verb, nor what only create needs.
"""

from __future__ import annotations

import os
import time

from ociruntime.config import Node, parse
from ociruntime.container import Container
from ociruntime.errors import (
    BundleError,
    ForeignContainer,
    NoSuchContainer,
    RuntimeFailure,
    StateUnreadable,
    WrongState,
)
from ociruntime.launch.context import Context
from ociruntime.launch.undo import PATIENCE, end_init, undo
from ociruntime.statedir import StateDir, init_of
from ociruntime.stateroot import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def delete(root: str, container_id: str, force: bool) -> list[str]:
    """Remove a container; see container.delete. Returns warnings."""
    directory = StateDir.find(root, container_id)
    stored: dict[str, object] = {}
    try:
        container = Container.of(directory)
        if container.unfinished:
            return _end_unfinished(container, force)
        stored = container.stored
        status = container.status()
    except StateUnreadable:
        if not force:
            raise
        status = "unreadable"
        directory.mend_lock()
    except NoSuchContainer:
        _remove_empty(directory)
        raise
    if status != "stopped" and not force:
        raise WrongState(f"cannot delete container {container_id} that is not stopped: {status}")
    if force:
        directory.mend_lock()
    # The lock file may have been cleaned up; a directory that is being removed has no state.json any more.
    create = directory.has("state.json") or directory.has("deleted.json")
    try:
        if not directory.lock(wait=True, create=create):
            raise NoSuchContainer(container_id)
        _begin(directory)
        return _complete(directory, stored)
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


def collect(
    root: str, warn: Callable[[str], None], fail: Callable[[RuntimeFailure], None] | None
) -> list[str]:
    """Finish everything below a root that was interrupted; see container.gc. PATIENCE covers all of it together."""
    cleaned: list[str] = []
    failures: list[RuntimeFailure] = []
    deadline = time.monotonic() + PATIENCE
    for name in names(root):
        try:
            directory = StateDir.within(root, name)
            if not directory.has("lock"):
                refuse_foreign(directory)
            if not directory.has("state.json") and finish(directory, deadline):
                cleaned.append(name)
        except NoSuchContainer:
            continue  # deleted in the meantime
        except ForeignContainer as other:
            warn(f"{name}: {other}")
        except RuntimeFailure as failure:
            failure.reason = f"{name}: {failure.reason}"
            failures.append(failure)
        except OSError as failure:
            failures.append(RuntimeFailure(f"{name}: {failure.filename or ''}", errno=failure.errno or 0))
    for failed in failures:
        if fail is None:
            raise failed
        fail(failed)
    return cleaned


def finish(directory: StateDir, deadline: float = 0.0) -> bool:
    """Finish an interrupted create or delete; true if nothing is left, false if another process is working on it.

    deadline  when (time.monotonic) to stop waiting for processes that do not end; 0: after PATIENCE
    Raises RuntimeFailure if something can't be undone, ForeignContainer if it is not ours.
    """
    return _finish(directory, deadline) is not None


def _finish(directory: StateDir, deadline: float) -> list[str] | None:
    """As finish; returns the warnings, or None."""
    refuse_foreign(directory)
    # The lock file may have been removed; a create or delete removes everything else before its lock.
    create = directory.has("journal") or directory.has("deleted.json")
    try:
        if not directory.lock(wait=False, create=create) and not (
            directory.is_lock_of_the_dead() and directory.lock(wait=True)
        ):
            return [] if _remove_empty(directory) else None
        return None if directory.has("state.json") else _go_on(directory, deadline)
    finally:
        directory.unlock()


def _go_on(directory: StateDir, deadline: float) -> list[str]:
    """Finish what was interrupted; the lock is held. Returns warnings."""
    warnings: list[str] = []
    try:
        stored = directory.read_state("deleted.json") or {}
    except StateUnreadable as damage:
        stored = {}
        warnings.append(str(damage))
    return warnings + _complete(directory, stored, deadline)


def refuse_foreign(directory: StateDir) -> None:
    """Raise ForeignContainer if the directory is not ours."""
    from ociruntime.foreign import refuse

    refuse(directory)


def _remove_empty(directory: StateDir) -> bool:
    """A directory without a lock file is one that was being made or removed at that very moment."""
    if directory.has("lock"):
        return False
    try:
        os.rmdir(directory.path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _complete(directory: StateDir, stored: dict[str, object], deadline: float = 0.0) -> list[str]:
    """Undo, run poststop hooks, remove; the lock is held. Returns warnings.

    Raises RuntimeFailure if something can't be undone; the journal stays for the next try.
    """
    context = context_of(directory, stored, needs_config=False)
    context.deadline = deadline
    problems = _undo(directory, context, stored)
    if problems:
        raise RuntimeFailure("; ".join(problems), hint="run delete --force or gc to try again")
    hooks = stored.get("hooks")
    warnings = run_poststop(context) if isinstance(hooks, list) and "poststop" in hooks else []
    directory.remove()
    return [*context.warnings, *warnings]


def _undo(directory: StateDir, context: Context, stored: dict[str, object]) -> list[str]:
    """Undo the journal; if it is damaged, what the state says about init and its cgroup. Returns problems."""
    try:
        journal = directory.journal()
        if not context.committed or init_of(journal):
            return undo(directory, context, journal)
        damage = f"{directory.file('journal')}: it has no entry for init"
    except StateUnreadable as failure:
        if not context.committed:
            raise RuntimeFailure(
                f"{failure.reason}: what its create has made is unknown",
                hint=f"end its processes and remove {directory.path}",
            ) from None
        damage = failure.reason
    if not stored:
        raise RuntimeFailure(
            f"{damage}, and its state can't be read: its processes are unknown",
            hint=f"end them and remove {directory.path}",
        )
    context.warnings.append(f"{damage}: what its state names is ended and removed instead")
    return _undo_by_state(directory, context)


def _undo_by_state(directory: StateDir, context: Context) -> list[str]:
    """Without a journal: end init and empty its cgroups; remove those that have the container's name.

    The others may have been there before the container (R238).
    """
    context.deadline = context.deadline or time.monotonic() + PATIENCE
    problems: list[str] = []
    group = context.facts.get("cgroups")
    paths: dict[str, str] = group["paths"] if isinstance(group, dict) else {}
    try:
        end_init({"pid": context.pid, "start_time": context.start_time}, paths, context.deadline)
    except (OSError, RuntimeFailure) as failure:
        problems.append(f"undo init: {failure}")
    if paths:
        from ociruntime.linux.cgroups.remove import remove

        made = sorted({path for path in paths.values() if os.path.basename(path) == directory.container_id})
        try:
            remove(paths, made, context.deadline)
        except OSError as failure:
            problems.append(f"undo make cgroup: {failure}")
    return problems


def _end_unfinished(container: Container, force: bool) -> list[str]:
    """Finish what was interrupted; wait for a delete by another process, and with `force` end its create."""
    directory = container.directory
    deadline = time.monotonic() + PATIENCE
    if force:
        directory.mend_lock()
    warnings = _finish(directory, deadline)
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
    directory = container.directory
    while os.path.isdir(directory.path) and not directory.has("state.json"):
        if container.unfinished == "create":
            init = init_of(directory.journal())
            if init:
                end_init(init, deadline=deadline)
        if finish(directory, deadline):
            return
        if time.monotonic() > deadline:
            raise RuntimeFailure(f"the {container.unfinished} in progress does not end")
        time.sleep(0.01)


def context_of(directory: StateDir, stored: dict[str, object], needs_config: bool = True) -> Context:
    """The context of a container that exists: for undo, and for the hooks after create.

    needs_config   raise BundleError or StateUnreadable if the kept config is damaged; else it is a warning
    """
    config, lost = Node({}), ""
    if stored.get("hooks"):
        try:
            config = parse(directory.config(), directory.file("config.json"))
        except (BundleError, StateUnreadable) as mistake:
            if needs_config:
                raise
            lost = f"poststop hooks are not run: {mistake}"
    context = Context(directory.container_id, str(stored.get("bundle", "")), directory.path, config)
    if lost:
        context.warnings.append(lost)
    context.committed = bool(stored) or directory.has("deleted.json")
    context.rootfs = str(stored.get("rootfs", ""))
    facts = stored.get("facts")
    context.facts = facts if isinstance(facts, dict) else {}
    pid = stored.get("pid")
    context.pid = pid if isinstance(pid, int) else 0
    start_time = stored.get("start_time")
    context.start_time = start_time if isinstance(start_time, int) else 0
    return context


def run_poststop(context: Context) -> list[str]:
    """Run the poststop hooks; a failing one is a warning, and the others still run (R215)."""
    from ociruntime.launch.hooks import apply
    from ociruntime.linux import hooks

    warnings = []
    for step in hooks.plan_poststop(context.config):
        try:
            apply(step, context)
        except RuntimeFailure as failure:
            warnings.append(str(failure))
    return warnings
