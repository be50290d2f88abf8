# SPDX-License-Identifier: Apache-2.0
"""--no-pivot: the host's root stays below the container's. Do the mounts there help a program past the masks? (invariant 18)

A procfs or sysfs may be mounted in a user namespace by anyone who sees a whole one in their mount namespace, even
where no path leads to it. Each attack succeeds where the host's is left (mount_too_revealing in the
kernel). Files are opened for writing, and nothing is written.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from typing import TYPE_CHECKING

import pytest

from tests.harness.apart import own_mounts
from tests.harness.configuration import (
    CAPABILITY_SETS,
    Config,
    set_capabilities,
    with_namespace,
    with_users,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.stage import Stage

PATTERN = "/proc/sys/kernel/core_pattern"
PROC = f"unshare -Urmpf sh -c 'mount -t proc none /proc && : >>{PATTERN} && echo OPEN'"
BARE = "unshare -Urmpf sh -c 'mount -t proc none /proc && echo OPEN'"
SYSFS = "unshare -Urmn sh -c 'mount -t sysfs none /sys && echo OPEN'"


def _may_make_namespaces(config: Config) -> None:
    """As many capabilities as a default container of an engine has, which unshare needs to write its maps."""
    for name in CAPABILITY_SETS:
        config["process"]["capabilities"].setdefault(name, []).append("CAP_SETFCAP")


def _as_user(config: Config) -> None:
    config["process"]["user"] = {"uid": 1000, "gid": 1000}
    set_capabilities(config)


def _host(stage: Stage, script: str = ":", propagation: str = "private") -> None:
    """The runtime runs in a mount namespace of its own, in which a script has mounted something before."""
    words = ["unshare", "-m", "--propagation", propagation, "sh", "-ec", f'{script}; exec "$@"', "sh"]
    stage.runtime.command = [*words, *stage.runtime.command]


# What the host has mounted beside its own /proc and /sys; $D is a directory.
HOSTS = {
    "plain": ":",
    "elsewhere": "mkdir $D/x; mount -t proc proc $D/x; mkdir $D/y; mount --bind /sys $D/y",
    "name with a space": r"mkdir $D/'a b\c'; mount -t proc proc $D/'a b\c'",
    "several on one place": "mount --bind /proc /proc; mount --bind /proc /proc; mount --rbind /sys /sys",
    "hidden": "mkdir -p $D/h/x; mount -t proc proc $D/h/x; mount -t tmpfs tmpfs $D/h",
    "hidden twice": "mkdir -p $D/h/x; mount -t proc proc $D/h/x; mount -t tmpfs tmpfs $D/h; mount -t tmpfs tmpfs $D/h",
    "below the rootfs": "mkdir $D/r; mount --bind $D $D/r; mount -t proc proc $D/r",
    "of another container": "mkdir $D/o; mount -t tmpfs tmpfs $D/o; mkdir $D/o/p; mount -t proc proc $D/o/p; mount --rbind $D/o $D",
    "partly covered": "mount -t tmpfs tmpfs /proc/sys; mkdir $D/x; mount -t proc proc $D/x",
}


@pytest.mark.parametrize("host", HOSTS)
def test_no_whole_procfs(stage: Stage, tmp_path: Path, host: str) -> None:
    """A procfs or sysfs that is mounted in the container keeps the container's masks, whatever the host has mounted."""
    (tmp_path / "host").mkdir()
    _host(stage, f"D={tmp_path}/host; {HOSTS[host]}")
    container = stage.container("sh", "-c", f"{PROC}; {SYSFS}; echo end", edit=_may_make_namespaces)
    assert container.run("--no-pivot").ok().out == "end\n"


def test_a_procfs_that_is_mounted_over_the_rootfs_before(stage: Stage) -> None:
    """One that the new root lay on, so that its name was the new root's until that was moved."""
    bundle = stage.bundle("sh", "-c", f"{PROC}; echo end", edit=_may_make_namespaces)
    script = f"mount --bind {bundle.rootfs} {bundle.rootfs}; mount -t proc proc {bundle.rootfs}/opt"
    _host(stage, f"{script}; mount --bind {bundle.rootfs} {bundle.rootfs}")
    assert stage.container(bundle=bundle).run("--no-pivot").ok().out == "end\n"


def test_a_user_without_capabilities(stage: Stage) -> None:
    """The same for a program that is not root and has no capability at all."""
    _host(stage)
    container = stage.container("sh", "-c", f"{BARE}; {SYSFS}; echo end", edit=_as_user)
    assert container.run("--no-pivot").ok().out == "end\n"


@pytest.mark.parametrize("host", ["plain", "elsewhere", "several on one place", "partly covered"])
def test_in_a_user_namespace(stage: Stage, searchable: Path, host: str) -> None:
    """Where the host's mounts are locked they are covered: a namespace below the container's sees no whole one."""
    _host(stage, f"D={searchable}; {HOSTS[host]}")

    def edit(config: Config) -> None:
        with_users(config)
        set_capabilities(config, "CAP_SYS_ADMIN", "CAP_SETFCAP", "CAP_SETUID", "CAP_SETGID")

    # uid 0 of the nested namespace is not the host's root: nothing of it may be opened for writing anyway
    script = f"{BARE}; {SYSFS}; echo end"
    assert stage.container("sh", "-c", script, edit=edit).run("--no-pivot").ok().out == "end\n"


