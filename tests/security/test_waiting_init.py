# SPDX-License-Identifier: Apache-2.0
"""What can be done to the runtime's own processes in a container, before they have become its program?"""

from __future__ import annotations

import os
import shutil
import stat
from typing import TYPE_CHECKING

from tests.harness.configuration import Config, add_hook, with_namespace

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.driver import Container
    from tests.harness.stage import Stage


def _watcher(
    stage: Stage, attack: Path, uid: int, users: Callable[[Config], None] | None = None
) -> Container:
    """A running container whose pid 1 tries to get at every process that appears in its pid namespace."""

    def edit(config: Config) -> None:
        if users is not None:
            users(config)
        config["process"]["user"] = {"uid": uid, "gid": uid}
        config["process"]["rlimits"] = []

    bundle = stage.bundle("/attack", "watch", "30", edit=edit)
    shutil.copy(attack, bundle.rootfs / "attack")
    watcher = stage.container(bundle=bundle)
    watcher.create().ok()
    watcher.start().ok()
    watcher.wait_for_output("watching")
    return watcher


def _create_beside(stage: Stage, watcher: Container, uid: int, **hooks: str) -> Container:
    """A container, created only, in the watcher's pid namespace and with its user."""
    pid = watcher.state()["pid"]

    def edit(config: Config) -> None:
        with_namespace(config, "pid", f"/proc/{pid}/ns/pid")
        config["process"]["user"] = {"uid": uid, "gid": uid}
        config["process"]["rlimits"] = []
        for kind, program in hooks.items():
            add_hook(config, kind, program)

    container = stage.container("sleep", "1", edit=edit)
    container.create().ok()
    return container


def _attack_creates(stage: Stage, attack: Path, uid: int) -> None:
    watcher = _watcher(stage, attack, uid)
    for _ in range(6):
        _create_beside(stage, watcher, uid, createContainer="/bin/true").delete("--force").ok()
    watcher.kill("KILL").ok()
    watcher.wait_for("stopped")
    lines = watcher.output().splitlines()
    watcher.delete().ok()
    assert sum(line.endswith(" appeared") for line in lines) >= 6, lines
    assert [line for line in lines if not line.endswith((" appeared", "watching"))] == []


def test_created_by_root_beside_an_attacker(stage: Stage, attack: Path) -> None:
    """Same pid namespace, same user root: init, helper and hooks can't be traced, read or entered before the exec."""
    _attack_creates(stage, attack, 0)


def test_created_by_user_beside_an_attacker(stage: Stage, attack: Path) -> None:
    """The same for a container whose process.user is an ordinary one, and the attacker is that user."""
    _attack_creates(stage, attack, 1000)


def test_waiting_init_is_not_dumpable(stage: Stage) -> None:
    """Invariant 1: the files of the waiting init in /proc belong to root although it runs as the user."""

    def edit(config: Config) -> None:
        config["process"]["user"] = {"uid": 1000, "gid": 1000}
        config["process"]["rlimits"] = []

    container = stage.container("sleep", "100", edit=edit)
    container.create().ok()
    pid = container.state()["pid"]
    assert os.stat(f"/proc/{pid}").st_uid in (0, 1000)
    assert os.stat(f"/proc/{pid}/mem").st_uid == 0
    container.start().ok()
    assert os.stat(f"/proc/{pid}/mem").st_uid == 1000  # the program is itself again
    container.delete("--force").ok()


def test_state_is_root_s_alone(stage: Stage) -> None:
    """Only its owner can enter the state directory, and read its files."""
    before = os.umask(0)
    try:
        container = stage.in_state("created")
    finally:
        os.umask(before)
    place = stage.runtime.root / container.id
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE(stage.runtime.root.stat().st_mode) == 0o700
    for path in place.iterdir():
        if not stat.S_ISSOCK(path.stat().st_mode):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    container.delete("--force").ok()


def test_start_socket_is_not_reachable_from_inside(stage: Stage) -> None:
    """A process beside a waiting init finds no socket of the runtime: neither by a name nor in the container's files."""
    victim = stage.in_state("created")
    state = victim.state()

    def edit(config: Config) -> None:
        for kind in ("pid", "network", "ipc"):
            with_namespace(config, kind, f"/proc/{state['pid']}/ns/{'net' if kind == 'network' else kind}")

    said = stage.show(
        "grep -c @ /proc/net/unix; find / -type s; ls /proc/1/root/ 2>&1; echo looked", edit=edit
    )
    assert said.splitlines() == ["0", "ls: /proc/1/root/: Permission denied", "looked"]
    assert victim.status() == "created"
    victim.delete("--force").ok()
