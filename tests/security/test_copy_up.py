# SPDX-License-Identifier: Apache-2.0
"""tmpcopyup copies what an image has put somewhere: does it follow, block, or fill anything? (invariant 19)"""

from __future__ import annotations

import os
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import Config, add_bind, writable_root

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.bundle import Bundle
    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.security.conftest import Canary


def _bundle(stage: Stage, *args: str, size: str = "") -> Bundle:
    def edit(config: Config) -> None:
        writable_root(config)
        options = ["tmpcopyup", "nosuid", "nodev", *([f"size={size}"] if size else [])]
        config["mounts"].append(
            {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options}
        )

    bundle = stage.bundle(*args, edit=edit)
    (bundle.rootfs / "data").mkdir()
    return bundle


def test_links_are_copied_and_not_followed(stage: Stage, canary: Canary) -> None:
    """A link to a host file becomes a link; the host's file is neither read nor changed."""
    script = "readlink /data/file; readlink /data/up; cat /data/file 2>&1 | grep -c 'canary file'"
    bundle = _bundle(stage, "sh", "-c", script)
    (bundle.rootfs / "data/file").symlink_to(f"{canary}/file")
    (bundle.rootfs / "data/up").symlink_to("../../../../../../../..")
    out = stage.container(bundle=bundle).run().out
    assert out.splitlines() == [f"{canary}/file", "../../../../../../../..", "0"]
    canary.check()


def test_directory_is_a_link(stage: Stage, canary: Canary) -> None:
    """The directory itself as a link to the host: the host's files are not copied into the container."""
    bundle = _bundle(stage, "sh", "-c", "ls -R /data")
    (bundle.rootfs / "data").rmdir()
    (bundle.rootfs / "data").symlink_to(str(canary))
    result = stage.container(bundle=bundle).run()
    assert "ptmx" not in result.out
    canary.check()


def test_odd_files(stage: Stage) -> None:
    """FIFOs, sockets and devices are made again and not opened: create does not wait for a writer."""
    bundle = _bundle(stage, "sh", "-c", "ls /data; [ -p /data/fifo ] && cat /data/zero")
    data = bundle.rootfs / "data"
    os.mkfifo(data / "fifo")
    os.mknod(data / "zero", 0o020666, os.makedev(1, 5))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(data / "socket"))
    result = stage.container(bundle=bundle).run()
    assert result.out.split() == ["fifo", "socket", "zero"]
    assert result.code != 0  # nodev: the device of the image can't be opened


def test_more_than_fits(stage: Stage) -> None:
    """A directory that is larger than the tmpfs is an error that names the mount; a sparse terabyte is one too."""
    bundle = _bundle(stage, "true", size="1m")
    (bundle.rootfs / "data/large").write_bytes(b"x" * (2 << 20))
    stage.container(bundle=bundle).run().refused("/mounts/7")
    (bundle.rootfs / "data/large").unlink()
    with open(bundle.rootfs / "data/sparse", "wb") as file:
        file.truncate(1 << 40)
    stage.container(bundle=bundle).run().refused("/mounts/7")


