# SPDX-License-Identifier: Apache-2.0
"""config-linux.md: the sections that are small, default file systems, cgroup ownership, sysctl, masked and read-only paths."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance.spec.departs import departs
from tests.harness.configuration import Config, with_namespace, writable_root

if TYPE_CHECKING:
    from tests.harness.stage import Stage


def test_default_file_systems(stage: Stage) -> None:
    """R094: /proc, /sys, /dev/pts and /dev/shm are there, of their types, in a container of the default config."""
    out = stage.show("cut -d' ' -f2,3 /proc/mounts")
    assert {"/proc proc", "/sys sysfs", "/dev/pts devpts", "/dev/shm tmpfs"} <= set(out.splitlines())


@departs(crun="wants the section linux")
def test_platform(stage: Stage) -> None:
    """R067: a config without the section linux is valid, and its container runs in the runtime's namespaces."""
    if stage.runtime.name == "runc":
        pytest.skip("runc needs a /proc in every container, and leaves its cgroup when there is none")
    container = stage.container("hostname")
    bundle = container.bundle
    for name in ("linux", "hostname"):
        del bundle.config[name]
    bundle.config["mounts"] = []  # they would be made in the host's mount namespace
    bundle.write()
    result = container.run()
    assert result.code == 0, result.err
    assert result.out.strip() == socket.gethostname()


@departs(runc="1.1 does not know domainname")
def test_names(stage: Stage) -> None:
    """R065, R066: hostname and domainname are set in the container's UTS namespace, and the host keeps its own."""
    before = [Path(f"/proc/sys/kernel/{name}").read_text() for name in ("hostname", "domainname")]
    out = stage.show(
        "cat /proc/sys/kernel/hostname /proc/sys/kernel/domainname",
        edit=lambda config: config.update(hostname="the-host", domainname="the.domain"),
    )
    assert out.split() == ["the-host", "the.domain"]
    assert [Path(f"/proc/sys/kernel/{name}").read_text() for name in ("hostname", "domainname")] == before


def test_owner_of_cgroups(stage: Stage) -> None:
    """R130, R131: no cgroup directory or file of version 1 gets another owner, nor any without a new cgroup namespace."""
    only_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
    kinds = [False] if only_v2 else [False, True]
    for own_namespace in kinds:

        def edit(config: Config, own_namespace: bool = own_namespace) -> None:
            config["process"]["user"] = {"uid": 1000, "gid": 1000}
            config["mounts"][-1]["options"].remove("ro")
            if own_namespace:
                with_namespace(config, "cgroup")

        container = stage.container("sleep", "100", edit=edit)
        container.create().ok()
        pid = container.state()["pid"]
        owners = set()
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            hierarchy = names.removeprefix("name=") or ("" if only_v2 else "unified")
            directory = Path("/sys/fs/cgroup", hierarchy, path.lstrip("/"))
            if container.id not in path or not directory.is_dir():
                continue
            owners |= {entry.stat().st_uid for entry in (directory, *directory.iterdir())}
        assert owners == {0}, own_namespace
        container.delete("--force").ok()


def test_sysctl(stage: Stage) -> None:
    """R176: each kernel parameter has its value in the container, and the host's stay as they were."""
    values = {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.ping_group_range": "0\t5",
        "kernel.msgmax": "9000",
        "kernel.shm_rmid_forced": "1",
        "fs.mqueue.msg_max": "17",
    }
    files = [f"/proc/sys/{name.replace('.', '/')}" for name in values]
    before = [Path(file).read_text() for file in files]
    out = stage.show(f"cat {' '.join(files)}", edit=lambda config: config["linux"].update(sysctl=values))
    assert out.splitlines() == list(values.values())
    assert [Path(file).read_text() for file in files] == before


def _with_paths(config: Config) -> None:
    writable_root(config)
    config["linux"]["maskedPaths"] = ["/work/secret", "/work/hidden", "/no/such/path"]
    config["linux"]["readonlyPaths"] = ["/work/fixed", "/work/file", "/no/such/path"]


def test_masked_and_read_only_paths(stage: Stage) -> None:
    """R195, R196: a masked file and directory can't be read, a read-only one can't be written; the rest can."""
    bundle = stage.bundle("sh", "-c", "", edit=_with_paths)
    work = bundle.rootfs / "work"
    for name in ("hidden/file", "fixed/file", "secret", "file", "free"):
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text(f"{name}\n")
    script = (
        "cd /work; cat secret; ls hidden; cat fixed/file file;"
        "for one in fixed/file fixed/new file free; do (: >>$one) 2>/dev/null && echo wrote $one; done"
    )
    bundle.config["process"]["args"][2] = script
    bundle.write()
    result = stage.container(bundle=bundle).run()
    assert result.out.splitlines() == ["fixed/file", "file", "wrote free"], result.err


@departs(both="masks below its own working directory")
@pytest.mark.parametrize("name", ["maskedPaths", "readonlyPaths"])
def test_relative_paths(stage: Stage, name: str) -> None:
    """R195, R196: the paths are absolute; a relative one is refused."""
    container = stage.container("true", edit=lambda config: config["linux"].update({name: ["work/secret"]}))
    container.create().refused(f"/linux/{name}/0", "absolute")
    assert container.status() == ""


@departs(runc="ignores the property, whatever it says", crun="ignores flags")
def test_personality(stage: Stage) -> None:
    """R198: a domain that is not LINUX or LINUX32 is an error, as is any flag: none is defined."""
    for value in ({"domain": "LINUX64"}, {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}, {}):
        container = stage.container(
            "true", edit=lambda config, value=value: config["linux"].update(personality=value)
        )
        container.create().refused("/linux/personality")
        assert container.status() == ""
