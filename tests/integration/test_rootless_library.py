# SPDX-License-Identifier: Apache-2.0
"""What do the library's presets give to an ordinary user, with sub-ids and without? (operations/config_ids.py)"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.rootfs import copy_busybox
from tests.integration.unprivileged import FIRST, UID, User, command

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(runtime_under_test() in ("runc", "crun"), reason="its own command is called"),
    pytest.mark.skipif(
        not command(),
        reason="the working tree is in a directory that only root can search: move it, or chmod a+x",
    ),
]
# It runs a program with what it is given, and prints what came of it.
CALLER = """
import json, os, sys
import ociruntime
from ociruntime import Options, bundle, make_config

script, said = sys.argv[1], json.loads(sys.argv[2])
config = make_config(["sh", "-c", script], "rootfs", **said)
try:
    result = ociruntime.run(os.environ["XDG_RUNTIME_DIR"], bundle.made(config), Options("a"), capture=True, timeout=60)
except ociruntime.RuntimeFailure as failure:
    print(json.dumps({"error": str(failure)}))
else:
    out, err = result.stdout.decode(), result.stderr.decode()
    print(json.dumps({"exit": result.exit_code, "out": out.split(), "err": err, "warnings": result.warnings}))
"""
IDS = "id -u; id -g; echo $(cat /proc/self/uid_map) / $(cat /proc/self/gid_map)"
ALONE = "touch /etc/x; grep -c : /proc/net/dev; mount -t tmpfs x /tmp || echo refused"


def _run(user: User, script: str, **said: Any) -> dict[str, Any]:
    """In the user's home, with the rootfs in it."""
    if not (user.home / "rootfs").exists():
        copy_busybox(user.home / "rootfs", own_files=True)
        user.own(user.home / "rootfs")
    done = user.call(sys.executable, "-c", CALLER, script, json.dumps(said)).ok()
    assert os.listdir(user.runtime_directory) in ([], ["@seccomp"])
    found: dict[str, Any] = json.loads(done.out)
    return found


def test_with_sub_ids(user: User) -> None:
    """The range of the tables, without the user's own id."""
    found = _run(user, IDS, limits=False)
    assert found == {
        "exit": 0,
        "out": ["65534", "65534", "0", f"{FIRST}", "65536", "/", "0", f"{FIRST}", "65536"],
        "err": "",
        "warnings": [],
    }


def test_with_few_sub_ids(place: Path) -> None:
    """The last of them is the program's."""
    found = _run(User(place, sub_ids=100), IDS, limits=False)
    mapped = ["0", f"{FIRST}", "99", "65534", f"{FIRST + 99}", "1"]
    assert (found.get("error"), found["out"]) == (None, ["65534", "65534", *mapped, "/", *mapped])


def test_without_sub_ids(poor: User) -> None:
    """One id, the user's own, as the program's."""
    found = _run(poor, IDS, limits=False)
    mapped = ["65534", f"{UID}", "1"]
    assert (found.get("error"), found["out"]) == (None, ["65534", "65534", *mapped, "/", *mapped])


@pytest.mark.parametrize("sub_ids", [65536, 0])
def test_it_is_untrusted_all_the_same(sub_ids: int, place: Path) -> None:
    """A read-only root, no network but the loopback, no mounts; and /tmp is there to write to."""
    found = _run(User(place, sub_ids), f"{ALONE}; echo hi >/tmp/x && cat /tmp/x", limits=False)
    assert found["out"] == ["1", "refused", "hi"]
    assert "/etc/x: Read-only file system" in found["err"]


def test_limits_are_refused(user: User) -> None:
    """The preset's limits are a promise: what can't be kept is said, and never left out by itself."""
    found = _run(user, "true")
    for words in ("/linux/resources/memory", "the container gets no cgroup that could have this limit"):
        assert words in found["error"]
    assert _run(user, "true", limits=False)["exit"] == 0


def test_the_users_own_program(poor: User) -> None:
    """The preset trusted, with a user namespace: root inside is the user, who owns the files."""
    script = "id -u; echo x >/new; ls -n /new | cut -d' ' -f1"
    assert _run(poor, script, preset="trusted", user_namespace=True)["out"] == ["0", "-rw-r--r--"]
    assert (poor.home / "rootfs/new").stat().st_uid == UID
    refused = _run(poor, script, preset="trusted")["error"]
    assert "use a config with a user namespace" in refused
