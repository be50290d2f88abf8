# SPDX-License-Identifier: Apache-2.0
"""Do an ordinary user's hooks and exec get into a container whose program has not been started?

Init is not dumpable: only root of the user namespace in which it was executed reaches it through /proc. While the runtime of an
ordinary user needs it, it is; before its root is the container's, never without need.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.stage import new_id
from tests.integration.test_rootless import bundle_of, map_many
from tests.integration.unprivileged import UID, User, command

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = command()
pytestmark = [
    pytest.mark.skipif(runtime_under_test() in ("runc", "crun"), reason="its own command is called"),
    pytest.mark.skipif(
        not COMMAND,
        reason="the working tree is in a directory that only root can search: move it, or chmod a+x",
    ),
]
_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
ENTER = ("unshare", "--user", "--map-root-user", "--map-auto", "--mount", "--pid", "--fork", "--mount-proc")


def hooked(user: User, *, many: bool, own_user: bool = True) -> Path:
    """A bundle with a hook of each kind, which writes its kind and the mapping that it lives in."""

    def change(config: dict[str, Any]) -> None:
        if many:
            map_many(config)
            config["process"]["user"] = {"uid": 33, "gid": 34}
        log = user.home / "log"
        config["hooks"] = {
            kind: [_hook(kind, "/tmp/log" if kind == "startContainer" else str(log))] for kind in _KINDS
        }
        config["mounts"].append(
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]}
        )
        if not own_user:
            linux = config["linux"]
            linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "user"]
            del linux["uidMappings"], linux["gidMappings"]

    log = user.home / "log"
    log.touch()
    log.chmod(0o666)
    return bundle_of(user, "sleep", "1000", change=change)


def _hook(kind: str, log: str) -> dict[str, Any]:
    script = f"read first second size </proc/self/uid_map; echo {kind} $first $second $size >>{log}"
    return {"path": "/bin/sh", "args": ["sh", "-c", script]}


@pytest.mark.parametrize("many", [False, True], ids=["one id", "sub-ids"])
def test_every_hook_runs(place: Path, many: bool) -> None:
    """Those of the container in its user namespace, the others in the caller's."""
    user = User(place, sub_ids=65536 if many else 0)
    directory, name = hooked(user, many=many), new_id()
    user.detach(COMMAND, "run", "-d", "--bundle", directory, name)
    inside = user.call(COMMAND, "exec", "--user", "0", name, "cat", "/tmp/log").ok().out
    user.call(COMMAND, "delete", "--force", name).ok()
    first = f"0 {UID} 1"
    assert inside == f"startContainer {first}\n"
    outside = "0 0 4294967295"
    assert (user.home / "log").read_text().splitlines() == [
        f"prestart {outside}",
        f"createRuntime {outside}",
        f"createContainer {first}",
        f"poststart {outside}",
        f"poststop {outside}",
    ]


def test_every_hook_runs_in_a_user_namespace(user: User) -> None:
    """As an engine's runtime: there it is root, and init stays closed to the user."""
    directory, name = hooked(user, many=False, own_user=False), new_id()
    user.call(*ENTER, COMMAND, "plan", directory).ok()
    script = f"{COMMAND} run -d --bundle {directory} {name} </dev/null >/dev/null 2>&1 && {COMMAND} delete --force {name}"
    user.call(*ENTER, "sh", "-c", script).ok()
    found = (user.home / "log").read_text().splitlines()
    assert found == [f"{kind} 0 {UID} 1" for kind in _KINDS if kind != "startContainer"]


@pytest.mark.parametrize("many", [False, True], ids=["one id", "sub-ids"])
def test_exec_before_start(place: Path, many: bool) -> None:
    """In a created container, as in a running one."""
    user = User(place, sub_ids=65536 if many else 0)
    name, directory = new_id(), bundle_of(user, "sleep", "1000", change=map_many if many else None)
    user.detach(COMMAND, "create", "--bundle", directory, name)
    uid = "33" if many else "0"
    done = user.call(COMMAND, "exec", "--user", uid, name, "sh", "-c", "id -u; cat /proc/1/comm")
    user.call(COMMAND, "start", name).ok()
    user.call(COMMAND, "delete", "--force", name).ok()
    assert done.ok().out.split()[0] == uid


def test_created_init_is_closed_to_others(poor: User) -> None:
    """Another user can neither trace it nor look through its descriptors and its root."""
    name, directory = new_id(), bundle_of(poor, "sleep", "1000")
    poor.detach(COMMAND, "create", "--bundle", directory, name)
    pid = json.loads(poor.call(COMMAND, "state", name).ok().out)["pid"]
    other = ["setpriv", "--reuid", "54322", "--regid", "54322", "--clear-groups", "--inh-caps=-all"]
    for words in (["ls", f"/proc/{pid}/fd"], ["ls", f"/proc/{pid}/root/"], ["cat", f"/proc/{pid}/maps"]):
        done = subprocess.run([*other, *words], capture_output=True, text=True, check=False)
        assert "Permission denied" in done.stderr, words
        subprocess.run(words, capture_output=True, check=True)  # root can: it is there
    assert os.stat(f"/proc/{pid}/fd").st_uid == UID
    poor.call(COMMAND, "delete", "--force", name).ok()


def test_namespaces_of_another_container(poor: User) -> None:
    """A pod by hand: the second container enters the first one's user namespace, and what belongs to it."""
    first, second = new_id(), new_id()
    poor.detach(COMMAND, "run", "-d", "--bundle", bundle_of(poor, "sleep", "1000"), first)
    pid = json.loads(poor.call(COMMAND, "state", first).ok().out)["pid"]

    def change(config: dict[str, Any]) -> None:
        del config["linux"]["uidMappings"], config["linux"]["gidMappings"]
        files = {"pid": "pid", "ipc": "ipc", "uts": "uts", "user": "user"}
        for entry in config["linux"]["namespaces"]:
            if entry["type"] in files:
                entry["path"] = f"/proc/{pid}/ns/{files[entry['type']]}"
        del config["hostname"]

    script = "readlink /proc/self/ns/user; readlink /proc/1/ns/user; id -u; cat /proc/1/comm"
    done = poor.call(COMMAND, "run", "--bundle", bundle_of(poor, "sh", "-c", script, change=change), second)
    poor.call(COMMAND, "delete", "--force", first).ok()
    mine, its, uid, name = done.ok().out.split()
    assert (mine == its, uid, name) == (True, "0", "sleep")
