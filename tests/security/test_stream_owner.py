# SPDX-License-Identifier: Apache-2.0
"""Invariant 15: which of its standard streams become the program's? A new owner could make a file writable.

CVE-2026-88265 is a chown of what was not made for the container.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import PATH, Config
from tests.harness.stage import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.stage import Stage
    from tests.security.conftest import Canary

# Of what is behind each stream: all that its owner may do.
ATTACK = """
for number in 0 1 2; do
    chmod 0777 /proc/self/fd/$number; echo stolen >> /proc/self/fd/$number
done
:
"""
USER = 1000


def user(config: Config) -> None:
    """A program of an ordinary user, with no capability that could replace ownership."""
    config["process"].update(user={"uid": USER, "gid": USER}, env=[PATH])
    config["process"]["capabilities"] = {}


@pytest.mark.parametrize("verb", ["run", "exec"])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH])
def test_a_file_that_was_opened_to_read(stage: Stage, canary: Canary, verb: str, flags: int) -> None:
    """`run </etc/passwd`: owner, mode and content stay, as each of the three streams."""
    for number in range(3):
        descriptor = os.open(canary.directory / "file", flags)
        streams = {name: descriptor for index, name in enumerate(("stdin", "out", "err")) if index == number}
        try:
            if verb == "run":
                bundle = stage.bundle("sh", "-c", ATTACK, edit=user)
                result = stage.runtime.call("run", "--bundle", str(bundle.directory), new_id(), **streams)
            else:
                container = stage.running()
                result = container.exec("sh", "-c", ATTACK, flags=("-u", f"{USER}:{USER}"), **streams)
                container.delete("--force").ok()
        finally:
            os.close(descriptor)
        assert result.code == 0, result
        canary.check()


@pytest.fixture
def things(tmp_path: Path) -> Iterator[dict[str, int]]:
    """Descriptors, open for writing, of what is not a file; the devices have nodes of their own."""
    opened = {}
    for name, kind, device in (
        ("zero", stat.S_IFCHR, os.makedev(1, 5)),
        ("full", stat.S_IFCHR, os.makedev(1, 7)),
        ("null", stat.S_IFCHR, os.makedev(1, 3)),
    ):
        os.mknod(tmp_path / name, kind | 0o600, device)
        opened[name] = os.open(tmp_path / name, os.O_RDWR)
    opened["event"] = os.eventfd(0)
    master, opened["terminal"] = os.openpty()
    yield opened
    for descriptor in (*opened.values(), master):
        os.close(descriptor)


@pytest.mark.parametrize("name", ["zero", "full", "null", "event", "terminal"])
def test_what_is_no_file(stage: Stage, things: dict[str, int], name: str) -> None:
    """Devices, also the caller's terminal, and objects of the kernel's own stay whose they are."""
    before = os.fstat(things[name])
    bundle = stage.bundle("true", edit=user)
    stage.runtime.call("run", "--bundle", str(bundle.directory), new_id(), stdin=things[name]).ok()
    after = os.fstat(things[name])
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)


def test_no_set_user_id(stage: Stage, tmp_path: Path) -> None:
    """A file that is given away is not a set-user-ID program, neither root's nor the new owner's."""
    path = tmp_path / "output"
    path.touch()
    path.chmod(0o4755)
    bundle = stage.bundle("true", edit=user)
    with open(path, "ab") as file:
        stage.runtime.call("run", "--bundle", str(bundle.directory), new_id(), out=file).ok()
    assert path.stat().st_uid == USER
    assert path.stat().st_mode & 0o7777 == 0o755


def test_closed_streams(stage: Stage) -> None:
    """A caller that has none runs programs anyway."""
    bundle = stage.bundle("sh", "-c", "exit 7", edit=user)
    command = stage.runtime.command
    stage.runtime.command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command]
    assert stage.runtime.call("run", "--bundle", str(bundle.directory), new_id()).code == 7
