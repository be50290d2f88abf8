# SPDX-License-Identifier: Apache-2.0
"""What of the caller's own gets into a container that has not been given it? (invariants 9 and 24)"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import Config, add_hook, set_capabilities, with_users, writable_root
from tests.harness.driver import ENVIRONMENT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.stage import Stage

_STATUS = "cat /proc/self/status"


def _status(text: str) -> dict[str, str]:
    return {name: value.strip() for name, _, value in (line.partition(":") for line in text.splitlines())}


def test_groups_of_the_caller(stage: Stage) -> None:
    """R064: the caller's supplementary groups are not the container's."""
    stage.runtime.command = ["setpriv", "--groups", "7777,8888", *stage.runtime.command]
    assert _status(stage.show(_STATUS))["Groups"] == ""


def test_capabilities_of_the_caller(stage: Stage, attack: Path) -> None:
    """CVE-2022-29162, CVE-2022-27650: what the caller can inherit is neither inheritable nor ambient in the container."""
    stage.runtime.command = [str(attack), "inherit", *stage.runtime.command]

    seen = _status(stage.show(_STATUS))
    assert int(seen["CapInh"], 16) == 0
    assert int(seen["CapAmb"], 16) == 0
    assert int(seen["CapBnd"], 16).bit_count() == 3


def test_no_capability_appears_by_itself(stage: Stage) -> None:
    """CVE-2022-29162: with capabilities in all sets but the inheritable one, and as another user, it stays empty."""

    def edit(config: Config) -> None:
        set_capabilities(config, "CAP_KILL")
        config["process"]["capabilities"]["inheritable"] = []
        config["process"]["capabilities"]["ambient"] = []
        config["process"]["user"] = {"uid": 1000, "gid": 1000}

    seen = _status(stage.show(_STATUS, edit))
    assert [int(seen[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [0, 0, 0, 0]
    assert seen["Uid"].split() == ["1000"] * 4
    assert seen["Gid"].split() == ["1000"] * 4


def test_environment_of_the_caller(stage: Stage) -> None:
    """No variable of the caller or of the runtime is in the program's environment."""
    secret = {**ENVIRONMENT, "SECRET": "x", "LC_CTYPE": "C", "PYTHONHASHSEED": "1"}
    result = stage.container("env").run(env=secret).ok()
    assert sorted(line.split("=")[0] for line in result.out.splitlines()) == ["HOME", "PATH", "TERM"]


def test_terminal_of_the_caller(stage: Stage) -> None:
    """A program without a terminal of its own can't reach the caller's (and push input into it, as by TIOCSTI)."""
    container = stage.container("sh", "-c", "cut -d' ' -f7 /proc/self/stat; echo x >/dev/tty && echo reached")
    run = stage.runtime.argv("run", "--bundle", str(container.bundle.directory), container.id)
    # util-linux's script: the command's session has a controlling terminal, which is also its 0, 1 and 2
    command = ["script", "-qec", shlex.join(run), "/dev/null"]
    result = subprocess.run(
        command,
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.stdout.split()[:1] == ["0"], result
    assert "reached" not in result.stdout


def test_session_keyring_of_the_caller(stage: Stage) -> None:
    """The container has a session keyring of its own, so the caller's keys are out of reach."""
    container = stage.in_state("created")
    pid = container.state()["pid"]
    with open("/proc/keys", encoding="utf-8") as file:
        assert f"_ses.{container.id}" in file.read()
    assert os.readlink(f"/proc/{pid}/ns/user") == os.readlink("/proc/self/ns/user")
    container.delete("--force").ok()


_SESSION = """
    cut -d' ' -f6,7 /proc/self/stat >> /said
    (echo x > /dev/tty) 2> /dev/null && echo reached the terminal >> /said
    /attack keyring >> /said
"""


@pytest.mark.parametrize("users", [False, True])
def test_session_of_the_caller_in_hooks(stage: Stage, attack: Path, users: bool) -> None:
    """A startContainer hook is a program of the image too: neither the caller's terminal nor its keys are in reach."""

    def edit(config: Config) -> None:
        writable_root(config)
        if users:
            with_users(config)
        add_hook(config, "startContainer", "/bin/sh", "-c", _SESSION)

    container = stage.container("true", bundle=stage.bundle("true", edit=edit, own_files=True))
    os.chmod(container.bundle.rootfs, 0o777)
    shutil.copy(attack, container.bundle.rootfs / "attack")
    run = stage.runtime.argv("run", "--bundle", str(container.bundle.directory), container.id)
    command = ["script", "-qec", shlex.join(run), "/dev/null"]
    subprocess.run(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, timeout=30, check=True)
    said = (container.bundle.rootfs / "said").read_text()
    session, terminal = said.split()[:2]
    assert (session != "0", terminal) == (True, "0"), said
    assert "reached" not in said
    assert said.splitlines()[-1].split(";")[-1] == f"_ses.{container.id}"


def test_working_directory_of_the_caller(stage: Stage) -> None:
    """The waiting init keeps no directory of the host as its working directory or root."""
    container = stage.container("sleep", "100")
    container.create(cwd="/etc").ok()
    pid = container.state()["pid"]
    rootfs = container.bundle.rootfs.stat()
    for name in ("root", "cwd"):
        seen = os.stat(f"/proc/{pid}/{name}/")
        assert (seen.st_dev, seen.st_ino) == (rootfs.st_dev, rootfs.st_ino), name
    container.delete("--force").ok()
