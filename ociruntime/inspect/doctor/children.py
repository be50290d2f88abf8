# SPDX-License-Identifier: Apache-2.0
"""How is each probe run, so that it can neither harm nor stop the others? All at once, in a child each, with a time limit.

A child is the leader of a process group; when it has answered, or its time is over, all of the group is killed.
"""

from __future__ import annotations

import _signal
import json
import os
import select
import time

from ociruntime.inspect.doctor import calls
from ociruntime.inspect.doctor.answers import MISSING, Answer, Lacking

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TIME_LIMIT = 4.0  # seconds; the slowest, criu's own check, needs a quarter of a second
_LAST_WAIT = 0.5  # seconds, for processes that have been killed

_PR_SET_PDEATHSIG = 1


def ask(probes: Mapping[str, Callable[[], Answer]], limit: float = TIME_LIMIT) -> dict[str, Answer]:
    """The answer of each probe, by its name; one that says nothing within `limit` seconds is missing."""
    running: dict[int, tuple[str, int]] = {}  # pipe -> (name, pid)
    said: dict[int, bytes] = {}
    answers: dict[str, Answer] = {}
    pids = []
    try:
        for name, probe in probes.items():
            pid, pipe = _begin(probe)
            running[pipe] = (name, pid)
            pids.append(pid)
            said[pipe] = b""
        end = time.monotonic() + limit
        while running:
            left = end - time.monotonic()
            for pipe in select.select(list(running), [], [], max(left, 0))[0]:
                data = os.read(pipe, 65536)
                said[pipe] += data
                if not data:
                    name, pid = running.pop(pipe)
                    os.close(pipe)
                    answers[name] = _read(said[pipe])
            if left <= 0:
                break
        for name, _ in running.values():
            answers[name] = Answer(MISSING, cause=f"no answer within {limit:g} s", error="timeout")
    finally:
        for pipe in running:
            os.close(pipe)
        _end(pids)
    return {name: answers[name] for name in probes}


def _begin(probe: Callable[[], Answer]) -> tuple[int, int]:
    """The child's pid, and the end of the pipe from which its answer is read."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    parent = os.getpid()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        os.setpgid(0, 0)
        calls.prctl(_PR_SET_PDEATHSIG, int(_signal.SIGKILL))
        if os.getppid() == parent:
            for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP):
                _signal.signal(number, _signal.SIG_DFL)
            nothing = os.open("/dev/null", os.O_RDWR)
            for standard in (0, 1, 2):
                os.dup2(nothing, standard)
            os.write(writing, json.dumps(_answer(probe).as_dict()).encode())
    finally:
        os._exit(0)


def _answer(probe: Callable[[], Answer]) -> Answer:
    try:
        return probe()
    except Lacking as lacking:
        return lacking.answer()
    except OSError as failure:
        return Lacking(str(failure.filename or "a call"), failure.errno or 0).answer()
    except Exception as failure:  # noqa: BLE001 - a mistake in one probe must not hide the answers of the others
        return Answer(MISSING, cause=f"internal error: {type(failure).__name__}: {failure}")


def _read(data: bytes) -> Answer:
    """What a child has said; it may have been killed in the middle, by a seccomp filter for example."""
    try:
        found = json.loads(data)
    except ValueError:
        return Answer(MISSING, cause="the probe was killed before it could answer")
    state, detail = found.pop("state"), found.pop("detail")
    return Answer(state, detail, **found)


def _end(pids: list[int]) -> None:
    """Kill each group, and wait for its leader, but not for ever: a process in an uninterruptible wait stays."""
    for pid in pids:
        try:
            os.killpg(pid, _signal.SIGKILL)
        except ProcessLookupError:
            _kill(pid)
    end = time.monotonic() + _LAST_WAIT
    left = set(pids)
    while left:
        left = {pid for pid in left if not _reaped(pid)}
        if time.monotonic() > end:
            return
        if left:
            time.sleep(0.005)


def _kill(pid: int) -> None:
    """It has no group of its own: it has not begun yet, or has ended."""
    try:
        os.kill(pid, _signal.SIGKILL)
    except ProcessLookupError:
        return


def _reaped(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True
