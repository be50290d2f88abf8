# SPDX-License-Identifier: Apache-2.0
"""Which process has ended, and how? The one place of the shim that waits for children.

The library's calls wait for children of their own while they run; between two calls only the first processes of containers,
programs of exec, loggers, and what these have left to the shim (it is a subreaper) are there. So the two never compete, and a
process that ends before its pid is known is still there when its pid has been noted. While a call goes on in a thread
(shim/apart.py), only processes whose pids are known are waited for here.

In one round all that have ended are collected before anyone is told, those of exec before those of init: the end of init is
told last, also if both have ended since the last round. This module must not import anything of the package but the loop.
"""

from __future__ import annotations

import _signal
import os
import time

from ociruntime.shim.loop import IN, guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.shim.loop import Loop

    Ended = Callable[[int, int], object]

EARLY, LATE = 0, 1  # exec's processes and others; init


class Reaper:
    """Collects the children that have ended, and tells whoever asked for it."""

    def __init__(self, loop: Loop) -> None:
        self._waiting: dict[int, tuple[int, Ended]] = {}
        self._shared = 0  # calls of the library that go on in threads
        self._woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._loop = loop
        _signal.signal(
            _signal.SIGCHLD, lambda *_: None
        )  # a handler of ours, so that the wake-up byte is written
        _signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        loop.watch(self._woken, IN, self._wake)

    def on(self, pid: int, call: Ended, order: int = EARLY) -> None:
        """Call `call(status, nanoseconds)` once the process has ended: 0 to 255, or 128 + n for signal n; and when."""
        self._waiting[pid] = (order, call)

    def _wake(self, _events: int) -> None:
        os.read(self._woken, 4096)  # there is something: the loop says so
        self.collect()

    def collect(self) -> None:
        """Wait for all that have ended, without waiting for the others."""
        ended = []
        for pid, status in self._known_ends() if self._shared else self._ends():
            order, call = self._waiting.pop(pid, (EARLY, None))
            if call is not None:
                code = os.waitstatus_to_exitcode(status)
                ended.append((order, code if code >= 0 else 128 - code, time.time_ns(), call))
        ended.sort(key=lambda one: one[0])
        for _, code, moment, call in ended:
            guarded(call, code, moment)

    @staticmethod
    def _ends() -> Iterator[tuple[int, int]]:
        """All children that have ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            yield pid, status

    def _known_ends(self) -> Iterator[tuple[int, int]]:
        """Those that somebody asked for."""
        for known in list(self._waiting):
            try:
                pid, status = os.waitpid(known, os.WNOHANG)
            except ChildProcessError:
                continue  # the library has collected it; who asked for it will see
            if pid:
                yield pid, status

    def share(self) -> None:
        """A call of the library begins in a thread: its children are its own."""
        self._shared += 1

    def share_no_more(self) -> None:
        """It is over. What has ended meanwhile is collected when the caller has noted the pid of what the call has made."""
        self._shared -= 1
        self._loop.after(0, self.collect)

    def is_there(self, pid: int) -> bool:
        """False if the process is not a child any more: the library has collected it when a call failed."""
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            self._waiting.pop(pid, None)
            return False
        return True
