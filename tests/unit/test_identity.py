# SPDX-License-Identifier: Apache-2.0
"""ociruntime/identity.py: is it that process, does it live, and which of its threads does?"""

from __future__ import annotations

import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from ociruntime import identity
from tests.harness.skips import has_pidfds_of_threads

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def thread() -> Iterator[tuple[threading.Thread, threading.Event]]:
    """A second thread of this process, which ends at the event."""
    end = threading.Event()
    made = threading.Thread(target=end.wait, daemon=True)
    made.start()
    yield made, end
    end.set()
    made.join()


pytestmark = pytest.mark.skipif(not has_pidfds_of_threads(), reason="a thread can be entered since Linux 6.9")


def test_a_thread_of_a_process(thread: tuple[threading.Thread, threading.Event]) -> None:
    """A living thread is the process's; one that has ended is not, whatever has its number now."""
    made, end = thread
    number = made.native_id
    assert number is not None
    pidfd = identity.open_thread(number)
    try:
        assert identity.is_thread(pidfd, os.getpid(), number)
        end.set()
        made.join()
        while os.path.exists(f"/proc/self/task/{number}"):
            continue  # joined a moment before the kernel has it ended
        assert not identity.is_thread(pidfd, os.getpid(), number)
    finally:
        os.close(pidfd)


def test_a_number_that_is_another_process() -> None:
    """Between look and open a thread has ended, and a process of the host has its number."""
    with subprocess.Popen(["sleep", "1000"]) as other:
        pidfd = identity.open_thread(other.pid)
        try:
            assert identity.is_thread(pidfd, other.pid, other.pid)
            assert not identity.is_thread(pidfd, os.getpid(), other.pid)
        finally:
            os.close(pidfd)
            other.kill()


def test_a_pidfd_of_one_that_had_the_number_before(thread: tuple[threading.Thread, threading.Event]) -> None:
    """The process has a thread of the number, but what was opened has ended: it was another one."""
    with subprocess.Popen(["true"]) as before:
        pidfd = identity.open_thread(before.pid)
        before.wait()
    number = thread[0].native_id
    assert number is not None
    try:
        assert not identity.is_thread(pidfd, os.getpid(), number)
    finally:
        os.close(pidfd)
