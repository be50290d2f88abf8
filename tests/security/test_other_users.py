# SPDX-License-Identifier: Apache-2.0
"""What can one ordinary user do to another's containers, or to root's, by planting links and directories?

What reaches only a directory that others may not search is in tests/integration/test_rootless.py.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import runtime_under_test
from tests.integration.test_rootless import bundle_of
from tests.integration.unprivileged import UID, User, command, place, poor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["place", "poor"]  # fixtures
COMMAND = command()
pytestmark = [
    pytest.mark.skipif(runtime_under_test() in ("runc", "crun"), reason="the attacks are on this runtime"),
    pytest.mark.skipif(
        not COMMAND,
        reason="the working tree is in a directory that only root can search: move it, or chmod a+x",
    ),
]
ATTACKER = 12345


def _theirs(path: Path) -> Path:
    """A directory of the attacker's that everybody may write to."""
    path.mkdir()
    path.chmod(0o777)
    os.chown(path, ATTACKER, ATTACKER)
    return path


def _link(place: Path, target: Path) -> None:
    place.symlink_to(target)
    os.chown(place, ATTACKER, ATTACKER, follow_symlinks=False)


def _runtime_directory_is_a_link(user: User) -> None:
    """XDG_RUNTIME_DIR itself leads to the attacker's."""
    user.runtime_directory.rmdir()
    _link(user.runtime_directory, _theirs(user.files / "theirs"))


def _root_is_a_link(user: User) -> None:
    _link(user.runtime_directory / "ociruntime", _theirs(user.files / "theirs"))


def _link_to_the_user_s_own(user: User) -> None:
    """Even if what it leads to is the user's: tomorrow it leads elsewhere."""
    own = user.files / "own"
    own.mkdir(mode=0o700)
    os.chown(own, UID, UID)
    _link(user.runtime_directory / "ociruntime", own)


def _root_is_theirs(user: User) -> None:
    _theirs(user.runtime_directory / "ociruntime")


def _runtime_directory_is_open(user: User) -> None:
    """Anybody may exchange what is in it."""
    user.runtime_directory.chmod(0o777)


@pytest.mark.parametrize(
    "plant",
    [
        _runtime_directory_is_a_link,
        _root_is_a_link,
        _link_to_the_user_s_own,
        _root_is_theirs,
        _runtime_directory_is_open,
    ],
)
def test_what_is_planted_is_refused(poor: User, plant: Callable[[User], None]) -> None:
    """By each verb, before anything is read or made there."""
    plant(poor)
    directory = bundle_of(poor, "true")
    for words in (["run", "--bundle", directory], ["state"], ["kill"], ["delete", "--force"]):
        poor.call(COMMAND, *words, "one").refused("another user could change the containers' state")
    poor.call(COMMAND, "list").refused("another user could change the containers' state")
    made = [path for path in poor.files.rglob("*") if path.parent.name in ("theirs", "own")]
    assert made == []


def test_a_container_that_is_planted(poor: User) -> None:
    """A link, or the attacker's directory, under a container's name."""
    root = poor.runtime_directory / "ociruntime"
    poor.call(COMMAND, "run", "--bundle", bundle_of(poor, "true"), "first").ok()
    _link(root / "link", _theirs(poor.files / "theirs"))
    _theirs(root / "directory")
    poor.call(COMMAND, "state", "link").refused("container does not exist")
    for words in (["state"], ["kill"], ["delete", "--force"]):
        poor.call(COMMAND, *words, "directory").refused(f"belongs to uid {ATTACKER}")
    assert (root / "directory").is_dir()


@pytest.mark.parametrize("kind", ["theirs", "link"])
def test_a_seccomp_cache_of_somebody_else_s(poor: User, kind: str) -> None:
    """It is not used, and nothing is put into it: its owner would choose which system calls are allowed."""
    root = poor.runtime_directory / "ociruntime"
    poor.call(COMMAND, "list").ok()
    root.mkdir(mode=0o700, exist_ok=True)
    os.chown(root, UID, UID)
    found = next(
        line.split('"')[1]
        for line in (Path(__file__).parents[2] / "ociruntime/linux/seccomp_cache.py").read_text().splitlines()
        if line.startswith("DIRECTORY = ")
    )
    theirs = _theirs(poor.files / "theirs" if kind == "link" else root / found)
    if kind == "link":
        _link(root / found, theirs)

    def change(config: dict[str, object]) -> None:
        linux = config["linux"]
        assert isinstance(linux, dict)
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
        linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}

    done = poor.call(
        COMMAND, "run", "--bundle", bundle_of(poor, "mkdir", "/dev/shm/new", change=change), "one"
    )
    assert "seccomp filters are not cached" in done.err
    assert "Not supported" in done.err or "Operation not supported" in done.err  # the filter is there
    assert list(theirs.iterdir()) == []


def test_root_with_a_user_s_environment(poor: User) -> None:
    """Sudo keeps XDG_RUNTIME_DIR: root's containers are not below a directory of the user's."""
    environment = {**os.environ, **poor.environment}
    done = subprocess.run(
        [COMMAND, "list", "-q"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(poor.runtime_directory.iterdir()) == []
