# SPDX-License-Identifier: Apache-2.0
"""config.md, Process: what is said of a process, and is not for this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage


def test_size_without_a_terminal(stage: Stage) -> None:
    """R039: consoleSize is ignored where there is no terminal."""

    def edit(config: Config) -> None:
        config["process"]["consoleSize"] = {"height": 20, "width": 30}

    assert stage.run("sh", "-c", "test -t 1 || echo none", edit=edit).ok().out == "none\n"


def test_affinity_is_for_exec(stage: Stage) -> None:
    """R060: execCPUAffinity is not for the container's first process."""

    def edit(config: Config) -> None:
        config["process"]["execCPUAffinity"] = {"initial": "0", "final": "0"}

    script = "grep Cpus_allowed_list /proc/self/status"
    assert stage.show(script, edit=edit) == stage.show(script)
