# SPDX-License-Identifier: Apache-2.0
"""The operations that reach a container's processes: kill sends them a signal, pause freezes them, resume lets them go on.

`kill` is polled by engines. This module must not import a verb, nor what only create needs.
"""

from __future__ import annotations

from _signal import SIGKILL, pidfd_send_signal

from ociruntime.container import ALLOWED
from ociruntime.descriptors import Descriptors
from ociruntime.errors import RuntimeFailure, WrongState
from ociruntime.identity import open_process, start_time_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.container import Container


def kill(container: Container, signal: int, all_processes: bool = False) -> None:
    """Send a signal to init, or to all processes; see api.Container.kill."""
    status = container.rough_status()
    if status not in ALLOWED["kill"]:
        if status == "stopped" and _kill_left(container, signal, all_processes):
            return
        raise WrongState("container not running")
    # Without a pid namespace of its own, the end of init is not the end of the container.
    everybody = all_processes or (signal == SIGKILL and container.record.shares_pids)
    reached = everybody and _kill_all(container, signal)
    if reached and signal != SIGKILL:
        return  # init has received it with the others
    try:
        _signal_init(container, signal, status)
    except WrongState:
        if not reached:
            raise  # else cgroup.kill was so quick that init has been reaped


def _kill_left(container: Container, signal: int, all_processes: bool) -> bool:
    """Signal what has outlived init; true if there was anything, or if all processes were asked for.

    Without a pid namespace of its own, processes do not end with init: KILL ends them too, as with runc.
    """
    if all_processes:
        _kill_all(container, signal)
        return True
    if signal != SIGKILL or not container.record.shares_pids:
        return False
    from ociruntime.linux.cgroups.remove import processes

    return bool(processes(container.record.cgroup_paths)) and _kill_all(container, signal)


def _signal_init(container: Container, signal: int, status: str) -> None:
    try:
        with Descriptors() as opened:
            opened["init"] = open_process(container.pid)
            if start_time_of(container.pid) != container.record.start_time:
                raise WrongState("container not running")
            pidfd_send_signal(opened["init"], signal)
            if signal == SIGKILL and status == "paused":
                _thaw(container)  # cgroup v1 does not let a frozen process die
    except ProcessLookupError:
        raise WrongState("container not running") from None
    except OSError as failure:
        raise RuntimeFailure(f"signal {signal} to init", errno=failure.errno or 0) from None


def _thaw(container: Container) -> None:
    from ociruntime.linux.cgroups.freezer import set_frozen

    set_frozen(container.record.cgroup_paths, False)


def _kill_all(container: Container, signal: int) -> bool:
    """Signal all in the container's cgroup; False if it has none."""
    paths = container.record.cgroup_paths
    if not paths:
        return False
    from ociruntime.linux.cgroups.remove import kill_all

    kill_all(paths, signal)
    return True


def pause(container: Container) -> None:
    """Freeze every process, and wait until they have stopped; see api.Container.pause."""
    if container.status() not in ALLOWED["pause"]:
        raise WrongState("container not running")
    _set_frozen(container, True)


def resume(container: Container) -> None:
    """Let a paused container go on; see api.Container.resume."""
    if container.status() not in ALLOWED["resume"]:
        raise WrongState("container not paused")
    _set_frozen(container, False)


def _set_frozen(container: Container, wanted: bool) -> None:
    from ociruntime.linux.cgroups.freezer import set_frozen

    try:
        if not set_frozen(container.record.cgroup_paths, wanted):
            raise RuntimeFailure("the container has no cgroup that can be frozen")
    except FileNotFoundError:
        raise WrongState("container not running") from None
    except TimeoutError as late:
        raise RuntimeFailure(str(late)) from None
    except OSError as failure:
        raise RuntimeFailure("freezer", errno=failure.errno or 0) from None
