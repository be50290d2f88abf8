# SPDX-License-Identifier: Apache-2.0
"""What happens to capabilities that can't be granted? The sets that can are in test_process.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage

_ALL_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        ({"ambient": ["CAP_KILL"]}, "/process/capabilities/ambient: CAP_KILL cannot be granted"),
        (
            {key: ["CAP_KILL"] for key in ("bounding", "effective", "permitted", "ambient")},
            "/process/capabilities/ambient: CAP_KILL cannot be granted",
        ),
        ({"inheritable": ["CAP_KILL"]}, "/process/capabilities/inheritable: CAP_KILL cannot be granted"),
        ({"effective": ["CAP_KILL"]}, "/process/capabilities/effective: CAP_KILL cannot be granted"),
        *(
            ({name: ["CAP_NOPE"]}, f"/process/capabilities/{name}/0: unknown capability CAP_NOPE")
            for name in _ALL_SETS
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_a_set_that_can_not_be_had(stage: Stage, sets: dict[str, list[str]], told: str) -> None:
    """Whichever set it is in, the container runs without it, and a warning names set and capability (R049, R050)."""
    if stage.runtime.name in PEERS:
        pytest.skip("runc fails where two sets do not fit together, crun says nothing of unknown names")

    def edit(config: Config) -> None:
        config["process"]["capabilities"] = sets

    ended = stage.run("grep", "^Cap", "/proc/self/status", edit=edit).ok()
    assert f"warning: run: {told}" in ended.err
    masks = dict(line.split(":\t") for line in ended.out.splitlines())
    assert int(masks["CapAmb"], 16) == int(masks["CapInh"], 16) == 0
