# SPDX-License-Identifier: Apache-2.0
"""A root of a user namespace, with every capability there: what is the host's stays as it is (invariants 16, 17, 5)."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import Config, set_capabilities, with_namespace, with_users
from tests.security.test_binds import mount, mount_points, mount_shared, mounted_flags

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.stage import Stage


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of the host that shares its mounts and is ro, nosuid, nodev and noexec, with one below that is not."""
    point = tmp_path / "shared"
    mount_shared(point)
    (point / "below").mkdir()
    mount("-t", "tmpfs", "tmpfs", str(point / "below"))
    (point / "below" / "place").mkdir()
    (point / "below" / "place").chmod(0o777)
    mount("-o", "remount,ro,nosuid,nodev,noexec", str(point))
    yield point
    subprocess.run(["umount", "-R", str(point)], check=True)


def _edit(config: Config, source: Path, *options: str, mapped: bool) -> None:
    with_users(config)
    set_capabilities(config, "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_FOWNER")
    words = ["rbind", *options, *(["ridmap"] if mapped else [])]
    config["mounts"].append({"destination": "/mnt", "type": "bind", "source": str(source), "options": words})


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("propagation", ["", "shared", "rslave"])
def test_mounts_stay_in_the_container(stage: Stage, shared: Path, propagation: str, mapped: bool) -> None:
    """Invariant 16: what its root mounts on a bind of a shared tree does not appear on the host."""
    before = mount_points()
    options = (propagation,) if propagation else ()
    container = stage.container(
        "sh", "-c", "mount -t tmpfs inside /mnt/below/place && echo mounted; sleep 100",
        edit=lambda config: _edit(config, shared, *options, mapped=mapped),
    )  # fmt: skip
    container.create().ok()
    container.start().ok()
    container.wait_for_output("mounted")
    assert mount_points() == before
    container.delete("--force").ok()


@pytest.mark.parametrize("mapped", [False, True])
def test_flags_of_the_source_stay(stage: Stage, shared: Path, mapped: bool) -> None:
    """Invariant 17: they are no longer locked by the kernel, so that the runtime must keep what no option names.

    Also when it remounts; what an option names is cleared.
    """

    def edit(config: Config) -> None:
        _edit(config, shared, "exec", "noatime", mapped=mapped)
        config["mounts"].append(
            {"destination": "/mnt", "type": "none", "options": ["remount", "bind", "nosymfollow"]}
        )
        config["linux"]["readonlyPaths"] += ["/mnt/below"]

    text = stage.show("cat /proc/self/mountinfo", edit=edit)
    assert {"ro", "nosuid", "nodev", "noatime", "nosymfollow"} <= mounted_flags(text, "/mnt")
    assert "noexec" not in mounted_flags(text, "/mnt")
    assert "ro" in mounted_flags(text, "/mnt/below")


def test_devices_of_the_host_are_not_its_own(stage: Stage) -> None:
    """What it changes of its /dev/null is not the host's; what it must not open, no mode and no owner opens."""

    def edit(config: Config) -> None:
        with_users(config)
        set_capabilities(config, "CAP_FOWNER", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_MKNOD", "CAP_SYS_ADMIN")
        config["linux"]["devices"] = [{"path": "/dev/mem", "type": "c", "major": 1, "minor": 1}]

    before = os.stat("/dev/null")
    script = (
        "chown 7:8 /dev/null; chmod 0600 /dev/null; stat -c '%u:%g %a' /dev/null; mknod /dev/shm/x c 1 3 || echo none;"
        "head -c 1 /dev/mem > /dev/shm/y || echo closed"
    )
    assert stage.show(script, edit=edit).split() == ["7:8", "600", "none", "closed"]
    after = os.stat("/dev/null")
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)


def test_a_waiting_init_is_closed_to_its_own_root(stage: Stage) -> None:
    """A process that shares its namespaces, and may trace there, can't reach its memory, nor the host through it."""
    waiting = stage.container("true", edit=with_users)
    waiting.create().ok()
    pid = waiting.state()["pid"]

    def edit(config: Config) -> None:
        with_users(config, path=f"/proc/{pid}/ns/user")
        with_namespace(config, "pid", f"/proc/{pid}/ns/pid")
        set_capabilities(config, "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_SYS_ADMIN")

    script = (
        "grep -c ociruntim /proc/1/comm; for path in root exe cwd ns/mnt; do readlink /proc/1/$path && echo open; done;"
        "ls /proc/1/fd; ls /proc/1/map_files; cat /proc/1/mem /proc/1/environ; nsenter -t 1 -m true && echo open; echo end"
    )
    assert stage.show(script, edit=edit).split() == ["1", "end"]
    waiting.delete("--force").ok()


def test_device_does_not_cover_procfs(stage: Stage) -> None:
    """A device of a user namespace is mounted, and so could be put over a file of /proc (invariant 8)."""

    def edit(config: Config) -> None:
        with_users(config)
        device = {"type": "c", "path": "/proc/version", "major": 1, "minor": 3}
        config["linux"]["devices"] = [device]

    stage.container("true", edit=edit).create().refused("/linux/devices/0", "where nothing may be covered")
