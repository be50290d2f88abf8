# SPDX-License-Identifier: Apache-2.0
"""May this process open as many descriptors as a container's mounts and devices need? RLIMIT_NOFILE, getrlimit(2)

The runtime opens what init can't open itself (bind_sources.py), and keeps one descriptor for each until init has been
cloned. Until then it raises the soft limit, never above the hard one. Other threads of the program may make containers
at the same time: the last one restores the program's limit. When init has mounted everything, it gets the caller's
limit, or the one that the config sets. Must not import a subject, launch or a verb.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from errno import EINVAL, EMFILE

from ociruntime.errors import StepFailed
from ociruntime.step import HostStep, SyncStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.launch.context import Context
    from ociruntime.step import Step

# For what else create opens (namespaces, cgroups, sockets, pages), and what the caller's other threads open meanwhile.
_MARGIN = 64


class _Shared:
    """What all containers that are being made in this process share: how many need more, and the limits."""

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self.users = 0
        self.before = -1  # the program's soft limit while it is raised
        self.ours = -1


_shared = _Shared()


def plan(steps: list[Step], slots: int, has_limit: bool) -> list[Step]:
    """The steps, with those that this number of slots needs.

    has_limit  the config sets RLIMIT_NOFILE
    """
    count: dict[str, object] = {"count": slots}
    made: list[Step] = [
        HostStep(
            "raise_descriptor_limit",
            count,
            pointer="/mounts",
            text=f"for {slots} descriptors of init",
        )
    ]
    for step in steps:
        made.append(step)
        if isinstance(step, HostStep) and step.op == "clone_init":
            made.append(HostStep("lower_descriptor_limit", {}, text="of the runtime"))
        elif isinstance(step, SyncStep) and step.point == "ready" and not has_limit:
            made.append(HostStep("give_descriptor_limit", {}, text="of the caller to init"))
    return made


def apply(step: HostStep, context: Context) -> None:
    """Raise, lower or give the limit. Raises StepFailed if the hard limit is too low."""
    if step.op == "raise_descriptor_limit":
        count = step.args["count"]
        assert isinstance(count, int)
        _raise(step, context, count)
    elif step.op == "lower_descriptor_limit":
        release(context)
    else:
        import resource

        _, hard = resource.prlimit(context.pid, resource.RLIMIT_NOFILE)
        try:
            resource.prlimit(context.pid, resource.RLIMIT_NOFILE, (context.soft_limit, hard))
        except ValueError as refused:  # what the module makes of EINVAL
            raise OSError(EINVAL, str(refused)) from None


def _raise(step: HostStep, context: Context, count: int) -> None:
    import resource

    numbers = [int(name) for name in os.listdir("/proc/self/fd")]
    needed = max(len(numbers) + count + _MARGIN, max(numbers) + 1)
    with _shared.lock:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if not _is_enough(hard, needed):
            raise StepFailed(
                f"RLIMIT_NOFILE is {hard}, but {needed} descriptors are needed for {count} mounts and devices",
                pointer=step.pointer,
                step=step.name,
                errno=EMFILE,
                hint="raise the hard limit: ulimit -H -n, LimitNOFILE=",
            )
        if not _is_enough(soft, needed):
            resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
            _shared.before = _shared.before if _shared.before >= 0 else soft
            _shared.ours = needed
        _shared.users += 1
        context.soft_limit = _shared.before if _shared.before >= 0 else soft
        context.needs_descriptors = True


def release(context: Context) -> None:
    """This container needs no more. Restore the program's limit, unless another one needs it or the program set one."""
    import resource

    if not context.needs_descriptors:
        return
    context.needs_descriptors = False
    with _shared.lock:
        _shared.users -= 1
        if _shared.users or _shared.before < 0:
            return
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == _shared.ours:
            resource.setrlimit(resource.RLIMIT_NOFILE, (_shared.before, hard))
        _shared.before = -1


def _is_enough(limit: int, needed: int) -> bool:
    return limit < 0 or limit >= needed  # RLIM_INFINITY is -1
