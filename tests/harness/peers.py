# SPDX-License-Identifier: Apache-2.0
"""Does the runtime under test do what runc and crun do? A scenario is run under each, the answers compared.

Where they may differ, and which requirement decides, stands in one table (DEPARTURES).
Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

from tests.harness.cgroup_files import V2
from tests.harness.driver import DRIVER, MARK, PATIENCE, PEERS, runtime_under_test
from tests.harness.rootfs import cache_directory
from tests.harness.stage import Stage

# Each peer must have compared on at least so many bundles when the whole suite runs.
MINIMUM = 10
Scenario = Callable[[Stage], dict[str, Any]]

# How many bundles each peer has compared in this session.
compared: Counter[str] = Counter()


class Departure(NamedTuple):
    """One answer in which a peer is justly different from the runtime under test."""

    peer: str
    rule: str
    why: str


# By the name of an answer in a scenario's result.
DEPARTURES: dict[str, tuple[Departure, ...]] = {}


def departure(answer: str, peer: str, rule: str, why: str) -> None:
    """Enter a justified difference into the table."""
    DEPARTURES[answer] = (*DEPARTURES.get(answer, ()), Departure(peer, rule, why))


def compare(scenario: Scenario, directory: Path, peers: tuple[str, ...] = PEERS) -> dict[str, Any]:
    """Run the scenario under the runtime under test and each peer; returns the first one's answers.

    Fails on any difference that is not in DEPARTURES, and on a departure that no longer is one.
    """
    under_test = runtime_under_test()
    ours = _answers(scenario, under_test, directory)
    for peer in peers:
        if peer == under_test or (peer == "crun" and DRIVER == "systemd" and not V2):
            continue  # crun 1.8 looks for hierarchies of v1 that are not mounted
        theirs = _answers(scenario, peer, directory)
        problems = list(_differences(ours, theirs, peer, under_test))
        assert not problems, "\n".join(problems)
    return ours


def _answers(scenario: Scenario, name: str, directory: Path) -> dict[str, Any]:
    stage = Stage(name, directory / f"on-{os.path.basename(name)}")
    try:
        answers = stage.neutral(scenario(stage))
    finally:
        stage.close()
        if name in PEERS:
            _remove_left_cgroups(stage)
    if name in PEERS:
        compared[name] += stage.bundles
    assert isinstance(answers, dict)
    return answers


def _remove_left_cgroups(stage: Stage) -> None:
    """What peers leave below /sys/fs/cgroup; this is not what the tests are about.

    On v2 it is crun 1.8's cgroup, when create fails late, and runc 1.1's, beside its own cgroup, when a killed
    process is slow to leave it; on v1 crun's cgroup, now and then, when a created container is deleted, and an
    ordinary directory for each hierarchy that lives on without a mount (because there are cgroups in it).
    """
    for container in stage.containers:
        if not container.id.startswith(MARK):
            continue
        directory = f"/sys/fs/cgroup/{container.id}"
        if os.path.isdir(directory):
            os.rmdir(directory)
        if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
            for found in Path("/sys/fs/cgroup").glob(f"*/{container.id}"):
                _remove_when_empty(str(found))
        if not os.path.ismount("/sys/fs/cgroup/unified"):
            continue
        for place in os.scandir("/sys/fs/cgroup"):
            left = f"{place.path}/{container.id}"
            if os.path.isdir(left) and os.path.ismount(place.path):
                _remove_when_empty(left)
            elif os.path.isdir(left):
                shutil.rmtree(left)


def _remove_when_empty(cgroup: str) -> None:
    """Its killed process may still be leaving; if it does not, the leak check tells."""
    end = time.monotonic() + 2.0 * PATIENCE
    while time.monotonic() < end:
        try:
            os.rmdir(cgroup)
        except OSError:
            time.sleep(0.02)
        else:
            return


def _differences(ours: dict[str, Any], theirs: dict[str, Any], peer: str, under_test: str) -> Iterator[str]:
    for answer in sorted(ours.keys() | theirs.keys()):
        same = ours.get(answer) == theirs.get(answer)
        allowed = [one for one in DEPARTURES.get(answer, ()) if one.peer in (peer, under_test)]
        if not same and not allowed:
            yield f"{answer}: {under_test} says {ours.get(answer)!r}, {peer} {theirs.get(answer)!r}"
        # A peer that is itself under test departs from nothing of its own.
        if same and allowed and under_test not in PEERS:
            yield (
                f"{answer}: like {peer}, from which it should depart ({allowed[0].rule}: {allowed[0].why}), "
                f"{under_test} says {ours.get(answer)!r}"
            )


_HUGETLB = "/sys/fs/cgroup/hugetlb"
# There while the hierarchy is mounted by a test session (which may have been killed).
_NOTE = Path("/run/ociruntime-test-hugetlb.mounted")


@contextmanager
def hugetlb_mounted() -> Iterator[None]:
    """Mount the v1 hierarchy without which crun refuses a hybrid host; undone after the last session.

    Several sessions may run at once: each holds a shared lock, and the one that gets it alone unmounts.
    """
    wanted = (
        os.geteuid() == 0
        and shutil.which("crun") is not None
        and os.path.ismount("/sys/fs/cgroup/unified")
        and (_NOTE.exists() or not os.path.ismount(_HUGETLB))
    )
    if not wanted:
        yield
        return
    with open(cache_directory() / "hugetlb.users", "w", encoding="ascii") as users:
        with _one_at_a_time():
            if not os.path.ismount(_HUGETLB):
                _mount_hugetlb()
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with _one_at_a_time():
                _unmount_if_last(users)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with open(cache_directory() / "hugetlb.lock", "w", encoding="ascii") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)
        yield


def _mount_hugetlb() -> None:
    made = not os.path.isdir(_HUGETLB)
    os.makedirs(_HUGETLB, exist_ok=True)
    if made or not _NOTE.exists():  # a session beside this one may have made it, for a namespace of its own
        _NOTE.write_text("with its directory" if made else "", encoding="ascii")
    subprocess.run(["mount", "-t", "cgroup", "-o", "hugetlb", "cgroup", _HUGETLB], check=True)


def _unmount_if_last(users: IO[str]) -> None:
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # another session still needs it
    made = _NOTE.read_text(encoding="ascii") != ""
    subprocess.run(["umount", _HUGETLB], check=True)
    _NOTE.unlink()
    if made:
        os.rmdir(_HUGETLB)


def shortfall() -> list[str]:
    """The message when a peer has not compared enough."""
    under_test = runtime_under_test()
    return [
        f"{peer} compared on {compared[peer]} bundles, at least {MINIMUM} are needed"
        for peer in PEERS
        if peer != under_test and compared[peer] < MINIMUM
    ]
