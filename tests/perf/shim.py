# SPDX-License-Identifier: Apache-2.0
"""How long do containerd's clients wait, what takes how long, and how much memory has a shim?

    sudo .venv/bin/python3 -m tests.perf.shim [--rounds 30] [--write]

As a snapshot and as the launcher, beside containerd's own shim with runc and crun, and beside a shim that does nothing
(nothing.c): what is left with that is containerd's own part. All take turns. --write puts the tables into
docs/evidence/performance.md. Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.engines.containerd import Containerd
from tests.engines.engine import wait_for
from tests.engines.image import NAME, write_archive
from tests.harness.command import LAUNCHER, SHIM, our_shim, place_for_snapshot
from tests.harness.driver import MARK
from tests.harness.programs import compiled
from tests.harness.session import default_signals, own_mount_namespace
from tests.perf import results
from tests.perf.engine import remove_parents
from tests.perf.report import PAGE, markdown
from tests.perf.shim_pod import Pod
from tests.perf.stopwatch import lap

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REPOSITORY = Path(__file__).parents[2]
BEGIN = "<!-- measured: begin (python3 -m tests.perf.shim --write) -->"
END = "<!-- measured: end of the shim -->"
# With how many containers in its pod a shim's memory is looked at.
CROWDS = (1, 4, 20)
PODS = 4
Times = dict[str, dict[str, list[float]]]  # what -> contender -> milliseconds


class Contender(NamedTuple):
    """A shim: how it is shown, containerd's name of it, its program, and the runtime that it calls ("": none)."""

    name: str
    runtime: str
    program: str
    binary: str = ""

    def flags(self) -> list[str]:
        """Of `ctr run`."""
        return ["--runc-binary", self.binary] if self.binary else ["--runtime", self.runtime]


def everybody(directory: Path) -> list[Contender]:
    """Those that this machine has; the directory is to be the first of containerd's PATH."""
    directory.mkdir()
    launcher = os.path.join(os.path.dirname(LAUNCHER), SHIM)
    (directory / SHIM).symlink_to(our_shim())
    (directory / "containerd-shim-ociruntimelauncher-v1").symlink_to(launcher)
    nothing = compiled(Path(__file__).with_name("nothing.c"), directory / "containerd-shim-nothing-v1")
    found = [
        Contender("snapshot", "io.containerd.ociruntime.v1", our_shim()),
        Contender("launcher", "io.containerd.ociruntimelauncher.v1", launcher),
    ]
    theirs = shutil.which("containerd-shim-runc-v2")
    for binary in ("runc", "crun"):
        path = shutil.which(binary)
        if theirs and path:
            found.append(Contender(binary, "io.containerd.runc.v2", theirs, path))
    return [*found, Contender("nothing", "io.containerd.nothing.v1", str(nothing))]


class ManyShims(Containerd):
    """A containerd that finds all of them."""

    def __init__(self, directory: Path, shims: Path) -> None:
        super().__init__(directory)
        self.environment["PATH"] = f"{shims}:{self.environment['PATH']}"


# ---- by ctr


def measure_ctr(directory: Path, contenders: Sequence[Contender], rounds: int) -> Times:
    """`ctr run --rm` and `ctr task exec` of /bin/true, after one round that does not count."""
    engine = ManyShims(directory / "c", directory / "shims")
    times: Times = defaultdict(lambda: defaultdict(list))
    engine.start()
    try:
        engine.load(write_archive(directory / "image.tar"))
        for one in contenders:  # a container for exec
            name = f"{MARK}-{one.name}-on"
            engine.call("run", "-d", *one.flags(), *_place(name), NAME, name, "sleep", "10000").ok()
        for number in range(rounds + 1):
            for one in contenders:
                name, living = f"{MARK}-{one.name}-{number}", f"{MARK}-{one.name}-on"
                for what, words in (
                    ("ctr run --rm", ["run", "--rm", *one.flags(), *_place(name), NAME, name, "true"]),
                    ("ctr task exec", ["task", "exec", "--exec-id", f"e{number}", living, "true"]),
                ):
                    seconds = lap([*engine.client, *words], str(directory / "diagnostics")).seconds
                    if number:
                        times[what][one.name].append(seconds * 1000)
    finally:
        _end_all(engine, contenders)
    return times


def _place(name: str) -> list[str]:
    return ["--cgroup", f"/{MARK}/{name}"]


def _end_all(engine: Containerd, contenders: Sequence[Contender]) -> None:
    for one in contenders:
        engine.call("task", "kill", "-s", "KILL", f"{MARK}-{one.name}-on")
    wait_for(lambda: "RUNNING" not in engine.call("task", "ls").out)
    for one in contenders:
        engine.call("task", "delete", f"{MARK}-{one.name}-on")
        engine.call("container", "delete", f"{MARK}-{one.name}-on")
    engine.stop()
    remove_parents()
    shutil.rmtree(f"/run/containerd/ociruntime/{MARK}", ignore_errors=True)


# ---- asked directly


