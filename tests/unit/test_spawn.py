# SPDX-License-Identifier: Apache-2.0
"""What does the runtime make of the messages of the processes that it has cloned, in any order?"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import socket
import time
from typing import TYPE_CHECKING

import pytest

from ociruntime.descriptors import Descriptors
from ociruntime.errors import InitLost
from ociruntime.native._shim import ffi
from ociruntime.native.encode import encode
from ociruntime.native.spawn import MESSAGE, Child, ChildFailed
from ociruntime.progress import MESSAGE_ERROR, MESSAGE_SYNC, SYNC_FORKED, SYNC_STARTED
from ociruntime.step import InitStep, Slot
from tests.harness.driver import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path


def process() -> int:
    """A child of ours that ends when nothing holds it any more; its pid."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return pid


def test_failure_overtakes_the_helpers_word() -> None:
    """The process that a helper has made may fail before the helper reports its pid: it is known anyway.

    Otherwise nothing reaps it, and its pid namespace, in which a failed hook is, never ends.
    """
    child = object.__new__(Child)
    child.socket, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    helper, made = process(), process()
    child.pid, child._forks, child._forked, child._let_go, child._owner = 0, True, False, {}, os.getpid()
    child.opened = Descriptors()
    child._spawned = ffi.new("struct shim_spawn *", {"pid": helper, "pidfd": os.pidfd_open(helper)})
    child._own_first()
    far.send(MESSAGE.pack(MESSAGE_ERROR, 1, 0, 2, 0, 0))
    far.send(MESSAGE.pack(MESSAGE_SYNC, SYNC_FORKED, 0, 0, 0, made))
    with pytest.raises(ChildFailed):
        child.receive()
    assert (child.pid, child.helper) == (made, 0)
    child.kill()
    with pytest.raises(ChildProcessError):
        os.waitpid(made, os.WNOHANG)
    child.close()
    far.close()


def test_helper_killed_before_its_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper is killed after its clone and before it has told the pid of what it made: that process is reaped, too."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:  # so that the helper's message has to wait
            far.send(MESSAGE.pack(MESSAGE_SYNC, SYNC_STARTED, 0, 0, 0, 0), socket.MSG_DONTWAIT)
            filled += 1
    monkeypatch.setattr("ociruntime.native.spawn._socket.socketpair", lambda *_: (near, far))
    child = Child(encode([(0, InitStep("fork", 0))], [], BASE), records=1, fd_base=BASE, slots=[], forks=True)
    end = time.monotonic() + 10 * PATIENCE
    while len(child.pids()) < 2:  # the kernel writes the second one
        assert time.monotonic() < end, "the pid of what the helper has made is not on the progress page"
    helper, made = child.pids()
    assert filled > 0
    assert child.pid == 0
    assert helper != made
    child.kill()
    child.close()
    for pid in (helper, made):
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def written(directory: Path, numbers: list[int]) -> list[str]:
    """What a process writes into files that this one has under these numbers, if each is told once to write into it."""
    files = [open(directory / str(index), "w+b", buffering=0) for index in range(len(numbers))]  # noqa: SIM115
    for file, number in zip(files, numbers, strict=True):
        os.dup2(file.fileno(), number)
    keys = [str(index) for index in range(len(numbers))]
    steps = [InitStep("join_cgroup", Slot(key)) for key in keys]
    buffer = encode(list(enumerate(steps)), keys, BASE)
    child = Child(buffer, records=len(steps), fd_base=BASE, slots=numbers)
    with pytest.raises(InitLost, match="exit status 1"):  # a plan that ends without a program
        child.wait_end()
    child.close()
    for file, number in zip(files, numbers, strict=True):
        os.close(number)
        file.close()
    return [(directory / key).read_text() for key in keys]


BASE = 300
FIRST = BASE + 5  # where slots go


@pytest.mark.parametrize("start", [FIRST - 20, FIRST - 3, FIRST, FIRST + 3, FIRST + 50])
@pytest.mark.parametrize("order", ["ascending", "descending", *(f"mixed {seed}" for seed in range(6))])
def test_each_slot_gets_its_descriptor(tmp_path: Path, start: int, order: str) -> None:
    """Slots in any order and at any number: none overwrites another one that is not placed yet."""
    numbers = list(range(start, start + 30))
    if order == "descending":
        numbers.reverse()
    elif order != "ascending":
        random.Random(order).shuffle(numbers)
    assert written(tmp_path, numbers) == ["0"] * 30


@pytest.mark.parametrize("start", [FIRST - 40, FIRST + 3])
def test_no_second_descriptor_for_each_slot(tmp_path: Path, start: int) -> None:
    """In the order in which they were opened they go to their places with hardly any room above."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FIRST + 103 + 12, hard))
    try:
        assert written(tmp_path, list(range(start, start + 100))) == ["0"] * 100
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
