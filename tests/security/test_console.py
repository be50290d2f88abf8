# SPDX-License-Identifier: Apache-2.0
"""Invariant 22: what can the image, or a shared volume, put at /dev/console, /dev/pts and /dev/null?

CVE-2025-52565 (another file than the terminal is bound), CVE-2026-88264 (a file is made outside), CVE-2026-88265
(a file of someone else is given to the user).
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

import ociruntime
from ociruntime import Options
from ociruntime.bundle import Bundle
from ociruntime.errors import RuntimeFailure
from tests.harness.configuration import Config, add_bind, default_config, writable_root
from tests.harness.stage import new_id
from tests.harness.terminals import Client, Receiver, Screen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.bundle import Bundle as Files
    from tests.harness.driver import Result
    from tests.harness.stage import Stage
    from tests.security.conftest import Canary

CREATES = 200
SHOW = "tty; ls -ln /dev/console 2>&1; [ /dev/console -ef $(tty) ] && echo the same"


def terminal(config: Config) -> None:
    """A terminal, of a devpts on the image's own /dev; without masks, which need a /dev/null."""
    writable_root(config)
    config["process"]["terminal"] = True
    config["linux"]["maskedPaths"] = []
    config["mounts"] = [entry for entry in config["mounts"] if entry["destination"] in ("/proc", "/dev/pts")]


def attempt(stage: Stage, bundle: Files) -> tuple[Result, str]:
    """Create and, if that worked, what the program printed on its terminal."""
    container = stage.container(bundle=bundle)
    receiver = Receiver(stage.directory / "console.sock")
    try:
        created = container.create("--console-socket", str(receiver.path))
        if created.code != 0:
            return created, ""
        screen = Screen(receiver.receive()[1][0])
        container.start().ok()
        text = screen.rest().replace("\r\n", "\n")
        container.wait_for("stopped")
        container.delete().ok()
        return created, text
    finally:
        receiver.close()


@pytest.mark.parametrize(
    "target", ["{canary}/file", "{canary}/new", "../../../../../..{canary}/file", "/etc/passwd"]
)
def test_console_is_a_link(stage: Stage, canary: Canary, target: str) -> None:
    """CVE-2026-88264: a link at /dev/console is refused: nothing is made or covered behind it, outside or inside."""
    bundle = stage.bundle("sh", "-c", SHOW, edit=terminal)
    (bundle.rootfs / "dev/console").symlink_to(target.format(canary=canary))
    created, _ = attempt(stage, bundle)
    created.refused("/process/terminal", "bind terminal on /dev/console", "symbolic link")
    canary.check()
    assert stage.runtime.ids() == []


def test_dev_is_a_link(stage: Stage, canary: Canary) -> None:
    """CVE-2026-88264: a /dev that leads out is looked up in the root, and the console is made there."""
    bundle = stage.bundle("sh", "-c", SHOW, edit=terminal)
    (bundle.rootfs / "dev").rmdir()
    (bundle.rootfs / "dev").symlink_to(str(canary))
    created, text = attempt(stage, bundle)
    canary.check()
    created.ok()
    assert text.splitlines()[0].endswith("/canary/pts/0")
    assert text.endswith("the same\n")
    assert (bundle.rootfs / str(canary).lstrip("/") / "console").is_file()


@pytest.mark.parametrize("kind", ["file", "device", "fifo", "directory"])
def test_console_of_the_image(stage: Stage, kind: str) -> None:
    """What is at /dev/console already is covered and not touched; on a directory the bind is refused."""
    bundle = stage.bundle("sh", "-c", SHOW, edit=terminal)
    console = bundle.rootfs / "dev/console"
    if kind == "file":
        console.write_text("of the image\n")
    elif kind == "device":
        os.mknod(console, stat.S_IFCHR | 0o600, os.makedev(5, 1))
    elif kind == "fifo":
        os.mkfifo(console)
    else:
        console.mkdir()
    os.chown(console, 12345, 12345)
    before = console.lstat()
    created, text = attempt(stage, bundle)
    after = console.lstat()
    assert (before.st_ino, before.st_mode, before.st_uid) == (after.st_ino, after.st_mode, after.st_uid)
    if kind == "directory":
        created.refused("bind terminal on /dev/console", "ENOTDIR")
    else:
        assert text.endswith("the same\n")
        assert "136,   0" in text


@pytest.mark.parametrize("there", [True, False])
def test_dev_is_a_volume(stage: Stage, tmp_path: Path, there: bool) -> None:
    """In a /dev that shows the host's files no console is made; one that is there is covered in the container only."""
    volume = tmp_path / "volume"
    (volume / "pts").mkdir(parents=True)
    if there:
        (volume / "console").write_text("of somebody\n")
        os.chown(volume / "console", 12345, 12345)

    def edit(config: Config) -> None:
        terminal(config)
        add_bind(config, str(volume), "/dev")
        config["mounts"].sort(key=lambda entry: str(entry["destination"]))

    created, text = attempt(stage, stage.bundle("sh", "-c", SHOW, edit=edit))
    created.ok()
    assert text.startswith("/dev/pts/0\n")
    assert text.endswith("the same\n") is there
    assert sorted(os.listdir(volume)) == ["console", "pts"] if there else ["pts"]
    if there:
        assert (volume / "console").read_text() == "of somebody\n"
        assert (volume / "console").stat().st_uid == 12345


