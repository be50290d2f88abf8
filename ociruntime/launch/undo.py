# SPDX-License-Identifier: Apache-2.0
"""How is what a plan did undone? The journal, backwards: after a failure, at delete, and after kill -9.

`delete` is on the path of every engine, so this module imports nothing that only create needs, and the
subjects only by the ops in the journal.
"""

from __future__ import annotations

import time
from _signal import SIGKILL, pidfd_send_signal

from ociruntime.descriptors import Descriptors
from ociruntime.errors import RuntimeFailure
from ociruntime.identity import frozen, open_process, start_time_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.launch.context import Context
    from ociruntime.statedir import StateDir

PATIENCE = 10.0  # seconds until everything that was killed must be gone
_LEAST = 500  # milliseconds for each process, even if others have used up PATIENCE
_FROZEN_AFTER = 200  # milliseconds until the check whether it is frozen


def undo(directory: StateDir, context: Context, journal: list[dict[str, object]] | None = None) -> list[str]:
    """Undo the journal, backwards; every entry is tried.

    journal   what it says, if that was read already
    Returns what could not be undone, in words; entries are idempotent, so it may be called again.
    Waits for processes that do not end until context.deadline, which is set here if it is 0: once for all entries.
    Raises StateUnreadable if the journal can't be read.
    """
    from ociruntime.ops import module_of, words_of

    problems: list[str] = []
    if journal is None:
        journal = directory.journal()
    context.deadline = context.deadline or time.monotonic() + PATIENCE
    for entry in reversed(journal):
        op, args = str(entry["op"]), entry["args"]
        assert isinstance(args, dict)
        try:
            if op == "init":
                end_init(args, _cgroups_of(journal), context.deadline)
            else:
                module_of(op).undo(op, args, context)
        except (OSError, RuntimeFailure) as failure:
            problems.append(f"undo {words_of(op)}: {failure}")
        except (ImportError, LookupError, TypeError, ValueError, AttributeError) as mistake:
            # It can't be undone, now or later, and must not keep the others from being undone.
            damage = f"damaged entry ({type(mistake).__name__}), not undone"
            context.warnings.append(f"journal: {words_of(op)}: {damage}")
    return problems


def _cgroups_of(journal: list[dict[str, object]]) -> dict[str, str]:
    for entry in journal:
        args = entry["args"]
        if (
            entry["op"] in ("make_cgroup", "start_scope")
            and isinstance(args, dict)
            and isinstance(args.get("paths"), dict)
        ):
            paths: dict[str, str] = args["paths"]
            return paths
    return {}


def end_init(
    args: dict[str, object], cgroups: dict[str, str] | None = None, deadline: float | None = None
) -> None:
    """Kill the init that a journal names, if it is still that process, and wait for its end.

    cgroups   its cgroup directories, to be thawed if it does not die because it is frozen
    deadline  when (time.monotonic) to stop waiting for it; None: after PATIENCE
    Raises RuntimeFailure if it does not end: it hangs in the kernel.
    """
    pid = int(str(args["pid"]))
    with Descriptors() as opened:
        try:
            opened["init"] = open_process(pid)
        except ProcessLookupError:
            return
        # Even if its first thread has ended, which looks as if the whole process had.
        if start_time_of(pid) == args["start_time"]:
            last = time.monotonic() + PATIENCE if deadline is None else deadline
            _kill_and_wait(opened["init"], cgroups or {}, last)


def _kill_and_wait(pidfd: int, cgroups: dict[str, str], deadline: float) -> None:
    import select

    try:
        pidfd_send_signal(pidfd, SIGKILL)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if poll.poll(_FROZEN_AFTER):
        return
    from ociruntime.linux.cgroups.freezer import set_frozen

    if frozen(cgroups):  # cgroup v1 does not let a frozen process die
        try:
            set_frozen(cgroups, False, max(deadline - time.monotonic(), _LEAST / 1000))
        except TimeoutError as late:  # frozen from a cgroup above
            raise RuntimeFailure(f"init does not end after SIGKILL: {late}") from None
    from ociruntime.linux.cgroups.remove import thaw_below

    thaw_below(cgroups)
    if not poll.poll(max((deadline - time.monotonic()) * 1000, _LEAST)):
        raise RuntimeFailure(
            "init does not end after SIGKILL", hint="/proc/PID/stack says what it is waiting for"
        )
