# SPDX-License-Identifier: Apache-2.0
"""A caller of the library has a signal handler that raises an exception: is anything left, at whatever line it comes?"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import add_hook
from tests.harness.driver import ENVIRONMENT, PATIENCE, runtime_under_test
from tests.harness.peers import PEERS
from tests.harness.stage import new_id

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage

pytestmark = [
    pytest.mark.skipif(runtime_under_test() in PEERS, reason="the library is this runtime's own"),
    pytest.mark.slow,
]
SHORT = ("start", "kill", "update", "delete")
PROGRAM = Path(__file__).with_name("interrupted.py")


def left(stage: Stage, operation: str, edit: Any = None, program: str = "sleep 1000") -> dict[str, list[str]]:
    """What is left after an interruption, by the line that it came before.

    Of a long operation one line in a few is tried, and another one each day; OCIRUNTIME_TEST_LINES=all tries them all.
    """
    bundle = stage.bundle(*program.split(), edit=edit)
    command = [
        sys.executable,
        str(PROGRAM),
        operation,
        str(stage.runtime.root),
        str(bundle.directory),
        new_id(),
    ]
    step = 1 if os.environ.get("OCIRUNTIME_TEST_LINES") == "all" or operation in SHORT else 5
    command.append(f"{int(time.time() / 86400) % step}/{step}")
    done = subprocess.run(
        command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        timeout=300 * PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["lines"] > 20
    answer: dict[str, list[str]] = found["left"]
    return answer


@pytest.mark.parametrize("operation", ["create", "start", "exec", "update", "kill", "delete"])
def test_nothing_is_left(stage: Stage, operation: str) -> None:
    """No descriptor, no unreaped child, no lock that is held, whichever line the exception comes before."""
    assert left(stage, operation) == {}


def test_run(stage: Stage) -> None:
    """`run` takes the container away as well."""
    assert left(stage, "run", program="true") == {}


def test_run_in_a_container(stage: Stage) -> None:
    """Container.run ends its program; the container is the caller's, and goes on."""
    assert left(stage, "run in") == {}


def test_create_with_hooks(stage: Stage) -> None:
    """The same while hooks run: on the host, and in the container."""

    def edit(config: Config) -> None:
        for kind in ("createRuntime", "createContainer"):
            add_hook(config, kind, "/bin/true")

    assert left(stage, "create", edit) == {}


def test_create_with_a_terminal(stage: Stage) -> None:
    """The same with a terminal, whose master the caller takes."""

    def edit(config: Config) -> None:
        config["process"]["terminal"] = True

    assert left(stage, "create", edit) == {}
