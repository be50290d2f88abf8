# SPDX-License-Identifier: Apache-2.0
"""How do tests call `doctor`, as whom, and what must it not leave behind? Must not import anything of `ociruntime`."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from tests.harness.driver import ENVIRONMENT, TIMEOUT, command_of

# An ordinary user of whom nobody knows: neither a name nor sub-ids.
UID = 54321
AS_USER = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]


def doctor(
    *words: str, wrapper: list[str] | None = None, **env: str
) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit code of `doctor`, and its answers by name; nothing of it is left."""
    command = [*(wrapper or []), *command_of("ociruntime"), *words, "--format", "json"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**ENVIRONMENT, **env}, timeout=TIMEOUT, check=False
    )
    assert done.stdout, done.stderr
    assert not done.stderr
    document = json.loads(done.stdout)
    assert document["works"] is (done.returncode == 0)
    assert not left()
    return done.returncode, {one["name"]: one for one in document["probes"]}


def left() -> list[str]:
    """Cgroups of a doctor; others may be making and removing theirs."""
    walk = os.walk("/sys/fs/cgroup")
    return [
        f"{place}/{name}"
        for place, names, _ in walk
        for name in names
        if name.startswith("ociruntime-doctor-")
    ]
