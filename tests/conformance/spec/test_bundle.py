# SPDX-License-Identifier: Apache-2.0
"""spec.md, glossary.md, bundle.md, and the version of config.md: is a bundle read as they say?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.conformance.spec.departs import departs

if TYPE_CHECKING:
    from tests.harness.stage import Stage


def _reversed(value: Any) -> Any:
    """The same value with the members of every object in the opposite order."""
    if isinstance(value, dict):
        return {name: _reversed(one) for name, one in reversed(value.items())}
    return [_reversed(one) for one in value] if isinstance(value, list) else value


def test_utf8(stage: Stage) -> None:
    """R002: the JSON text is UTF-8; characters beyond ASCII arrive as they are."""
    assert stage.run("echo", "Grüße, 漢字, 🐢").ok().out == "Grüße, 漢字, 🐢\n"


@departs(runc="Go's decoder takes any bytes")
def test_not_utf8(stage: Stage) -> None:
    """R002: a text in another encoding is not a config."""
    container = stage.container("true")
    stage.runtime.prepare(container.bundle)
    text = container.bundle.config_file.read_bytes()
    container.bundle.config_file.write_bytes(text.replace(b'"TERM=xterm"', b'"TERM=xterm\xfc"'))
    container.create().refused("UTF-8")


def test_order_of_members(stage: Stage) -> None:
    """R004: whatever the order of members, the container is the same."""
    container = stage.container("sh", "-c", "hostname; cat /proc/mounts | cut -d' ' -f2; ulimit -n")
    stage.runtime.prepare(container.bundle)
    first = container.run().ok().out
    container.bundle.config_file.write_text(json.dumps(_reversed(container.bundle.config)))
    again = stage.container(bundle=container.bundle)
    assert again.run().ok().out == first


def test_name_of_the_config(stage: Stage) -> None:
    """R005: only a file that is called config.json, in the bundle itself, is one."""
    container = stage.container("true")
    file = container.bundle.config_file
    for other in ("config.JSON", "config", "Config.json", "rootfs/config.json"):
        moved = file.rename(container.bundle.directory / other)
        result = stage.runtime.call("create", "--bundle", str(container.bundle.directory), container.id)
        result.refused("config.json")
        moved.rename(file)
    container.run().ok()


def test_older_versions(stage: Stage) -> None:
    """R007, R008: a config of 1.x runs here, where 1.3 is known; so do pre-releases with build metadata."""
    for version in ("1.0.0", "1.0.2-dev", "1.1.0", "1.2.1", "1.3.0-rc.1+build.5", "1.3.0"):
        stage.run("true", edit=lambda config, version=version: config.update(ociVersion=version)).ok()


@departs(
    runc="runc doesn't look at the version",
    crun="takes a config without a version, and does not say what is wrong with one",
)
def test_no_version(stage: Stage) -> None:
    """R007: ociVersion is there, and a version in the sense of SemVer 2.0.0; else nothing is created."""
    for version in ("", "1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "one", None):
        container = stage.container(
            "true", edit=lambda config, version=version: config.update(ociVersion=version)
        )
        container.create().refused("ociVersion")
        assert container.status() == ""
    stage.container("true", edit=lambda config: config.pop("ociVersion")).create().refused(
        "/ociVersion: is required"
    )
