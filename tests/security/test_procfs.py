# SPDX-License-Identifier: Apache-2.0
"""Invariants 5 and 8: /proc and /sys are what they seem, nothing covers procfs, and writes to it reach the kernel."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import Config, add_bind, with_namespace, without_namespace, writable_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.stage import Stage
    from tests.security.conftest import Canary


@pytest.mark.parametrize("name", ["proc", "sys"])
@pytest.mark.parametrize(
    "target", ["/tmp", "tmp", "../../../../../../tmp", "/etc/../tmp", "{canary}", "/missing", "."]
)
def test_proc_or_sys_is_a_link(stage: Stage, canary: Canary, name: str, target: str) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-54867: rootfs/proc or rootfs/sys as a link is refused."""
    bundle = stage.bundle("true", edit=writable_root)
    (bundle.rootfs / name).rmdir()
    (bundle.rootfs / name).symlink_to(target.format(canary=canary))
    stage.container(bundle=bundle).run().refused(f"/{name}")
    canary.check()


@pytest.mark.parametrize("destination", ["/proc", "/proc/", "//proc", "/./proc", "/tmp/../proc", "/proc/."])
def test_spellings_of_proc(stage: Stage, destination: str) -> None:
    """CVE-2019-19921: the link is refused however the config writes the destination."""

    def edit(config: Config) -> None:
        config["mounts"][0]["destination"] = destination

    bundle = stage.bundle("true", edit=edit)
    (bundle.rootfs / "proc").rmdir()
    (bundle.rootfs / "proc").symlink_to("tmp")
    stage.container(bundle=bundle).run().refused("proc")


@pytest.mark.parametrize(
    "destination",
    ["/proc", "/proc/self/attr", "/proc/self", "/proc/sys", "/proc/../proc/1", "/proc/sys/kernel"],
)
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_mount_over_procfs(stage: Stage, tmp_path: Path, destination: str, kind: str) -> None:
    """CVE-2019-16884: no volume over /proc or over a file in it through which labels and limits are set."""

    def edit(config: Config) -> None:
        if kind == "bind":
            add_bind(config, str(tmp_path), destination)
        else:
            config["mounts"].append({"destination": destination, "type": "tmpfs", "source": "tmpfs"})

    stage.container("true", edit=edit).run().refused("/mounts/7")


@pytest.mark.parametrize("target", ["/proc", "/proc/self/attr", "/proc/sys/net", "../../proc/sys"])
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_mount_over_procfs_by_a_link(stage: Stage, tmp_path: Path, target: str, kind: str) -> None:
    """CVE-2019-16884: the same where the config names an innocent directory and the image has a link there."""
    bundle = stage.bundle("true", edit=writable_root)
    (bundle.rootfs / "innocent").symlink_to(target)
    if kind == "bind":
        add_bind(bundle.config, str(tmp_path), "/innocent")
    else:
        bundle.config["mounts"].append({"destination": "/innocent", "type": "tmpfs", "source": "tmpfs"})
    bundle.write()
    stage.container(bundle=bundle).run().refused("/mounts/7", "proc")


def test_bind_of_something_else_on_proc(stage: Stage, tmp_path: Path) -> None:
    """CVE-2019-16884: a bind on /proc is allowed for a procfs only."""
    (tmp_path / "self/attr").mkdir(parents=True)

    def edit(config: Config) -> None:
        config["mounts"][0] = {
            "destination": "/proc", "type": "bind", "source": str(tmp_path), "options": ["rbind"],
        }  # fmt: skip

    stage.container("true", edit=edit).run().refused("/mounts/0")


def test_files_of_lxcfs(stage: Stage, tmp_path: Path) -> None:
    """Invariant 8 leaves room for what engines do: a bind on /proc/uptime works."""
    (tmp_path / "uptime").write_text("1.00 1.00\n")
    assert stage.show(
        "cat /proc/uptime", lambda config: add_bind(config, str(tmp_path / "uptime"), "/proc/uptime")
    ) == ("1.00 1.00\n")


@pytest.fixture
def covered_proc(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A process in a mount namespace where /proc/sys is covered by a directory of decoys; and that directory."""
    decoys = tmp_path / "decoys"
    for name in ("net/ipv4/ip_default_ttl", "kernel/domainname"):
        (decoys / name).parent.mkdir(parents=True, exist_ok=True)
        (decoys / name).write_text("decoy\n")
    script = f"mount --bind {decoys} /proc/sys && echo ready && exec sleep 60"
    holder = subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "ready\n"
    yield holder.pid, decoys
    holder.kill()
    holder.wait()
    holder.stdout.close()


def test_sysctl_in_a_covered_namespace(stage: Stage, covered_proc: tuple[int, Path]) -> None:
    """CVE-2025-52881: in a mount namespace whose /proc/sys is a decoy, a sysctl reaches the kernel and not the decoy."""
    pid, decoys = covered_proc

    def edit(config: Config) -> None:
        with_namespace(config, "mount", f"/proc/{pid}/ns/mnt")
        config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "77"}

    assert stage.show("cat /proc/sys/net/ipv4/ip_default_ttl", edit) == "77\n"
    assert (decoys / "net/ipv4/ip_default_ttl").read_text() == "decoy\n"


def test_sysctl_with_covered_proc(stage: Stage, covered_proc: tuple[int, Path]) -> None:
    """CVE-2025-52881: the container's /proc is a bind with a decoy on /proc/sys; the write reaches the kernel anyway."""
    pid, decoys = covered_proc

    def edit(config: Config) -> None:
        config["mounts"][0] = {
            "destination": "/proc",
            "type": "bind",
            "source": "/proc",
            "options": ["rbind"],
        }
        config["mounts"].append({"destination": "/mnt", "type": "proc", "source": "proc"})
        config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "77", "kernel.domainname": "inside"}
        config["linux"]["readonlyPaths"] = config["linux"]["maskedPaths"] = []

    stage.runtime.command = ["nsenter", "-t", str(pid), "-m", "--", *stage.runtime.command]
    said = stage.show(
        "cd /mnt/sys; cat /proc/sys/net/ipv4/ip_default_ttl net/ipv4/ip_default_ttl kernel/domainname", edit
    )
    assert said.split() == ["decoy", "77", "inside"]
    assert (decoys / "net/ipv4/ip_default_ttl").read_text() == "decoy\n"


