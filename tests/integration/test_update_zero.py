# SPDX-License-Identifier: Apache-2.0
"""update as engines send it: what they don't name is 0 or missing, and stays, whatever limits were set before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.cgroup_files import MIB, V2
from tests.harness.peers import PEERS
from tests.integration.test_update import begin, changes, files, from_stdin, update

if TYPE_CHECKING:
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

# What dockerd 20.10 sends for each of its flags, one after the other on a container with all limits.
ZEROS: dict[str, Any] = {
    "memory": {"limit": 0, "reservation": 0, "kernel": 0},
    "cpu": {"shares": 0, "quota": 0, "period": 0},
    "blockIO": {"weight": 0},
}
WISHES: list[tuple[str, str, dict[str, Any]]] = [
    ("--restart no", "", {}),
    ("--cpu-shares 300", "cpu", {"shares": 300}),
    ("--cpus 0.7", "cpu", {"quota": 70000, "period": 100000}),
    ("--cpu-quota 30000", "cpu", {"quota": 30000}),
    ("--cpu-period 90000", "cpu", {"period": 90000}),
    ("--cpu-quota -1", "cpu", {"quota": -1}),
    ("--cpuset-cpus 0", "cpu", {"cpus": "0"}),
    ("--memory 48m", "memory", {"limit": 48 * MIB}),
    ("--memory 80m --memory-swap 96m", "memory", {"limit": 80 * MIB, "swap": 96 * MIB}),
    ("--memory-reservation 8m", "memory", {"reservation": 8 * MIB}),
    ("--pids-limit 33", "pids", {"limit": 33}),
    ("--pids-limit 0", "pids", {"limit": 0}),
    ("--pids-limit -1", "pids", {"limit": -1}),
    ("--blkio-weight 300", "blockIO", {"weight": 300}),
    ("--restart always", "", {}),
]


def filled(group: str, members: dict[str, Any]) -> dict[str, Any]:
    """The document with zeros for all that the wish does not name."""
    return {**ZEROS, group: {**ZEROS.get(group, {}), **members}} if group else ZEROS


def test_docker_limit_after_limit(compare: Compare) -> None:
    """Each changes the file that it names and no other, after any limit was set."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = begin(stage)
        answers: dict[str, Any] = {}
        before = files(container)
        for words, group, members in WISHES:
            from_stdin(container, filled(group, members)).ok()
            after = files(container)
            answers[f"docker update {words}"] = changes(before, after)
            before = after
        container.delete("--force").ok()
        return answers

    answers = compare(scenario, only=() if V2 else ("runc",))
    assert answers["docker update --restart always"] == answers["docker update --pids-limit 0"] == {}
    if not V2:
        assert answers["docker update --cpu-shares 300"] == {"cpu.shares": "300"}
        assert answers["docker update --memory 48m"] == {"memory.limit_in_bytes": str(48 * MIB)}
        assert answers["docker update --cpu-quota -1"] == {"cpu.cfs_quota_us": "-1"}


PODMAN: list[dict[str, Any]] = [
    {"cpu": {"quota": 70000, "period": 100000}},
    {"cpu": {"shares": 300}},
    {"memory": {"limit": 56 * MIB}},
    {"memory": {"limit": 60 * MIB, "swap": 120 * MIB}},
    {"memory": {"reservation": 8 * MIB}},
    {"cpu": {"period": 50000}},
    {"blockIO": {"weight": 300}},
    {},
]
CRI: list[dict[str, Any]] = [
    {
        "devices": [{"allow": False, "access": "rwm"}],
        "memory": {"limit": limit * MIB, "swap": limit * MIB},
        "cpu": {"shares": shares, "quota": quota, "period": 100000, **cpus},
    }
    for limit, shares, quota, cpus in (
        (96, 512, 50000, {}),
        (96, 300, 50000, {}),
        (32, 300, -1, {"cpus": "0"}),
    )
]


