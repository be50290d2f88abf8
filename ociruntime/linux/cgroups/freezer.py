# SPDX-License-Identifier: Apache-2.0
"""How is the container's cgroup frozen and thawed? (identity.py tells whether it is.)

Must import nothing else of this package, and identity.py.
"""

from __future__ import annotations

import os
import time

from ociruntime.descriptors import Descriptors
from ociruntime.identity import frozen

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
        # v1 may stay at FREEZING if a process has forked meanwhile: writing again continues.
        _write(file, value)
        if expected in _read(check):
            return True
        if time.monotonic() > deadline:
            if wanted:
                _write(file, b"THAWED" if "freezer" in paths else b"0")
            raise TimeoutError(f"{check} does not become {expected.decode()}")
        time.sleep(pause)
        pause = min(pause * 2, 0.02)


class frozen_for:  # noqa: N801 - used like a function
    """`with frozen_for(paths):` they stand still; a cgroup that was frozen before stays so. Raises OSError."""

    def __init__(self, paths: dict[str, str]) -> None:
        self._paths = paths
        self._frozen = False

    def __enter__(self) -> None:
        if self._paths and not frozen(self._paths):
            self._frozen = set_frozen(self._paths, True)

    def __exit__(self, *details: object) -> None:
        if self._frozen:
            set_frozen(self._paths, False)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4096)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    except OSError as failure:
        if failure.errno == 19:  # ENODEV: removed since the open
            return b""
        raise


def _write(path: str, value: bytes) -> None:
    with Descriptors() as opened:
        opened["file"] = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        os.write(opened["file"], value)
