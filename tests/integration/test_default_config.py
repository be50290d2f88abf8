# SPDX-License-Identifier: Apache-2.0
"""Does the config that `runc spec` writes run, on a busybox and on a Debian root file system?"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, default_config
from tests.harness.peers import PEERS, departure
from tests.harness.rootfs import debian_rootfs

if TYPE_CHECKING:
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

for _peer in PEERS:
    departure(
        "ambient of spec",
        _peer,
        "R050",
        "without an inheritable set it can't be granted, so it would be a warning",
    )
if not os.path.exists("/proc/kcore"):
    departure(
        "default devices",
        "crun",
        "R241",
        "a link is made only if what it leads to exists; crun always makes /dev/core",
    )


def test_default_config_is_what_runc_spec_writes(compare: Compare) -> None:
    """The config that the tests start from is runc's default, but for version, terminal and words.

    On cgroup v2 runc adds a cgroup namespace.
    """

    def scenario(stage: Stage) -> dict[str, Any]:
        bundle = stage.bundle()
        bundle.config_file.unlink()
        stage.runtime.call("spec", cwd=bundle.directory).ok()
        written = json.loads(bundle.config_file.read_bytes())
        capabilities = written["process"]["capabilities"]
        written["process"]["capabilities"] = {name: value for name, value in capabilities.items() if value}
        for name in ("ociVersion", "hostname"):
            assert isinstance(written.pop(name), str)
        assert written["process"].pop("terminal") is True
        written["linux"]["namespaces"].sort(key=lambda entry: entry["type"])
        return {"ambient of spec": written["process"]["capabilities"].pop("ambient", []), "spec": written}

    spec = compare(scenario)["spec"]
    expected = default_config()
    if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        expected["linux"]["namespaces"].append({"type": "cgroup"})
    expected["linux"]["namespaces"].sort(key=lambda entry: entry["type"])
    del expected["ociVersion"], expected["hostname"], expected["process"]["terminal"]
    del spec["mounts"], spec["linux"]["maskedPaths"], spec["linux"]["readonlyPaths"]
    del expected["mounts"], expected["linux"]["maskedPaths"], expected["linux"]["readonlyPaths"]
    assert spec == expected


def test_runs_on_busybox(compare: Compare) -> None:
    """The default config's shell runs, as root, in its own namespaces, and sees the default mounts."""

    def scenario(stage: Stage) -> dict[str, Any]:
        identity = stage.show("id; pwd; hostname; echo $$; ls /sys/class/net").splitlines()
        devices = stage.show("find /dev ! -type d -exec stat -c '%n %F %t:%T %a %u:%g' {} +")
        mounts = [line.split() for line in stage.show("cat /proc/mounts").splitlines()]
        # What covers a masked path is each runtime's own choice; that something does is not.
        kept = [words[1:4] for words in mounts if "cgroup" not in words[1] and not _is_cover(words[1])]
        covers = sorted(words[1] for words in mounts if _is_cover(words[1]))
        return {"identity": identity, "default devices": sorted(devices.splitlines()), "default mounts": kept,
                "masked and read-only paths": covers}  # fmt: skip

    answers = compare(scenario)
    assert answers["identity"] == ["uid=0(root) gid=0(root)", "/", "runc", "1", "lo"]
    assert any(
        line.startswith("/dev/null character special file 1:3 666") for line in answers["default devices"]
    )
    assert "/proc/sys" in answers["masked and read-only paths"]


def _is_cover(point: str) -> bool:
    return point.startswith(("/proc/", "/sys/firmware"))


@pytest.mark.slow
def test_runs_on_debian(compare: Compare) -> None:
    """The default config runs a dynamically linked program of a Debian root file system."""
    rootfs = debian_rootfs()

    def edit(config: Config) -> None:
        config["root"]["path"] = os.fspath(rootfs)

    def scenario(stage: Stage) -> dict[str, Any]:
        return {"shown": stage.run("apt-get", "--version", edit=edit).ok().out}

    assert compare(scenario)["shown"].startswith("apt 2.")
