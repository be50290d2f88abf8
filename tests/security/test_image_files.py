# SPDX-License-Identifier: Apache-2.0
"""Invariant 28: what the runtime reads, writes and prints of hostile origin: files of the image, links, text."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import Config, add_hook

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.stage import Stage
    from tests.security.conftest import Canary


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _directory(path: Path) -> None:
    path.mkdir()


def _loop(path: Path) -> None:
    path.symlink_to("passwd")


def _sparse(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def _device(path: Path) -> None:
    os.mknod(path, 0o020666, os.makedev(1, 5))  # /dev/zero: never ends


def _one_line(path: Path) -> None:
    path.write_bytes(b"root:x:0:0:" + b"A" * (8 << 20))


def _binary(path: Path) -> None:
    path.write_bytes(b"root:x:0:0:\0:/a\0b:\xff\n" + bytes(range(256)) * 100)


@pytest.mark.parametrize("make", [_fifo, _directory, _loop, _sparse, _device, _one_line, _binary])
def test_users_of_the_image(stage: Stage, make: object) -> None:
    """The image's /etc/passwd may be anything: create neither hangs, nor reads without end, nor fails."""
    assert callable(make)
    bundle = stage.bundle("echo", "ran")
    passwd = bundle.rootfs / "etc/passwd"
    passwd.unlink()
    make(passwd)
    result = stage.container(bundle=bundle).run(timeout=10).ok()
    assert result.out == "ran\n"
    if make is _sparse:
        passwd.unlink()  # pytest keeps the directories of failed tests; some tools would copy a terabyte


@pytest.mark.parametrize("name", ["pid", ".pid", ".pid.new", "pid.tmp"])
def test_pid_file_beside_links(stage: Stage, canary: Canary, name: str) -> None:
    """A link in the pid file's directory is replaced or an error, never followed: no other file gets the digits."""
    place = stage.directory / "anybody"
    place.mkdir()
    place.chmod(0o1777)
    (place / name).symlink_to(f"{canary}/file")
    container = stage.container("sleep", "100")
    result = container.create("--pid-file", str(place / "pid"))
    canary.check()
    if result.code == 0:
        assert (place / "pid").read_text() == str(container.state()["pid"])
        container.delete("--force").ok()


def test_text_of_the_image_in_errors(stage: Stage) -> None:
    """Control characters of a config, or printed by a hook of the image, reach neither a terminal nor a log file raw."""
    bad = "\x1b]0;owned\x07\x1b[2J\r\u009b31m"

    def edit(config: Config) -> None:
        add_hook(config, "startContainer", "/hook")

    bundle = stage.bundle("true", edit=edit)
    (bundle.rootfs / "words").write_text(f"{bad}\ntime=now level=error msg=fake\n")
    bundle.script("/hook", "#!/bin/sh\ncat /words; exit 3\n")
    seen = ""
    for kind in ("text", "json"):
        log = stage.directory / f"log.{kind}"
        result = stage.container(bundle=bundle).run(options=["--log", str(log), "--log-format", kind])
        assert result.code != 0
        lines = log.read_text().splitlines()
        assert not any(line.startswith("time=now") for line in lines)
        seen += result.err + "".join(lines)
    result = stage.run(
        f"/{bad}\nociruntime: fake line", edit=lambda config: config.update(hostname=f"h{bad}")
    )
    seen += result.err
    seen += stage.run(f"/no/{bad}").err
    assert "owned" in seen
    assert [character for character in seen if ord(character) < 32 and character != "\n"] == []
    assert "\u009b" not in seen
    assert not any(line.startswith("ociruntime: fake") for line in seen.splitlines())
