# SPDX-License-Identifier: Apache-2.0
"""How long do containerd's clients wait, and how much memory does a shim hold? python3 -m tests.perf.shim [ROUNDS]

`ctr run --rm` and `ctr task exec` of /bin/true, interleaved, with our shim, and with containerd's own one that calls runc and
crun; then the PSS of each shim with one container. As root; nothing else should run meanwhile.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.engines.containerd import Containerd, ShimContainerd
from tests.engines.engine import wait_for
from tests.engines.image import NAME, write_archive
from tests.harness.driver import MARK

CONTENDERS = {
    "our shim": ["--runtime", ShimContainerd.runtime],
    "runc's shim, runc": ["--runc-binary", "runc"],
    "runc's shim, crun": ["--runc-binary", "crun"],
}
_TRUE = "/bin/true"


def measure(engine: Containerd, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of each call, by contender and what is called."""
    times: dict[str, dict[str, list[float]]] = {name: {"run": [], "exec": []} for name in CONTENDERS}
    for number in range(rounds):
        for index, (name, flags) in enumerate(CONTENDERS.items()):
            container = f"{MARK}-{index}-{number}"
            cgroup = ["--cgroup", f"/{MARK}/{container}"]
            times[name]["run"].append(timed(engine, "run", "--rm", *flags, *cgroup, NAME, container, _TRUE))
            times[name]["exec"].append(
                timed(engine, "task", "exec", "--exec-id", f"e{number}", f"{MARK}-{index}", _TRUE)
            )
    return times


def timed(engine: Containerd, *words: str) -> float:
    """Milliseconds of one call of ctr, which must succeed."""
    began = time.monotonic()
    subprocess.run([*engine.client, *words], env=engine.environment, check=True)
    return (time.monotonic() - began) * 1000


def memory(pid: int) -> int:
    """PSS of the parent of a container's init, in KiB."""
    parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
    lines = Path(f"/proc/{parent}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def main(rounds: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="shim-perf-", dir="/tmp") as directory:
        engine = ShimContainerd(Path(directory) / "c")
        engine.start()
        engine.load(write_archive(Path(directory) / "image.tar"))
        for index, flags in enumerate(CONTENDERS.values()):
            container = f"{MARK}-{index}"
            words = [
                "run",
                "-d",
                *flags,
                "--cgroup",
                f"/{MARK}/{container}",
                NAME,
                container,
                "sleep",
                "1000",
            ]
            engine.call(*words).ok()
        times = measure(engine, rounds)
        rows = {
            line.split()[0]: int(line.split()[1]) for line in engine.call("task", "ls").out.splitlines()[1:]
        }
        print(f"{rounds} rounds, load {os.getloadavg()[0]:.1f}; milliseconds: minimum, median")
        for index, name in enumerate(CONTENDERS):
            shown = [
                f"{what} {min(found):6.1f} {statistics.median(found):6.1f}"
                for what, found in times[name].items()
            ]
            print(f"{name:18} {'   '.join(shown)}   PSS {memory(rows[f'{MARK}-{index}'])} KiB")
        for index in range(len(CONTENDERS)):
            engine.call("task", "kill", "-s", "KILL", f"{MARK}-{index}").ok()
        wait_for(lambda: "RUNNING" not in engine.call("task", "ls").out)
        for index in range(len(CONTENDERS)):
            engine.call("task", "delete", f"{MARK}-{index}")
            engine.call("container", "delete", f"{MARK}-{index}").ok()
        engine.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)
