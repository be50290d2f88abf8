# SPDX-License-Identifier: Apache-2.0
"""How do tests call a snapshot and the launcher, and compare them?"""

from __future__ import annotations

import os
import subprocess
import sysconfig
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

LAUNCHER = os.path.join(sysconfig.get_path("scripts"), "ociruntime")
Answer = tuple[int, bytes, bytes]


def call(
    command: str, *words: str | bytes, env: dict[str, str] | None = None, cwd: Path | None = None, **more: Any
) -> Answer:
    """Exit code, output and errors."""
    done = subprocess.run(
        [command, *words],
        env=env,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        **more,
    )
    # The one word in which the two differ; test_features_say_which_form_runs looks at it.
    out = done.stdout.replace(b'"run.ociruntime.form": "snapshot"', b'"run.ociruntime.form": "interpreter"')
    return done.returncode, out, done.stderr


def same(both: tuple[str, str], *words: str | bytes, **more: Any) -> Answer:
    """The answer of both, which must be the same."""
    first, second = (call(command, *words, **more) for command in both)
    assert first == second
    return second
