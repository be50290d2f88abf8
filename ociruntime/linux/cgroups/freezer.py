# SPDX-License-Identifier: Apache-2.0
"""How is the container's cgroup frozen and thawed? (Whether it is: frozen.py.)

Must import nothing of this package.
"""

from __future__ import annotations

import os
import time

_LIMIT = 10.0  # seconds until all processes must have stopped


def set_frozen(paths: dict[str, str], wanted: bool, patience: float = _LIMIT) -> bool:
    """Freeze or thaw, and wait until it has happened; False if the machine has no freezer for it.

    patience   seconds until it must have happened
    Raises OSError: FileNotFoundError if the cgroup is gone, TimeoutError after that (then it is thawed again, if it was
    to be frozen).
    """
    if "freezer" in paths:
        file, value = f"{paths['freezer']}/freezer.state", b"FROZEN" if wanted else b"THAWED"
        check, expected = file, value
    elif "" in paths:
        file, value = f"{paths['']}/cgroup.freeze", b"1" if wanted else b"0"
        check, expected = f"{paths['']}/cgroup.events", b"frozen " + value
    else:
        return False
    deadline = time.monotonic() + patience
    pause = 0.0005
    while True:
        # v1 may stay at FREEZING when a process forked meanwhile: writing again goes on.
        _write(file, value)
        if expected in _read(check):
            return True
        if time.monotonic() > deadline:
            if wanted:
                _write(file, b"THAWED" if "freezer" in paths else b"0")
            raise TimeoutError(f"{check} does not become {expected.decode()}")
        time.sleep(pause)
        pause = min(pause * 2, 0.02)


def _read(path: str) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    try:
        return os.read(descriptor, 4096)
    except OSError as failure:
        if failure.errno == 19:  # ENODEV: removed since the open
            return b""
        raise
    finally:
        os.close(descriptor)


def _write(path: str, value: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, value)
    finally:
        os.close(descriptor)
