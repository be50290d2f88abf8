# SPDX-License-Identifier: Apache-2.0
"""Probes: does init start, are the system calls there that the runtime needs, and is criu?"""

from __future__ import annotations

import errno
import os
import subprocess

from ociruntime.errors import RuntimeFailure
from ociruntime.inspect.doctor import calls
from ociruntime.inspect.doctor.answers import Answer, Case, Lacking, lacking, restricted, works
from ociruntime.linux.refusals import Remedy, facts, ids, steps
from ociruntime.native.encode import encode
from ociruntime.native.spawn import Child
from ociruntime.progress import SYNC_STARTED
from ociruntime.step import SyncStep

_PATIENCE = 3  # seconds, for criu's own check

# Without a right or with nonsense they say EBADF, EINVAL or EFAULT; what hides them says ENOSYS or EPERM.
_CALLS: dict[str, tuple[object, ...]] = {
    "clone3": (None, 0),
    "openat2": (-1, b"", None, 0),
    "open_tree": (-1, b"", 0),
    "move_mount": (-1, b"", -1, b"", 0),
    "fsopen": (None, 0),
    "fsconfig": (-1, 0, None, None, 0),
    "fsmount": (-1, 0, 0),
    "pidfd_open": (-1, 0),
    "pidfd_getfd": (-1, -1, 0),
    "pidfd_send_signal": (-1, 0, None, 0),
    "close_range": (2, 1, 0),
    "execveat": (-1, b"", None, None, 0),
    "memfd_create": (None, 0),
    "setns": (-1, 0),
}
# They ask for CAP_SYS_ADMIN before they look at what they were given.
_ASK_FIRST = ("fsopen", "fsmount", "move_mount", "open_tree")
_KEYRING, _SESSION = 0, -3  # keyctl(2): KEYCTL_GET_KEYRING_ID of the session


def memory_file(case: Case) -> Answer:
    """ociruntime-init, started from a sealed memory file: it says that it has started."""
    del case
    step = SyncStep("started", "")
    try:
        child = Child(encode([(0, step)], [], 3), records=1)
        try:
            child.wait_for(SYNC_STARTED)
        finally:
            child.kill()
            child.close()
    except RuntimeFailure as failure:
        remedy = steps.executable(failure.errno)
        raise Lacking(failure.reason, failure.errno, remedy) from None
    except OSError as failure:
        number = failure.errno or 0
        remedy = steps.of_host_step("clone_init", number, str(failure.filename or ""), 0)
        raise Lacking(str(failure.filename or "start init"), number, remedy) from None
    remedy = steps.executable(0) if facts.sysctl("vm.memfd_noexec") == 2 else None
    return restricted(remedy, "from a tmpfs instead") if remedy else works()


def system_calls(case: Case) -> Answer:
    """Those that the kernel has since Linux 5.10; a seccomp filter of an outer container may hide them."""
    del case
    hidden = [
        name for name, arguments in _CALLS.items() if name in calls.NUMBERS and _is_hidden(name, arguments)
    ]
    if hidden:
        old = Remedy("this kernel does not have them (Linux 5.10 has)", "use a newer kernel")
        outer = facts.outer_filter() or old
        raise lacking(Remedy(f"{', '.join(hidden)}: {outer.cause}", outer.cure))
    if "keyctl" in calls.NUMBERS and _is_hidden("keyctl", (_KEYRING, _SESSION, 0)):
        outer = facts.outer_filter() or Remedy("this kernel has no keyrings", "use a kernel with CONFIG_KEYS")
        return restricted(Remedy(f"keyctl: {outer.cause}", f"{outer.cure}; or use the flag --no-new-keyring"))
    return works()


def _is_hidden(name: str, arguments: tuple[object, ...]) -> bool:
    try:
        calls.system_call(name, *arguments)
    except OSError as failure:
        refusals = (errno.ENOSYS,) if name in _ASK_FIRST else (errno.ENOSYS, errno.EPERM)
        return failure.errno in refusals
    return False


def criu(case: Case) -> Answer:
    """Its own check of the kernel."""
    program = ids.find("criu", os.environ.get("PATH", os.defpath))
    if not program:
        raise lacking(Remedy("there is no criu in $PATH", "apt-get install criu", root=True))
    if not case.powerful:
        needs = "criu needs CAP_SYS_ADMIN"
        raise lacking(
            Remedy(needs, "call it with sudo, or give the outer container --cap-add SYS_ADMIN", root=True)
        )
    try:
        done = subprocess.run(
            [program, "check"], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise Lacking("criu check does not end") from None
    said = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode:
        raise Lacking(
            "criu check",
            0,
            Remedy(said[-1] if said else f"exit {done.returncode}", "criu check --all says more"),
        )
    return works(program)
