# SPDX-License-Identifier: Apache-2.0
"""config.md, Process: what is said of a process, and is not for this one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.harness.terminals import Client, size_of

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage


def test_size_without_a_terminal(stage: Stage) -> None:
    """R039: consoleSize is ignored without a terminal, whatever it says; the caller's terminal keeps its size."""
    for height in (20, 70000):

        def edit(config: Config, height: int = height) -> None:
            config["process"]["consoleSize"] = {"height": height, "width": 30}

        assert stage.run("sh", "-c", "test -t 1 || echo none", edit=edit).ok().out == "none\n"
        container = stage.container("sh", "-c", "stty size; sleep 100", edit=edit)
        stage.runtime.prepare(container.bundle)
        client = Client(
            stage.runtime.argv("create", "--bundle", str(container.bundle.directory), container.id), 25, 81
        )
        container.created = True
        try:
            assert client.wait() == 0, client.text
            container.start().ok()
            assert client.wait_for("\n") == "25 81\r\n"
            assert size_of(client.terminal) == (25, 81)
        finally:
            container.delete("--force")
            client.close()


def test_affinity_is_for_exec(stage: Stage) -> None:
    """R060: execCPUAffinity is not for the container's first process."""

    def edit(config: Config) -> None:
        config["process"]["execCPUAffinity"] = {"initial": "0", "final": "0"}

    script = "grep Cpus_allowed_list /proc/self/status"
    assert stage.show(script, edit=edit) == stage.show(script)
