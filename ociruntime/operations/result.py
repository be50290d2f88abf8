# SPDX-License-Identifier: Apache-2.0
"""How did a program end, and what has it used?"""

from __future__ import annotations

import os
from _signal import SIGSYS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.linux.cgroups.usage import Usage


class Result:
    """What `run` and `Container.run` return.

    exit_code   the program's exit code; None if a signal ended it
    signal      the number of that signal; 0 if it exited. So exit code 137 and SIGKILL differ
    timed_out   it was still running after `timeout` seconds, and was killed
    oom_killed  the kernel killed at least one of its processes because of the memory limit
    wall_time   seconds from the start of the program to its end
    usage       what it and the processes that it made have used
    stdout, stderr   what was captured, bytes; empty if it was not captured
    stdout_lost, stderr_lost   bytes beyond `output_limit`, which are not in them
    warnings    what the config asked for and did not get; what went wrong at the removal
    """

    __slots__ = (
        "exit_code",
        "oom_killed",
        "signal",
        "stderr",
        "stderr_lost",
        "stdout",
        "stdout_lost",
        "timed_out",
        "usage",
        "wall_time",
        "warnings",
    )

    def __init__(self, exit_code: int | None, signal: int, wall_time: float, usage: Usage) -> None:
        self.exit_code = exit_code
        self.signal = signal
        self.wall_time = wall_time
        self.usage = usage
        self.oom_killed = usage.oom_kills > 0
        self.timed_out = False
        self.stdout = self.stderr = b""
        self.stdout_lost = self.stderr_lost = 0
        self.warnings: list[str] = []

    @property
    def status(self) -> int:
        """As a shell shows it, and as the command exits: the exit code, or 128 + n if signal n ended it."""
        return 128 + self.signal if self.exit_code is None else self.exit_code

    @property
    def killed_by_seccomp(self) -> bool:
        """True if SIGSYS ended it, which is how a filter kills (SCMP_ACT_KILL_*, seccomp(2))."""
        return self.signal == int(SIGSYS)

    @property
    def ok(self) -> bool:
        """True if it exited with 0, in time."""
        return self.exit_code == 0 and not self.timed_out

    def as_dict(self) -> dict[str, object]:
        """The same as plain values, without the output, as `--report` writes it."""
        usage = {name: getattr(self.usage, name) for name in self.usage.__slots__}
        return {
            "exitCode": self.exit_code,
            "signal": self.signal,
            "timedOut": self.timed_out,
            "oomKilled": self.oom_killed,
            "killedBySeccomp": self.killed_by_seccomp,
            "wallTime": round(self.wall_time, 6),
            "cpuTime": usage["cpu_time"],
            "memoryPeak": usage["memory_peak"],
            "memoryLimit": usage["memory_limit"],
            "pidsPeak": usage["pids_peak"],
            "readBytes": usage["read_bytes"],
            "writtenBytes": usage["written_bytes"],
            "oomKills": usage["oom_kills"],
        }

    def __repr__(self) -> str:
        how = f"exit_code={self.exit_code}" if self.exit_code is not None else f"signal={self.signal}"
        more = [name for name in ("timed_out", "oom_killed", "killed_by_seccomp") if getattr(self, name)]
        return f"Result({', '.join([how, *more, f'wall_time={self.wall_time:.3f}'])})"


def ending(pidfd: int) -> tuple[int | None, int]:
    """(exit code, signal) of a child that has ended, which is reaped. Raises ChildProcessError if it is not one."""
    done = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    if done is None:
        raise ChildProcessError("the process has not ended")
    return (done.si_status, 0) if done.si_code == os.CLD_EXITED else (None, done.si_status)
