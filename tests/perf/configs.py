# SPDX-License-Identifier: Apache-2.0
"""What do large configs cost: Docker's seccomp profile, compiled before or for the first time, and a thousand mounts?

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.harness.configuration import add_bind
from tests.harness.seccomp_profiles import dockers_filter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.harness.bundle import Bundle
    from tests.harness.configuration import Config
    from tests.perf.contender import Contender
    from tests.perf.results import Results
    from tests.perf.sections import Size

CACHED, FIRST = "run with docker's seccomp profile", "the same for the first time"


def mounts(count: int) -> str:
    """The row's name."""
    return f"run with {count:,} bind mounts"


def measure_seccomp(results: Results, contenders: Sequence[Contender], size: Size) -> None:
    """As often as a third of the rounds. For the first time: with an empty --root, in which nothing has been kept."""
    rounds = max(2, size.rounds // 3)
    bundles = [one.bundle("filtered", "true", edit=_filtered) for one in contenders]
    _race(results, CACHED, contenders, bundles, rounds)
    _race(results, FIRST, contenders, bundles, rounds, before=_forget)


def measure_mounts(results: Results, contenders: Sequence[Contender], size: Size) -> None:
    """A few laps: each takes as long as everything else in a round."""

    def edit(config: Config) -> None:
        config["mounts"].append({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"})
        for number in range(size.mounts):
            add_bind(config, "/var/tmp", f"/mnt/{number}")

    bundles = [one.bundle("mounts", "true", edit=edit) for one in contenders]
    _race(results, mounts(size.mounts), contenders, bundles, min(size.rounds, 5))


def _filtered(config: Config) -> None:
    config["linux"]["seccomp"] = dockers_filter(set(config["process"]["capabilities"]["bounding"]))


def _forget(contender: Contender) -> None:
    """Remove the --root; no container is in it."""
    assert contender.runtime.ids() == []
    shutil.rmtree(contender.runtime.root, ignore_errors=True)


def _race(
    results: Results,
    name: str,
    contenders: Sequence[Contender],
    bundles: Sequence[Bundle],
    rounds: int,
    *,
    before: Callable[[Contender], None] = lambda _: None,
) -> None:
    """`run` in turns; the first round does not count."""
    laps: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for contender, bundle in zip(contenders, bundles, strict=True):
            before(contender)
            milliseconds = contender.run(bundle).seconds * 1000
            if number > 0:
                laps.setdefault(contender.name, []).append(milliseconds)
    for who, values in laps.items():
        results.row(name).add(who, values)
