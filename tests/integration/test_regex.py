# SPDX-License-Identifier: Apache-2.0
"""Do `delete --regex` and `kill --regex` reach every container whose id matches, and no other? crun has them, runc not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

pytestmark = pytest.mark.skipif(
    runtime_under_test() == "runc", reason="runc has no --regex: run with RUNTIME=ociruntime or crun"
)

departure("regex", "crun", "R236", "what one container refuses is an error of the whole call")


def _ids(stage: Stage) -> list[bool]:
    """Which of the stage's containers exist."""
    there = stage.runtime.ids()
    return [container.id in there for container in stage.containers]


def test_delete_what_matches(compare: Compare) -> None:
    """Each stopped container that matches goes, anywhere in the id, and the others stay; it is not an error if none matches."""

    def scenario(stage: Stage) -> dict[str, Any]:
        first, second, other = (stage.in_state("stopped") for _ in range(3))
        none = stage.runtime.call("delete", "--regex", "^no-such-id$").code
        kept = _ids(stage)
        pattern = f"{first.id[3:]}$|{second.id[3:]}$"
        both = stage.runtime.call("delete", "--regex", pattern).code
        left = _ids(stage)
        other.delete().ok()
        return {"none": none, "kept": kept, "both": both, "left": left}

    answers = compare(scenario, ("crun",))
    assert answers == {"none": 0, "kept": [True] * 3, "both": 0, "left": [False, False, True]}


def test_one_of_them_is_refused(compare: Compare) -> None:
    """A running container refuses; the stopped one goes anyway, and with --force both do."""

    def scenario(stage: Stage) -> dict[str, Any]:
        running, stopped = stage.in_state("running"), stage.in_state("stopped")
        pattern = f"({running.id}|{stopped.id})$"
        result = stage.runtime.call("delete", "-r", pattern)
        left = _ids(stage)
        assert running.id in result.err
        forced = stage.runtime.call("delete", "--force", "-r", pattern).code
        return {"regex": result.code, "left": left, "forced": forced, "end": _ids(stage)}

    answers = compare(scenario, ("crun",))
    assert answers["left"] == [True, False]
    assert answers["forced"] == 0
    assert answers["end"] == [False, False]


def test_kill_what_matches(compare: Compare) -> None:
    """Each running container that matches gets the signal; the error of a stopped one names it."""

    def scenario(stage: Stage) -> dict[str, Any]:
        first, second, other = (stage.in_state("running") for _ in range(3))
        code = stage.runtime.call("kill", "--regex", f"({first.id}|{second.id})$", "KILL").code
        for container in (first, second):
            container.wait_for("stopped")
        status = other.status()
        for container in (first, second, other):
            container.delete("--force").ok()
        return {"code": code, "other": status}

    assert compare(scenario, ("crun",)) == {"code": 0, "other": "running"}


def test_the_error_names_the_container(stage: Stage) -> None:
    """Which one was not running, of those that matched."""
    if runtime_under_test() in PEERS:
        pytest.skip("the words are this runtime's: run with RUNTIME=ociruntime")
    stopped = stage.in_state("stopped")
    stage.runtime.call("kill", "--regex", f"{stopped.id}$", "KILL").refused(f"{stopped.id}")
    stopped.delete().ok()
