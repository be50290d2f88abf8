# SPDX-License-Identifier: Apache-2.0
"""What does a session of tests do to its own process, and how do its workers report what they have seen?

Each process has a mount namespace of its own; the directory of the tests' files is memory, seen by no one else.
Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import tempfile
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.harness import leaks

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

_CLONE_NEWNS = 0x00020000
_MS_REC_PRIVATE = 0x4000 | 0x40000
# Not tried with more: some tests expect things to happen within seconds.
MOST_WORKERS = 4
_ENGINES = "tests/engines/"
_WHOLE = (_ENGINES, "tests/systemd/")


def is_worker(config: pytest.Config) -> bool:
    """Whether this process runs tests for another one, which prints the outcome (pytest-xdist, -n)."""
    return hasattr(config, "workerinput")


def number_of_workers() -> int:
    """One for each CPU; none (the session runs the tests itself) where a second one would not help, or is not allowed."""
    cpus = len(os.sched_getaffinity(0))
    return 0 if cpus == 1 or leaks.ALONE else min(cpus, MOST_WORKERS)


def scope_of(node_id: str) -> str:
    """What one worker has as a whole: a file, whose tests share fixtures and what they have seen; all tests of engines, or
    of systemd.
    """
    path = node_id.partition("::")[0]
    return next((folder for folder in _WHOLE if path.startswith(folder)), path)


def longest_first(items: list[pytest.Item]) -> None:
    """Begin with what takes longest, so that no worker is left with it at the end; files stay whole, and in order."""
    slow = {scope_of(item.nodeid) for item in items if item.get_closest_marker("slow")}
    scopes = Counter(scope_of(item.nodeid) for item in items)

    def place(item: pytest.Item) -> tuple[bool, bool, int, str]:
        scope = scope_of(item.nodeid)
        return scope != _ENGINES, scope not in slow, -scopes[scope], scope

    items.sort(key=place)


def own_mount_namespace() -> None:
    """Leave the machine's mount namespace: a runtime that is broken on purpose must not mount over its /dev.

    unshare(CLONE_NEWNS) and mount(MS_REC | MS_PRIVATE) of "/"; os.unshare came with Python 3.12. It holds for this thread,
    which runs the tests, and what it starts.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) or libc.mount(None, b"/", None, _MS_REC_PRIVATE, None):
        raise OSError(ctypes.get_errno(), "no mount namespace of its own for the tests")


def default_signals() -> None:
    """The runtime would rightly ignore what a background job or nohup made us ignore (nohup stays nohup)."""
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


@contextmanager
def files_in_memory(option: Any) -> Iterator[None]:
    """Where pytest makes the tests' directories, a tmpfs is mounted: a bundle has 289 files.

    In this mount namespace, and those of the workers, which begin as copies of it. With --basetemp the directories are there
    instead, and those of failed tests are kept.
    """
    if option.basetemp is not None:
        yield
        return
    # Short: podman takes no more than 50 characters, and the address of a socket has 108.
    place = tempfile.mkdtemp(prefix="oci-")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700", "tests", place], check=True)
    option.basetemp = Path(place, "t")
    yield
    # Lazily: a process that a failed test has left may be in it. The namespace and its memory end with the last of them.
    subprocess.run(["umount", "-l", place], check=True)
    os.rmdir(place)
