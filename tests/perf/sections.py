# SPDX-License-Identifier: Apache-2.0
"""Which sections has a measurement, in which order, and how much does each do? Must not import anything of `ociruntime`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.perf import breakdown, configs, crowd, engine, library, memory, verbs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.perf.contender import Contender
    from tests.perf.results import Results


class Size(NamedTuple):
    """How much is measured; by default all sections together take about five minutes."""

    rounds: int = 40  # of the verbs and of the library; the other sections do fewer
    widths: tuple[int, ...] = (1, 8, 32)  # `run` at once
    live: tuple[int, ...] = (1, 100, 1000)  # living containers
    mounts: int = 1000


SECTIONS: dict[str, Callable[[Results, Sequence[Contender], Size], None]] = {
    "verbs": verbs.measure,
    "memory": memory.measure,
    "library": library.measure,
    "at-once": crowd.measure_at_once,
    "seccomp": configs.measure_seccomp,
    "mounts": configs.measure_mounts,
    "engine": engine.measure,
    "live": crowd.measure_live,
    "breakdown": breakdown.measure,
}
