# SPDX-License-Identifier: Apache-2.0
"""Which modules do the calls of the shim's command load? `start` and `delete` are on the path of every task."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest

from tests.unit.test_imports import DEAR, LEAN, REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

DRIVER = """
import sys
empty = set(sys.modules)
sys.path += {path!r}
from ociruntime.shim.command import main
code = main({words!r})
sys.stderr.write("\\n%d %s\\n" % (code, " ".join(sorted(set(sys.modules) - empty))))
"""
FRONT = {
    "ociruntime",
    "ociruntime.errors",
    "ociruntime.shim",
    "ociruntime.shim.calling",
    "ociruntime.shim.command",
}
OPTIONS = {"ociruntime.shim.messages", "ociruntime.shim.runtime_options", "ociruntime.shim.tables"}
# name of the action -> what it loads of ours, besides FRONT
OURS = {
    "-v": {"ociruntime.native", "ociruntime.native.full_python"},
    "delete": {*OPTIONS, "ociruntime.shim.leftover"},
    "start": {
        *OPTIONS,
        "ociruntime.shim.start",
        "ociruntime.shim.bootstrap",
        "ociruntime.shim.address",
        "ociruntime.config",
    },
}
# CPython's own SHA-256 for the socket's name.
DIGEST = {"_sha256", "_sha2"}


@pytest.mark.parametrize("action", OURS)
def test_an_action_loads_no_more_than_its_list(action: str, tmp_path: Path) -> None:
    """On the usual path: nothing is left to delete; start stops where it would read the bundle."""
    words = ["-namespace", "n", "-id", "i", "-bundle", str(tmp_path), action]
    program = DRIVER.format(path=[REPOSITORY, sysconfig.get_paths()["platlib"]], words=words)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-X", "utf8", "-c", program],
        stdin=subprocess.DEVNULL, capture_output=True, cwd=tmp_path, check=False,
    )  # fmt: skip
    code, _, names = done.stderr.decode().splitlines()[-1].partition(" ")
    loaded = set(names.split())
    assert int(code) == (action == "start")
    assert not loaded & DEAR
    assert {name for name in loaded if not name.startswith("ociruntime")} <= LEAN | DIGEST
    assert {name for name in loaded if name.startswith("ociruntime")} == FRONT | OURS[action]
