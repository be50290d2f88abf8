# SPDX-License-Identifier: Apache-2.0
"""A mount namespace in which all verbs of a stage run, as on a host that can be done without."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.stage import Stage


@contextmanager
def own_mounts(stage: Stage, propagation: str) -> Iterator[list[str]]:
    """Make it; a command prefix that enters it. `propagation` is that of its mounts, as unshare(1) calls it."""
    words = ["unshare", "-m", "--propagation", propagation, "sh", "-c", "echo ready; exec sleep 1000"]
    sleeper = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert sleeper.stdout is not None
    try:
        assert sleeper.stdout.readline() == b"ready\n"
        prefix = ["nsenter", "-t", str(sleeper.pid), "-m", "--"]
        stage.runtime.command = [*prefix, *stage.runtime.command]
        yield prefix
        stage.close()
    finally:
        sleeper.kill()
        sleeper.wait()
        sleeper.stdout.close()
