# SPDX-License-Identifier: Apache-2.0
"""What happens to a config with intelRdt on a machine without resctrl? (With one: tests/unit/test_intelrdt.py.)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.skips import has_resctrl

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

departure(
    "exit code without resctrl",
    "runc",
    "R157",
    "without a mount of resctrl it must be an error; runc ignores it",
)
departure("exit code without resctrl", "crun", "R157", "as runc")


pytestmark = pytest.mark.skipif(has_resctrl(), reason="resctrl is mounted; umount it")


def test_without_resctrl(compare: Compare) -> None:
    """An error, and nothing is left (R157)."""

    def edit(config: Config) -> None:
        config["linux"]["intelRdt"] = {"closID": "x"}

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.container("true", edit=edit).run()
        if result.code:
            result.refused("/linux/intelRdt: check resctrl group x: resctrl is not mounted")
        return {"exit code without resctrl": min(result.code, 1), "left": stage.runtime.ids()}

    answers = compare(scenario)
    if runtime_under_test() not in PEERS:
        assert answers == {"exit code without resctrl": 1, "left": []}


@pytest.mark.skipif(runtime_under_test() in PEERS, reason="peers ignore it: run with RUNTIME=ociruntime")
@pytest.mark.parametrize("rdt", [{}, {"memBwSchema": "MB:0=10", "enableMonitoring": True}])
def test_the_error_says_what_is_missing(stage: Stage, rdt: dict[str, Any]) -> None:
    """It names the property and the remedy."""
    result = stage.run("true", edit=lambda config: config["linux"].update(intelRdt=rdt))
    result.refused("/linux/intelRdt: check resctrl group", "resctrl is not mounted", "mount -t resctrl")
    assert stage.runtime.ids() == []