def test_sysctl_with_the_image_s_proc(stage: Stage, canary: Canary) -> None:
    """CVE-2025-52881: where nothing is mounted on /proc, files and links of the image are not kernel parameters."""

    def edit(config: Config) -> None:
        writable_root(config)
        config["mounts"][0]["destination"] = "/mnt"
        config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "77"}
        config["linux"]["readonlyPaths"] = config["linux"]["maskedPaths"] = []

    bundle = stage.bundle("cat", "/mnt/sys/net/ipv4/ip_default_ttl", "/decoy", edit=edit)
    decoy = bundle.rootfs / "proc/sys/net/ipv4/ip_default_ttl"
    decoy.parent.mkdir(parents=True)
    decoy.symlink_to("/decoy")
    (bundle.rootfs / "decoy").write_text("decoy\n")
    assert stage.container(bundle=bundle).run().ok().out == "77\ndecoy\n"


def test_oom_score_with_covered_proc(stage: Stage, covered_proc: tuple[int, Path]) -> None:
    """CVE-2025-52881: oom_score_adj is written by the runtime for init's pid, in the runtime's own /proc."""
    pid, decoys = covered_proc

    def edit(config: Config) -> None:
        with_namespace(config, "mount", f"/proc/{pid}/ns/mnt")
        config["process"]["oomScoreAdj"] = 500

    assert stage.show("cat /proc/self/oom_score_adj", edit) == "500\n"
    assert sorted(path.name for path in decoys.iterdir()) == ["kernel", "net"]


@pytest.mark.parametrize(
    "key",
    [
        "net/../kernel/panic",
        "net.ipv4.../../../sysrq-trigger",
        "../sysrq-trigger",
        "net//ipv4",
        "net/./ipv4",
        "kernel.panic",
    ],
)
def test_sysctl_that_is_not_the_container_s(stage: Stage, key: str) -> None:
    """CVE-2025-52881: a key that leads out of /proc/sys or belongs to the host is refused."""

    def edit(config: Config) -> None:
        config["linux"]["sysctl"] = {key: "1"}

    stage.container("true", edit=edit).run().refused("/linux/sysctl")


@pytest.mark.parametrize(("kind", "key"), [("network", "net.ipv4.ip_default_ttl"), ("ipc", "kernel.msgmax")])
def test_sysctl_of_the_host_s_namespace(stage: Stage, kind: str, key: str) -> None:
    """A namespace by path may be the host's own: then a sysctl would change the host, and is refused."""
    with open("/proc/sys/" + key.replace(".", "/"), encoding="ascii") as file:
        before = file.read()

    def edit(config: Config) -> None:
        with_namespace(config, kind, f"/proc/{os.getpid()}/ns/{'net' if kind == 'network' else kind}")
        config["linux"]["sysctl"] = {key: before.strip()}  # the same value: no harm if it is written

    stage.container("true", edit=edit).run().refused("/linux/namespaces", "runtime's own")


def test_names_of_the_host_s_namespace(stage: Stage) -> None:
    """The same for hostname and domainname in the host's own UTS namespace."""
    before = os.uname().nodename
    for name in ("hostname", "domainname"):

        def edit(config: Config, name: str = name) -> None:
            with_namespace(config, "uts", f"/proc/{os.getpid()}/ns/uts")
            del config["hostname"]
            config[name] = before  # as it is: no harm if it is set

        stage.container("true", edit=edit).run().refused("/linux/namespaces", "runtime's own")


def test_no_mount_over_proc_without_mount_namespace(stage: Stage, own_mounts: None) -> None:
    """CVE-2019-16884 for a container that is only chrooted."""

    def edit(config: Config) -> None:
        without_namespace(config, "mount")
        config["linux"].pop("maskedPaths")
        config["linux"].pop("readonlyPaths")
        config["mounts"] = [
            config["mounts"][0],
            {"destination": "/innocent", "type": "tmpfs", "source": "tmpfs"},
        ]

    bundle = stage.bundle("true", edit=edit)
    (bundle.rootfs / "innocent").symlink_to("/proc/self/attr")
    stage.container(bundle=bundle).run().refused("/mounts/1")
