# SPDX-License-Identifier: Apache-2.0
"""Programs of the tests that are written in C: how they are made, and the one whose first thread ends."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.harness.driver import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.configuration import Config
    from tests.harness.driver import Container
    from tests.harness.stage import Stage

FIRST_THREAD = Path(__file__).with_name("first_thread.c")


def compiled(source: Path, program: Path, *flags: str) -> Path:
    """The program, static, so that it runs in any root."""
    strict = ("-O2", "-Wall", "-Wextra", "-Werror", "-static")
    subprocess.run(["gcc", *strict, *flags, str(source), "-o", str(program)], check=True)
    return program


def without_first_thread(
    stage: Stage, program: Path, *flags: str, edit: Callable[[Config], None] | None = None
) -> tuple[Container, int]:
    """A container of which only the second thread is left, so that it looks like a zombie; and its process id.

    program   first_thread.c, compiled
    flags     of create
    """
    bundle = stage.bundle("/bin/first_thread", edit=edit)
    shutil.copy(program, bundle.rootfs / "bin/first_thread")
    container = stage.container(bundle=bundle)
    container.create(options=flags).ok()
    pid: int = container.state()["pid"]
    container.start().ok()
    container.wait_for_output("one left\n")
    end = time.monotonic() + 10 * PATIENCE
    while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z":
        assert time.monotonic() < end, "the first thread has not ended"
        time.sleep(0.01)
    return container, pid
