# SPDX-License-Identifier: Apache-2.0
"""Does a config of another version of the specification run? (config.md, Specification version: R007, R008)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS, departure

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

ours_only = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="what is asked is this runtime's: run with RUNTIME=ociruntime"
)

departure("newer minor version", "crun", "R008", "what engines have always asked for must still be done")


def _of(version: str) -> Any:
    def edit(config: Config) -> None:
        config["ociVersion"] = version

    return edit


@pytest.mark.parametrize("version", ["1.4.0", "1.10.2", "1.99.0-dev", "1.4.0+build"])
def test_newer_minor_version(compare: Compare, version: str) -> None:
    """It runs, whatever it may have added: or every container would fail on the day on which engines write it."""

    def scenario(stage: Stage) -> dict[str, Any]:
        result = stage.run("echo", "runs", edit=_of(version))
        return {"newer minor version": (result.code, result.out)}

    assert compare(scenario)["newer minor version"] == [0, "runs\n"]


@ours_only
@pytest.mark.parametrize("version", ["1.4.0", "1.99.0-dev"])
def test_it_is_told(stage: Stage, version: str) -> None:
    """create, run, plan and validate warn of it, each in one line, and validate calls the config valid."""
    warning = f"/ociVersion: version {version} of the specification is newer than 1.3.0"
    container = stage.container("true", edit=_of(version))
    assert container.run().ok().err.count(warning) == 1
    created = container.create().ok()
    assert created.err.count(warning) == 1
    container.start().ok()
    container.wait_for("stopped")
    assert container.state()["ociVersion"] == "1.3.0"
    container.delete().ok()
    bundle = str(container.bundle.directory)
    assert stage.runtime.call("plan", bundle).ok().err.count(warning) == 1
    told = stage.runtime.call("validate", bundle).ok().out
    assert told.count(f"warning: {warning}") == 1
    assert "valid (1 warning)" in told


@ours_only
@pytest.mark.parametrize("version", ["2.0.0", "2.0.0-rc.1", "10.0.0", "0.9.0"])
def test_another_major_version(stage: Stage, version: str) -> None:
    """It is another specification, and refused."""
    words = ("/ociVersion", f"version {version} of the specification is not supported")
    stage.run("true", edit=_of(version)).refused(*words)