def test_hidden_in_a_user_namespace(stage: Stage, searchable: Path) -> None:
    """What can neither be unmounted nor covered is an error, and not a container whose masks have no effect."""
    _host(stage, f"D={searchable}; {HOSTS['hidden']}")
    result = stage.container("true", edit=with_users).run("--no-pivot")
    result.refused("move root", "procfs or sysfs of the host", "neither unmounted nor covered")


@pytest.fixture
def shared_host(stage: Stage) -> Iterator[list[str]]:
    """A mount namespace that shares its mounts with its copies; a command prefix that enters it."""
    with own_mounts(stage, "shared") as prefix:
        yield prefix


@pytest.fixture
def on_the_root_mount() -> Iterator[str]:
    """A directory of the host's root mount: the tests' own lie in a tmpfs, which is taken off with what is mounted below it."""
    directory = tempfile.mkdtemp(prefix="oci-", dir="/")
    yield directory
    os.rmdir(directory)


def test_what_the_host_mounts_later(stage: Stage, shared_host: list[str], on_the_root_mount: str) -> None:
    """A procfs that the host mounts while the container exists does not arrive in its mount namespace."""
    # the root file system on a mount of its own: the one below which it lies is made private anyway
    own = str(stage.directory)
    subprocess.run([*shared_host, "mount", "--bind", own, own], check=True)
    container = stage.container("sh", "-c", f"{PROC}; echo end", edit=_may_make_namespaces)
    container.create("--no-pivot").ok()
    subprocess.run([*shared_host, "mount", "-t", "proc", "proc", on_the_root_mount], check=True)
    container.start().ok()
    container.wait_for("stopped")
    assert container.output() == "end\n"
    container.delete().ok()


def test_the_host_keeps_its_mounts(stage: Stage, shared_host: list[str], tmp_path: Path) -> None:
    """What is taken away in the container's namespace stays on the host, even where mounts are shared."""
    command = [*shared_host, "cat", "/proc/self/mountinfo"]
    before = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert stage.container("echo", "fine").run("--no-pivot").ok().out == "fine\n"
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout == before


def test_a_joined_mount_namespace(stage: Stage) -> None:
    """In a mount namespace that the config names the rule is the same."""
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", "echo ready; exec sleep 1000"]
    sleeper = subprocess.Popen(words, stdout=subprocess.PIPE)
    assert sleeper.stdout is not None
    assert sleeper.stdout.readline() == b"ready\n"

    def edit(config: Config) -> None:
        _may_make_namespaces(config)
        with_namespace(config, "mount", f"/proc/{sleeper.pid}/ns/mnt")

    try:
        container = stage.container("sh", "-c", f"{PROC}; {SYSFS}; echo end", edit=edit)
        assert container.run("--no-pivot").ok().out == "end\n"
    finally:
        sleeper.kill()
        sleeper.wait()
        sleeper.stdout.close()


@pytest.mark.parametrize("flags", [(), ("--no-pivot",)])
def test_the_runtime_s_own_mount_namespace(stage: Stage, flags: tuple[str, ...]) -> None:
    """A config that names it would give the host another root: it is refused, and the host keeps its mounts."""
    script = 'cat /proc/self/mountinfo >before; "$@"; code=$?; cat /proc/self/mountinfo | cmp - before && exit $code'
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", f"cd {stage.directory}; {script}", "sh"]
    stage.runtime.command = [*words, *stage.runtime.command]

    def edit(config: Config) -> None:
        with_namespace(config, "mount", "/proc/self/ns/mnt")

    result = stage.container("true", edit=edit).run(*flags)
    result.refused("/linux/namespaces/4/path", "the runtime's own mount namespace")


def test_a_runtime_in_a_chroot(stage: Stage, tmp_path: Path) -> None:
    """The new root covers the namespace's own "/", so that exec is in it too, and nothing above the chroot is left."""
    cage = tmp_path / "cage"
    cage.mkdir()
    _host(stage, f'mount --rbind / {cage}; exec chroot {cage} "$@"')
    script = f"{PROC}; {SYSFS}; echo end; exec sleep 1000"
    container = stage.container("sh", "-c", script, edit=_may_make_namespaces)
    container.create("--no-pivot").ok()
    container.start().ok()
    container.wait_for_output("end")
    assert container.output() == "end\n"
    assert container.exec("ls", "/").ok().out == stage.show("ls /")
    container.delete("--force").ok()


def test_a_root_with_chroot(stage: Stage, attack: Path) -> None:
    """CAP_SYS_CHROOT alone does not lead out: above the new root is nothing but the new root."""
    _host(stage)
    bundle = stage.bundle("/attack", "climb", edit=lambda config: set_capabilities(config, "CAP_SYS_CHROOT"))
    shutil.copy(attack, bundle.rootfs / "attack")
    seen = stage.container(bundle=bundle).run("--no-pivot").ok().out.split()
    assert set(seen) - {".", ".."} == {path.name for path in bundle.rootfs.iterdir()}
