# SPDX-License-Identifier: Apache-2.0
"""tmpcopyup copies what an image has put somewhere: does it follow, block, or fill anything?"""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from tests.harness.configuration import Config, add_bind, writable_root

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.bundle import Bundle
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
    """Owners and modes are copied, and nothing of the source is changed, also when it is a bind of the host."""
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