@pytest.mark.parametrize("kind", ["fifo", "zero", "link", "file"])
def test_pts_of_the_image(stage: Stage, canary: Canary, kind: str) -> None:
    """A /dev/pts that is not a devpts is refused, and nothing in it is opened: a FIFO would hang, a device may do more."""

    def edit(config: Config) -> None:
        terminal(config)
        config["mounts"] = config["mounts"][:1]

    bundle = stage.bundle("true", edit=edit)
    ptmx = bundle.rootfs / "dev/pts/ptmx"
    ptmx.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(ptmx)
    elif kind == "zero":
        os.mknod(ptmx, stat.S_IFCHR | 0o666, os.makedev(5, 2))
    elif kind == "link":
        ptmx.symlink_to(f"{canary}/ptmx")
    else:
        ptmx.touch()
    attempt(stage, bundle)[0].refused("open terminal", "/dev/pts in the container is not a devpts")
    canary.check()


def test_a_mount_over_ptmx(stage: Stage, canary: Canary) -> None:
    """A file that the config mounts over the ptmx of a true devpts is not taken for it."""

    def edit(config: Config) -> None:
        terminal(config)
        add_bind(config, f"{canary}/ptmx", "/dev/pts/ptmx")

    attempt(stage, stage.bundle("true", edit=edit))[0].refused("open terminal", "EXDEV")
    canary.check()


@pytest.mark.parametrize("wanted", [True, False])
def test_owner_of_the_streams(stage: Stage, tmp_path: Path, wanted: bool) -> None:
    """CVE-2026-88265: the terminal, or a file that is open for writing, becomes the user's; neither the caller's terminal
    nor his /dev/null does (what else does not: test_stream_owner.py).
    """

    def edit(config: Config) -> None:
        config["process"].update(user={"uid": 1000, "gid": 1000}, terminal=wanted)

    bundle = stage.bundle("stat", "-L", "-c", "%u", "/proc/self/fd/0", edit=edit)
    output = tmp_path / "output"
    output.touch()
    os.chown(output, 12345, 12345)
    null = os.stat(os.devnull)
    if wanted:
        client = Client(stage.runtime.argv("run", "--bundle", str(bundle.directory), new_id()))
        caller = os.fstat(client.terminal).st_uid
        try:
            assert client.wait() == 0
            assert client.text.split() == ["1000"]
            assert os.fstat(client.terminal).st_uid == caller
        finally:
            client.close()
    else:
        with open(output, "wb") as file:
            stage.runtime.call("run", "--bundle", str(bundle.directory), new_id(), out=file, err=file).ok()
        assert output.read_text() == "0\n"
    assert output.stat().st_uid == (12345 if wanted else 1000)
    assert os.stat(os.devnull).st_uid == null.st_uid
    assert os.stat(os.devnull).st_mode == null.st_mode


def test_null_of_the_image(stage: Stage, canary: Canary) -> None:
    """CVE-2026-88265: a /dev/null that is a link, or a file, is not a stream and keeps its owner."""
    for kind in ("link", "file"):
        bundle = stage.bundle("true", edit=terminal)
        bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
        bundle.write()
        null = bundle.rootfs / "dev/null"
        if kind == "link":
            null.symlink_to(f"{canary}/null")
        else:
            null.write_text("of the image\n")
            os.chown(null, 12345, 12345)
        before = null.lstat().st_uid
        attempt(stage, bundle)
        assert null.lstat().st_uid == before
        canary.check()


@pytest.fixture
def exchanged(tmp_path: Path, attack: Path, canary: Canary) -> Iterator[Path]:
    """A shared volume in which console, and pts, are by turns what they should be and links to the canary."""
    volume = tmp_path / "volume"
    (volume / "pts").mkdir(parents=True)
    (volume / "console").touch()
    (volume / "console-link").symlink_to(f"{canary}/console")
    (volume / "pts-link").symlink_to(str(canary))
    processes = [
        subprocess.Popen([attack, "swap", volume / name, volume / f"{name}-link"])
        for name in ("console", "pts")
    ]
    yield volume
    for process in processes:
        alive = process.poll() is None
        process.kill()
        process.wait()
        assert alive, "the attacker has given up"


def _look(pid: int) -> bool:
    """Whether /dev/console was bound; what was bound is the terminal that the container has, and nothing else."""
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:
        lines = [line.split() for line in file]
    streams = {os.stat(f"/proc/{pid}/fd/{number}").st_rdev for number in range(3)}
    (device,) = streams
    assert os.major(device) == 136
    bound = [line for line in lines if line[4].endswith("/console")]
    for line in bound:
        assert line[3] == f"/{os.minor(device)}", line
        assert line[line.index("-") + 1] == "devpts", line
    return bool(bound)


@pytest.mark.slow
def test_exchanged_console(stage: Stage, exchanged: Path, canary: Canary) -> None:
    """CVE-2025-52565 under race: in 200 creates either the terminal is bound, in the container, or create is refused."""
    bundle = stage.bundle("true")
    config = default_config("sleep", "100")
    terminal(config)
    config["root"]["path"] = str(bundle.rootfs)
    config["linux"] = {"namespaces": [{"type": "pid"}, {"type": "mount"}]}
    config["process"]["rlimits"] = []
    del config["hostname"]
    add_bind(config, str(exchanged), "/dev")
    config["mounts"].sort(key=lambda entry: str(entry["destination"]))
    loaded = Bundle(str(bundle.directory), str(bundle.config_file), json.dumps(config).encode())
    options = Options(new_id(), cgroup_manager="disabled", no_new_keyring=True)
    bound, refused = 0, []
    for _ in range(CREATES):
        try:
            created = ociruntime.create(str(stage.runtime.root), loaded, options, keep_terminal=True)
        except RuntimeFailure as failure:
            refused.append(str(failure))
            continue
        bound += _look(created.pid)
        os.close(created.terminal)
        created.delete(force=True)
        created.reap()
    canary.check()
    assert bound, refused[:3]
    assert any("symbolic link" in one or "devpts" in one or "ENOENT" in one for one in refused), refused[:3]
