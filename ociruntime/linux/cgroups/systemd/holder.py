# SPDX-License-Identifier: Apache-2.0
"""What is in the scope before init is? A process that does nothing, and ends when the runtime does.

systemd makes a scope only around a process. This one is a fork that executes nothing, holds no descriptor and has no
signal handler (native/sys.c). Must not import anything of this package.
"""

from __future__ import annotations

import os
from _signal import SIGKILL, pidfd_send_signal

from ociruntime.native._shim import ffi, lib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.launch.context import Context

_NAME = "scope holder"
_WALL = 0x40000000  # __WALL: a child that sends no signal when it ends is waited for like this


def hold(context: Context) -> int:
    """Make it; its pid. Raises OSError."""
    pid = ffi.new("int *")
    context.held[_NAME] = lib.shim_hold_place(pid)
    if context.held[_NAME] < 0:
        number = -context.held.pop(_NAME)
        raise OSError(number, os.strerror(number), "a process that holds the scope")
    return pid[0]


def release(context: Context) -> None:
    """End it, if there is one, and wait until it is gone: it counts for the limits of the scope."""
    pidfd = context.held.pop(_NAME, -1)
    if pidfd < 0:
        return
    try:
        pidfd_send_signal(pidfd, SIGKILL)
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | _WALL)
    except (ProcessLookupError, ChildProcessError):
        return  # it has ended, or another part of this process has collected it
    finally:
        os.close(pidfd)
