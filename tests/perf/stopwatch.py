# SPDX-License-Identifier: Apache-2.0
"""How long does one process take, and how many are there in a second?

Only the minimum tells what a program costs: everything else that happens on a machine makes times longer. The
median says what to expect. Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import select
import time
from typing import TYPE_CHECKING, NamedTuple

from tests.harness.driver import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Sequence


class Lap(NamedTuple):
    """One process: when it was started (CLOCK_MONOTONIC, s), how long it took, and its processor time.

    The processor time is that of the process and of those that it has waited for. So are the page faults that needed no
    reading: pages that were mapped, made, or copied because they were written.
    """

    begun: float
    seconds: float
    cpu: float
    faults: int = 0


class CommandFailedError(Exception):
    """A command that is measured did not succeed: its time says nothing."""


def lap(argv: Sequence[str], diagnostics: str = os.devnull) -> Lap:
    """Run a command with its output thrown away, and time it from before the spawn until it is reaped.

    diagnostics   file for its stderr
    Raises CommandFailedError unless it ends with 0.
    """
    begun = time.monotonic()
    pid = spawn(argv, diagnostics)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - begun
    if status != 0:
        said = ""
        if diagnostics != os.devnull:
            with open(diagnostics, encoding="utf-8", errors="replace") as file:
                said = f": {file.read().strip()}"
        raise CommandFailedError(f"{' '.join(argv)}: wait status {status}{said}")
    return Lap(begun, seconds, usage.ru_utime + usage.ru_stime, usage.ru_minflt)


def spawn(argv: Sequence[str], diagnostics: str = os.devnull, output: int = -1) -> int:
    """Start a command without input; returns its process id.

    diagnostics   file for its stderr
    output        descriptor that becomes its stdout; -1: thrown away
    """
    out = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        out if output < 0 else (os.POSIX_SPAWN_DUP2, output, 1),
        (os.POSIX_SPAWN_OPEN, 2, diagnostics, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
    ]
    return os.posix_spawn(argv[0], list(argv), ENVIRONMENT, file_actions=actions)


def rate(commands: Sequence[Sequence[str]], width: int) -> float:
    """Run all these commands, so many at a time; returns how many ended in a second.

    Raises CommandFailedError unless all of them end with 0.
    """
    waiting = list(reversed(commands))
    running: dict[int, tuple[int, Sequence[str]]] = {}
    poll = select.poll()
    failed = ""
    begun = time.monotonic()
    while waiting or running:
        while waiting and len(running) < width:
            argv = waiting.pop()
            pid = spawn(argv)
            pidfd = os.pidfd_open(pid)
            running[pidfd] = (pid, argv)
            poll.register(pidfd, select.POLLIN)
        for pidfd, _ in poll.poll():
            pid, argv = running.pop(pidfd)
            poll.unregister(pidfd)
            os.close(pidfd)
            _, status = os.waitpid(pid, 0)
            if status != 0:  # the others are waited for
                failed = f"{' '.join(argv)}: wait status {status}"
    if failed:
        raise CommandFailedError(failed)
    return len(commands) / (time.monotonic() - begun)