@pytest.mark.parametrize("documents", [PODMAN, CRI], ids=["podman", "cri"])
def test_documents_one_after_the_other(compare: Compare, documents: list[dict[str, Any]]) -> None:
    """What podman 4.3 and containerd's CRI plugin send, in a row."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = begin(stage)
        answers: dict[str, Any] = {}
        before = files(container)
        for number, document in enumerate(documents):
            from_stdin(container, document).ok()
            after = files(container)
            answers[str(number)] = changes(before, after)
            before = after
        container.delete("--force").ok()
        return answers

    answers = compare(scenario, only=() if V2 else ("runc",))
    assert all(answers[str(number)] for number, document in enumerate(documents) if document)


SAYS_NOTHING: list[Any] = [
    {"memory": {"limit": 0, "swap": 0, "reservation": 0, "kernel": 0, "kernelTCP": 0}},
    {"cpu": {"shares": 0, "quota": 0, "period": 0, "realtimeRuntime": 0, "realtimePeriod": 0}},
    {"cpu": {"cpus": "", "mems": ""}},
    {"pids": {"limit": 0}},
    {"blockIO": {"weight": 0, "leafWeight": 0, "weightDevice": [], "throttleReadBpsDevice": None}},
    {"hugepageLimits": [], "network": {"classID": 0, "priorities": []}, "rdma": {}},
    ZEROS,
]
# runc 1.1 stops at these: a nil pointer, and v1 without `unified`
ONLY_OURS: list[Any] = [
    {"memory": {"limit": None, "swap": None}, "cpu": {"quota": None, "cpus": None}},
    {"pids": None, "memory": None, "cpu": None, "blockIO": None},
    {"unified": {}},
]
FLAGS = (
    "--memory", "--memory-swap", "--memory-reservation", "--cpu-quota", "--cpu-period", "--cpu-share",
    "--cpu-rt-period", "--cpu-rt-runtime", "--blkio-weight", "--pids-limit",
)  # fmt: skip


def test_what_says_nothing(compare: Compare) -> None:
    """0, "", null and empty lists, in documents and flags alike, one by one and all flags at once."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = begin(stage)
        before = files(container)
        answers = {}
        more = [] if stage.runtime.name in PEERS else ONLY_OURS
        for document in more:
            from_stdin(container, document).ok()
        for number, document in enumerate(SAYS_NOTHING):
            answers[f"document {number}"] = [
                from_stdin(container, document).code,
                changes(before, files(container)),
            ]
        for words in (*((flag, "0") for flag in FLAGS), [word for flag in FLAGS for word in (flag, "0")]):
            answers[" ".join(words)] = [update(container, *words).code, changes(before, files(container))]
        container.delete("--force").ok()
        return answers

    answers = compare(scenario, only=("runc",))
    assert {tuple(map(str, answer)) for answer in answers.values()} == {("0", "{}")}


@pytest.mark.skipif(V2, reason="one number on v2; see tests/unit/test_update_zero.py")
def test_memory_above_the_sum_that_stays(stage: Stage) -> None:
    """The error names the limit of memory+swap that holds, and nothing has changed."""
    container = begin(stage)
    before = files(container)
    for document in ({"memory": {"limit": 65 * MIB}}, filled("memory", {"limit": 65 * MIB, "swap": 0})):
        result = from_stdin(container, document)
        assert result.code != 0
        if stage.runtime.name not in PEERS:
            result.refused("/memory/limit", f"{64 * MIB} of memory+swap, which is unchanged")
        assert files(container) == before
    container.delete("--force").ok()


def test_zero_in_a_config(compare: Compare) -> None:
    """A config's zeros set nothing as well: dockerd writes some for every container."""
    base = {"memory": {"limit": 0, "swap": 0, "reservation": 0, "disableOOMKiller": False}}
    base |= {"cpu": {"shares": 0, "quota": 0, "period": 0, "cpus": "", "mems": ""}, "pids": {"limit": 0}}

    def scenario(stage: Stage) -> dict[str, Any]:
        named, plain = begin(stage, **base, blockIO={"weight": 0}), stage.container("sleep", "100")
        plain.create().ok()
        answer = changes(files(plain), files(named))
        named.delete("--force").ok()
        plain.delete("--force").ok()
        return {"other than without": answer}

    assert compare(scenario, only=("runc",)) == {"other than without": {}}