def test_deep_directories(stage: Stage) -> None:
    """Two hundred levels of directories do not overflow init's stack: copied or refused."""
    bundle = _bundle(stage, "true")
    here = os.open(bundle.rootfs / "data", os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    result = stage.container(bundle=bundle).run()
    assert result.code in (0, 1)
    assert "Traceback" not in result.err
    assert "signal" not in result.err


def test_owners_and_modes(stage: Stage, tmp_path: Path) -> None:
    """Owners and modes are copied, and nothing of the source is changed, even when it is a bind of the host."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "set").write_text("x")
    os.chown(volume / "set", 1234, 4321)
    (volume / "set").chmod(0o6751)

    def look() -> tuple[int, int, int, int, str]:
        status = (volume / "set").stat()  # but for the time of the last access: it has been read
        return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, (volume / "set").read_text()

    before = look()

    def edit(config: Config) -> None:
        add_bind(config, str(volume), "/data")
        config["mounts"].append(
            {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
        )

    assert stage.show("stat -c '%a %u %g' /data/set; rm /data/set", edit) == "6751 1234 4321\n"
    assert look() == before


PAIRS, RUNS = 20, 25
TRUSTED, ATTACKERS = "4755 0 trusted", "755 1000 attacker's"


def _over_volume(volume: Path, *options: str) -> Callable[[Config], None]:
    """A tmpfs with the content of a volume, which is bound with these options."""

    def edit(config: Config) -> None:
        add_bind(config, str(volume), "/data", *options)
        config["mounts"].append(
            {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}
        )

    return edit


def _trusted(path: Path) -> None:
    path.write_text("trusted\n")
    path.chmod(0o4755)


def _attackers(path: Path) -> None:
    path.write_text("attacker's\n")
    path.chmod(0o755)
    os.chown(path, 1000, 1000)


def _directory(path: Path) -> None:
    path.mkdir()
    path.chmod(0o6777)
    os.chown(path, 1000, 1000)


OTHERS: dict[str, Callable[[Path], None]] = {
    "a file": _attackers,
    "a directory": _directory,
    "a FIFO": os.mkfifo,
    "a link": lambda path: path.symlink_to("/etc/passwd"),
    "a device": lambda path: os.mknod(path, 0o020666, os.makedev(1, 5)),
}


@pytest.mark.parametrize("other", OTHERS)
def test_exchanged_names(stage: Stage, attack: Path, tmp_path: Path, other: str) -> None:
    """A set-user-ID file of root's has root's content, however fast its name and another one are exchanged."""
    volume = tmp_path / "volume"
    volume.mkdir()
    for number in range(PAIRS):
        _trusted(volume / f"a{number}")
        OTHERS[other](volume / f"b{number}")
    script = 'for f in /data/*; do [ -f $f ] && [ ! -L $f ] && echo $(stat -c "%a %u" $f) $(cat $f); done; :'
    bundle = stage.bundle("sh", "-c", script, edit=_over_volume(volume))
    attacker = subprocess.Popen([attack, "swaps", volume, str(PAIRS)])
    seen: set[str] = set()
    try:
        for _ in range(RUNS if other == "a file" else 8):
            seen.update(stage.container(bundle=bundle).run().ok().out.splitlines())
        assert attacker.poll() is None, "the attacker has given up"
    finally:
        attacker.kill()
        attacker.wait()
    assert seen == {TRUSTED} | ({ATTACKERS} if other == "a file" else set())


def test_what_gives_no_privileges_gives_none_as_a_copy(stage: Stage, tmp_path: Path) -> None:
    """From a nosuid and nodev mount no set-user-ID bit, capability or device gets into a tmpfs without these options."""
    volume = tmp_path / "volume"
    volume.mkdir()
    _trusted(volume / "set")
    _attackers(volume / "able")
    os.setxattr(volume / "able", "security.capability", CAPABILITY)
    os.mknod(volume / "zero", 0o020666, os.makedev(1, 5))
    (volume / "directory").mkdir()
    (volume / "directory").chmod(0o2755)
    container = stage.container("sleep", "1000", edit=_over_volume(volume, "nosuid", "nodev"))
    assert _copied(container, "set")[:2] == (0o100755, 0)
    assert _copied(container, "able") == (0o100755, 1000, {})
    assert _copied(container, "directory")[0] == 0o042755  # the group of new files, no privilege
    assert not os.path.lexists(f"/proc/{container.state()['pid']}/root/data/zero")


def test_what_the_descriptor_says(stage: Stage, tmp_path: Path) -> None:
    """Without these words a copy is what the original is: capabilities, ACLs, times, also of directories."""
    volume = tmp_path / "volume"
    (volume / "directory").mkdir(parents=True)
    _attackers(volume / "able")
    os.setxattr(volume / "able", "security.capability", CAPABILITY)
    acl = bytes.fromhex(
        "02000000 0100 0600 ffffffff 0200 0400 39300000 0400 0000 ffffffff 1000 0400 ffffffff 2000 0000 ffffffff"
    )
    os.setxattr(volume / "directory", "system.posix_acl_access", acl)
    for name in ("able", "directory"):
        os.utime(volume / name, (12345, 23456))
    container = stage.container("sleep", "1000", edit=_over_volume(volume))
    assert _copied(container, "able") == (0o100755, 1000, {"security.capability": CAPABILITY})
    mode, _, attributes = _copied(container, "directory")
    assert (mode, attributes) == (0o040640, {"system.posix_acl_access": acl})
    for name in ("able", "directory"):
        assert os.stat(f"/proc/{container.state()['pid']}/root/data/{name}").st_mtime == 23456


CAPABILITY = bytes.fromhex("01000002 00200000 00000000 00000000 00000000")  # CAP_NET_RAW, effective


def _copied(container: Container, name: str) -> tuple[int, int, dict[str, bytes]]:
    """Mode, owner and attributes of a copy; starts the container."""
    if not container.created:
        container.create().ok()
        container.start().ok()
    path = f"/proc/{container.state()['pid']}/root/data/{name}"
    status = os.stat(path)
    names = [one for one in os.listxattr(path) if one != "security.selinux"]
    return status.st_mode, status.st_uid, {one: os.getxattr(path, one) for one in names}
