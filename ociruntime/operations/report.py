# SPDX-License-Identifier: Apache-2.0
"""What does `--report FILE` of run and exec write? The result of the program as JSON; docs/command-line.md names the flag.

{"exitCode": null, "signal": 9, "timedOut": false, "oomKilled": true, ...}        Result.as_dict
"""

from __future__ import annotations

import os
import time

from ociruntime.descriptors import Descriptors
from ociruntime.errors import RuntimeFailure, UsageError
from ociruntime.jsontext import indented
from ociruntime.linux.cgroups.usage import Usage, usage_of
from ociruntime.operations.result import Result


class Report:
    """A file that is opened before anything is made, so that a wrong path is told in time, and written at the end."""

    def __init__(self, path: str) -> None:
        """Raises UsageError if it can't be opened."""
        self.path = path
        self._opened = Descriptors()
        try:
            self._opened["file"] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as failure:
            raise UsageError(f"flag --report: {path}", errno=failure.errno or 0) from None
        self._began = time.monotonic()  # its making counts: a few milliseconds

    def finish(self, pid: int, cgroups: dict[str, str]) -> int:
        """Wait for the program, which is a child of this process, and write the report.

        cgroups   those that are its alone, per v1 controller, "" for v2; none: only what wait4(2) says is known
        Returns its exit code, or 128 + n if signal n ended it. Raises RuntimeFailure if the file can't be written.
        """
        _, status, spent = os.wait4(pid, 0)
        wall = time.monotonic() - self._began
        if cgroups:
            usage = usage_of(cgroups)
        else:
            usage = Usage()
            usage.cpu_time = spent.ru_utime + spent.ru_stime
            usage.memory_peak = spent.ru_maxrss * 1024
        code = os.waitstatus_to_exitcode(status)
        result = Result(code if code >= 0 else None, max(-code, 0), wall, usage)
        try:
            os.write(self._opened["file"], (indented(result.as_dict()) + "\n").encode())
        except OSError as failure:
            raise RuntimeFailure(self.path, step="write report", errno=failure.errno or 0) from None
        return result.status
