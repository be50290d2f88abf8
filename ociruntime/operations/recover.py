# SPDX-License-Identifier: Apache-2.0
"""How does a container end, also after kill -9? The second half of delete, and `gc`.

It only goes forward: the journal is undone backwards, the poststop hooks run, the directory is removed. create, delete,
start and gc go on from there if they find deleted.json, or no state.json at all, and can take the lock; queries (`state`,
`list`, ...) don't: see unfinished.py. What belongs to another runtime is never touched: see foreign.py. This module must not import a
verb, nor what only create needs.
"""

from __future__ import annotations

import os
import time

from ociruntime.config import Node
from ociruntime.container import ignored
from ociruntime.errors import BundleError, ForeignContainer, NoSuchContainer, RuntimeFailure, StateUnreadable
from ociruntime.journal import init_of
from ociruntime.launch.context import Context
from ociruntime.launch.undo import PATIENCE, end_init, undo
from ociruntime.statedir import Record, StateDir
from ociruntime.stateroot import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def gc(
    root: str,
    warn: Callable[[str], None] = ignored,
    fail: Callable[[RuntimeFailure], None] | None = None,
) -> list[str]:
    """Finish everything below a root that was interrupted; see api.gc. PATIENCE covers all of it together."""
    from ociruntime.foreign import refuse

    cleaned: list[str] = []
    failures: list[RuntimeFailure] = []
    deadline = time.monotonic() + PATIENCE
    for name in names(root):
        try:
            directory = StateDir.within(root, name)
            if not directory.has("lock"):
                refuse(directory)
            if not directory.has("state.json") and finish(directory, deadline) is not None:
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


def finish(directory: StateDir, deadline: float = 0.0) -> list[str] | None:
    """Finish an interrupted create or delete. Returns warnings; None if another process is working on it.

    deadline  when (time.monotonic) to stop waiting for processes that do not end; 0: after PATIENCE
    Raises RuntimeFailure if something can't be undone, ForeignContainer if it is not ours.
    """
    from ociruntime.foreign import refuse

    refuse(directory)
    # The lock file may have been removed; a create or delete removes everything else before its lock.
    create = directory.has("journal") or directory.has("deleted.json")
    try:
        if not directory.lock(wait=False, create=create) and not (
            directory.is_lock_of_the_dead() and directory.lock(wait=True)
        ):
            return [] if remove_empty(directory) else None
        return None if directory.has("state.json") else _go_on(directory, deadline)
    finally:
        directory.unlock()


def _go_on(directory: StateDir, deadline: float) -> list[str]:
    """Finish what was interrupted; the lock is held. Returns warnings."""
    warnings: list[str] = []
    try:
        record = directory.read_state("deleted.json") or Record()
    except StateUnreadable as damage:
        record = Record()
        warnings.append(str(damage))
    return warnings + complete(directory, record, deadline)


def remove_empty(directory: StateDir) -> bool:
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


def complete(directory: StateDir, record: Record, deadline: float = 0.0) -> list[str]:
    """Undo, run poststop hooks, remove; the lock is held. Returns warnings.

    Raises RuntimeFailure if something can't be undone; the journal stays for the next try.
    """
    context = context_of(directory, record, needs_config=False)
    context.deadline = deadline
    problems = _undo(directory, context, record)
    if problems:
        raise RuntimeFailure("; ".join(problems), hint="run delete --force or gc to try again")
    warnings = run_poststop(context) if "poststop" in record.hooks else []
    directory.remove()
    return [*context.warnings, *warnings]


def _undo(directory: StateDir, context: Context, record: Record) -> list[str]:
    """Undo the journal; if it is damaged, what the state says about init and its cgroup. Returns problems."""
    try:
        journal = directory.journal()
        if any(entry["op"] == "start_scope" for entry in journal):
            need_library()
        if not context.committed or init_of(journal):
            return undo(directory, context, journal)
        damage = f"{directory.file('journal')}: it has no entry for init"
    except StateUnreadable as failure:
        if not context.committed:
            raise RuntimeFailure(
                f"{failure.reason}: it is not known what create made",
                hint=f"end its processes and remove {directory.path}",
            ) from None
        damage = failure.reason
    if not record:
        raise RuntimeFailure(
            f"{damage}, and its state can't be read: its processes are unknown",
            hint=f"end them and remove {directory.path}",
        )
    context.warnings.append(f"{damage}: init and the cgroups that state.json names are removed instead")
    return _undo_by_state(directory, context, record)


def need_library() -> None:
    """Before anything is undone: a unit is stopped with a library, which a snapshot can't load."""
    from ociruntime.native import full_python

    full_python.need("the cgroup manager systemd")


def _undo_by_state(directory: StateDir, context: Context, record: Record) -> list[str]:
    """Without a journal: end init and empty its cgroups; remove those that have the container's name.

    The others may have been there before the container (R238).
    """
    context.deadline = context.deadline or time.monotonic() + PATIENCE
    problems: list[str] = []
    paths = record.cgroup_paths
    try:
        end_init(record.init(), paths, context.deadline)
    except (OSError, RuntimeFailure) as failure:
        problems.append(f"undo init: {failure}")
    if record.unit:
        problems += _stop_unit(context, record)
    elif paths:
        from ociruntime.linux.cgroups.remove import remove

        made = sorted({path for path in paths.values() if os.path.basename(path) == directory.container_id})
        try:
            remove(paths, made, context.deadline)
        except OSError as failure:
            problems.append(f"undo make cgroup: {failure}")
    return problems


def _stop_unit(context: Context, record: Record) -> list[str]:
    """Stop the unit that state.json names."""
    need_library()
    from ociruntime.linux.cgroups.systemd.scope import undo as stop

    try:
        stop("start_scope", {**_dict(record.facts["cgroups"]), "paths": record.cgroup_paths}, context)
    except (OSError, RuntimeFailure) as failure:
        return [f"undo start scope: {failure}"]
    except (LookupError, TypeError, ValueError, AttributeError) as mistake:
        context.warnings.append(f"state.json: unit: damaged ({type(mistake).__name__}), not stopped")
    return []


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def context_of(directory: StateDir, record: Record, needs_config: bool = True) -> Context:
    """The context of a container that exists: for undo, and for the hooks after create.

    needs_config   raise BundleError or StateUnreadable if the kept config is damaged; else it is a warning
    """
    config, lost = Node({}), ""
    if record.hooks:
        try:
            config = directory.config()
        except (BundleError, StateUnreadable) as mistake:
            if needs_config:
                raise
            lost = f"poststop hooks are not run: {mistake}"
    context = Context(directory.container_id, record.bundle, directory.path, config)
    if lost:
        context.warnings.append(lost)
    context.committed = bool(record) or directory.has("deleted.json")
    context.rootfs = record.rootfs
    context.facts = record.facts
    context.pid, context.start_time = record.pid, record.start_time
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
