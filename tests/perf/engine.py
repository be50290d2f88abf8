# SPDX-License-Identifier: Apache-2.0
"""How long does `ctr run --rm` take, with each runtime by its path, in a containerd that is started for it?

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engines.containerd import Containerd
from tests.engines.image import NAME, write_archive
from tests.harness import leaks
from tests.harness.driver import MARK
from tests.perf.stopwatch import lap

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.perf.contender import Contender
    from tests.perf.results import Results
    from tests.perf.sections import Size

CTR = "ctr run --rm"


def measure(results: Results, contenders: Sequence[Contender], size: Size) -> None:
    """As often as a third of the rounds, in turns, after one that does not count."""
    # Short: the address of a socket has 108 bytes.
    with tempfile.TemporaryDirectory(prefix="oci-") as scratch:
        directory = Path(scratch)
        engine = Containerd(directory)
        laps: dict[str, list[float]] = {one.name: [] for one in contenders}
        try:
            engine.start()
            engine.load(write_archive(directory / "image.tar"))
            for number in range(max(2, size.rounds // 3) + 1):
                for contender in contenders:
                    container_id = contender.new_id()
                    how = (
                        "--runc-binary",
                        contender.runtime.command[0],
                        "--cgroup",
                        f"/{MARK}/{container_id}",
                    )
                    words = [*engine.client, "run", "--rm", *how, NAME, container_id, "true"]
                    milliseconds = lap(words, str(contender.directory / "diagnostics")).seconds * 1000
                    if number > 0:
                        laps[contender.name].append(milliseconds)
        finally:
            engine.stop()
            remove_parents()
    for name, values in laps.items():
        results.row(CTR).add(name, values)


def remove_parents() -> None:
    """The cgroups above the containers', and the runtimes' --root, which are left to the engine."""
    for place in (*glob.glob(f"{leaks.CGROUP_ROOT}/*/{MARK}"), *glob.glob(f"{leaks.CGROUP_ROOT}/{MARK}")):
        os.rmdir(place)
    shutil.rmtree(f"/run/containerd/runc/{MARK}", ignore_errors=True)
