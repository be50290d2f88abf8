# SPDX-License-Identifier: Apache-2.0
"""Which form of our command do tests call? A snapshot of this tree, built when a session needs it for the first time.

RUNTIME=launcher chooses the ordinary launcher for the whole session; it is also what is called where no snapshot can be built
(then one test is skipped, and says so), and outside of a session of tests. Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness import skips

if TYPE_CHECKING:
    from collections.abc import Iterator

SHIM = "containerd-shim-ociruntime-v1"
REPOSITORY = Path(__file__).parents[2]
# The launcher of the environment that runs the tests.
LAUNCHER = os.path.join(os.path.dirname(sys.executable), "ociruntime")
# Where the session keeps its snapshot; its workers inherit the variable.
PLACE = "OCIRUNTIME_TEST_COMMAND"


@contextmanager
def place_for_snapshot() -> Iterator[None]:
    """A directory that every user may search, as that of an installed command; removed at the end of the session."""
    if PLACE in os.environ:  # a measurement as a part of a session
        yield
        return
    directory = tempfile.mkdtemp(prefix="oci-command-", dir="/var/tmp")
    os.chmod(directory, 0o755)
    os.environ[PLACE] = directory
    try:
        yield
    finally:
        del os.environ[PLACE]
        shutil.rmtree(directory)


def why_launcher() -> str:
    """Why the tests call the ordinary launcher; "" if they call a snapshot."""
    if os.environ.get("RUNTIME") == "launcher":
        return "RUNTIME=launcher"
    if PLACE not in os.environ:
        return "this is no session of tests"
    if not skips.HOST_KINDS["no static libpython"]():
        return ""
    return (
        "the Python that runs the tests has no static library, or is not one that a snapshot can be built of"
    )


def our_command() -> str:
    """The path of the command."""
    return LAUNCHER if why_launcher() else snapshot()


def our_shim() -> str:
    """The path of containerd's shim, in the form of the command."""
    return os.path.join(os.path.dirname(our_command()), SHIM)


def snapshot() -> str:
    """The snapshot's path; the first process of the session that asks builds it."""
    path = os.path.join(os.environ[PLACE], "ociruntime")
    with open(f"{path}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path):
            shim = os.path.join(os.environ[PLACE], SHIM)
            words = [
                sys.executable,
                "-m",
                "ociruntime.cli.snapshot",
                "--launcher",
                LAUNCHER,
                "--shim",
                shim,
                path,
            ]
            done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{done.stderr} (RUNTIME=launcher runs the tests without a snapshot)"
    return path