def measure_calls(directory: Path, contenders: Sequence[Contender], rounds: int) -> Times:
    """Each call that containerd makes for a task, without containerd."""
    times: Times = defaultdict(lambda: defaultdict(list))
    for number in range(rounds + 1):
        for one in contenders:
            pod = Pod(
                directory / f"{one.name}-{number}", one.program, one.binary, f"{MARK}-{one.name}-c{number}-on"
            )

            def timed(
                what: str, call: Callable[[], object], name: str = one.name, kept: int = number
            ) -> None:
                begun = time.monotonic()
                call()
                if kept:
                    times[what][name].append((time.monotonic() - begun) * 1000)

            try:
                timed("`start`", pod.start)
                pod.connect()
                timed("Create", pod.create)
                timed("Start", pod.begin)
                timed("Exec, Start, Wait, Delete", pod.execute)
                pod.kill()
                timed("Delete", pod.delete)
                timed("Shutdown, until it has ended", pod.shut_down)
                timed("`delete`", pod.clean)
            finally:
                pod.close()
    return times


# ---- memory


def measure_memory(directory: Path, contenders: Sequence[Contender]) -> dict[str, dict[str, list[int]]]:
    """KiB, by what was looked at: PSS alone, and with four pods PSS and private memory as the first pod grows."""
    found: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for one in contenders:
        if one.name == "nothing":
            continue
        pods = []
        try:
            for number in range(PODS):
                pod = Pod(
                    directory / f"{one.name}-m{number}",
                    one.program,
                    one.binary,
                    f"{MARK}-{one.name}-m{number}",
                )
                pods.append(pod)
                pod.start()
                pod.connect()
                pod.create()
                pod.begin()
                if not number:
                    found["one pod with 1 container, PSS"][one.name] = [pod.memory()["Pss"]]
            for crowd in CROWDS:
                pods[0].grow(crowd)
                memory = pods[0].memory()
                found[f"one of {PODS} pods, with {crowd}, PSS"][one.name] = [memory["Pss"]]
                private = memory["Private_Clean"] + memory["Private_Dirty"]
                found[f"one of {PODS} pods, with {crowd}, private"][one.name] = [private]
        finally:
            for pod in pods:
                pod.end_all()
                pod.close()
    return found


# ---- what is shown


def time_table(title: str, times: Times) -> str:
    """Minimum and median of each, and our best minimum by those of the peers."""
    names = list(next(iter(times.values())))
    peers = [name for name in ("runc", "crun") if name in names]
    rows = [[f"{title}, ms", *names, *(f"/ {name}" for name in peers)]]
    for what, figures in times.items():
        cells = [f"{min(values):.1f} ({statistics.median(values):.1f})" for values in figures.values()]
        ratios = [f"{min(figures['snapshot']) / min(figures[peer]):.2f}" for peer in peers]
        rows.append([what, *cells, *ratios])
    return markdown(rows)


def memory_table(found: dict[str, dict[str, list[int]]]) -> str:
    """KiB."""
    names = list(next(iter(found.values())))
    rows = [["memory of the shim, KiB", *names]]
    rows += [[what, *(str(figures[name][0]) for name in names)] for what, figures in found.items()]
    return markdown(rows)


def without_floor(times: Times) -> str:
    """What is left of the minima without containerd's own part."""
    rows = [
        [
            "without the floor, ms",
            *(name for name in times["ctr run --rm"] if name != "nothing"),
            "/ runc",
            "/ crun",
        ]
    ]
    for what, figures in times.items():
        floor = min(figures["nothing"])
        left = {name: min(values) - floor for name, values in figures.items() if name != "nothing"}
        ratios = [f"{left['snapshot'] / left[peer]:.2f}" if peer in left else "" for peer in ("runc", "crun")]
        rows.append([what, *(f"{value:.1f}" for value in left.values()), *ratios])
    return markdown(rows)


def main(words: Sequence[str]) -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m tests.perf.shim", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--write", action="store_true", help=f"put the tables into {PAGE}")
    asked = parser.parse_args(words)
    # Short: the address of a socket has 108 bytes.
    with place_for_snapshot(), tempfile.TemporaryDirectory(prefix="oci-") as scratch:
        directory = Path(scratch)
        contenders = everybody(directory / "shims")
        loads = [os.getloadavg()[0]]
        by_ctr = measure_ctr(directory, contenders, asked.rounds)
        loads.append(os.getloadavg()[0])
        calls = measure_calls(directory, contenders, asked.rounds)
        memory = measure_memory(directory, contenders)
        remove_parents()  # runc's shim makes a --root for its `delete`, whatever the options say
        loads.append(os.getloadavg()[0])
    where = f"{results.machine()}, load {min(loads):.1f} to {max(loads):.1f}, {asked.rounds} rounds."
    tables = (
        time_table("the whole call", by_ctr),
        without_floor(by_ctr),
        time_table("asked directly", calls),
        memory_table(memory),
    )
    text = "\n\n".join([where, *tables])
    print(text)
    if asked.write:
        write(text, REPOSITORY / PAGE)
    return 0


def write(text: str, page: Path) -> None:
    """Put the tables into the page. Raises ValueError if it has no place for them."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: no lines {BEGIN!r} and {END!r}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    default_signals()
    own_mount_namespace()
    sys.exit(main(sys.argv[1:]))
