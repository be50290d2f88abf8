# SPDX-License-Identifier: Apache-2.0
"""Does every mutated config that validate accepts get a plan? test_mutations.py asks validate alone, more often."""

from __future__ import annotations

import json
import os
import random

from ociruntime.bundle import Bundle
from ociruntime.errors import BundleError, RuntimeFailure
from ociruntime.host import Host
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.plan import order
from ociruntime.verbs import validate
from tests.unit.mutations import mutated

COUNT = 4_000

_NAMES = (
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "pids",
)
_V1 = Layout("v1", {name: f"/sys/fs/cgroup/{name}" for name in _NAMES}, own=dict.fromkeys(_NAMES, "/"))
_V2 = Layout(
    "v2", v2="/sys/fs/cgroup", own={"": "/"}, v2_controllers=["cpu", "cpuset", "io", "memory", "pids"]
)


def as_json(config: object) -> bytes | None:
    """The config as a document, or None if JSON can't say it (infinity, a lone surrogate)."""
    try:
        return json.dumps(config, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return None


def planned(raw: bytes) -> str:
    """What plan makes of a valid config on two kinds of host: "planned" or "refused"; anything else is a bug."""
    outcome = "refused"
    for layout in (_V1, _V2):
        loaded = Bundle("/x", "/x/config.json", raw)
        try:
            made = order.make(loaded, Host(layout), order.Options(container_id="x"))
        except RuntimeFailure:
            continue
        assert all(step.as_dict()["where"] in {"host", "init", "sync"} for step in made.steps)
        assert made.start_index() > 0
        outcome = "planned"
    return outcome


def verdict(raw: bytes) -> str:
    """valid, unsupported or invalid; "no object" for a document that is not one."""
    try:
        found = validate.findings(Bundle("/x", "/x/config.json", raw))
    except BundleError:
        return "no object"
    severities = {violation.severity for violation in found}
    assert severities <= {"error", "warning", "unsupported"}
    if "error" in severities:
        return "invalid"
    return "unsupported" if "unsupported" in severities else "valid"


def test_validate_and_plan_survive_mutated_configs() -> None:
    """Every document gets a verdict, and every valid one a plan or a refusal: never a traceback."""
    seed = int(os.environ.get("MUTATION_SEED", random.SystemRandom().getrandbits(32)))
    print(f"MUTATION_SEED={seed}")
    source = random.Random(seed)
    counts = dict.fromkeys(("valid", "unsupported", "invalid", "no object", "planned", "refused"), 0)
    for number in range(COUNT):
        mutation, config = mutated(source)
        raw = as_json(config)
        if raw is None:
            continue
        try:
            said = verdict(raw)
            counts[said] += 1
            if said == "valid":
                counts[planned(raw)] += 1
        except BaseException:
            print(f"config {number}, mutated by {mutation}: {raw.decode()}")
            raise
    print(counts)
    assert counts["valid"] > COUNT / 10
    assert counts["invalid"] > COUNT / 5
    assert counts["planned"] > counts["refused"]
