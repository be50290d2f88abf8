# SPDX-License-Identifier: Apache-2.0
"""Podman of an ordinary user with that user's own systemd, as it is by default: does our runtime do what runc and crun do?

The only setting is that there is no limit of processes, for which the machine has no controller; then runc and crun fail, too.
"""

from __future__ import annotations

import itertools
import json
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.command import our_command
from tests.harness.driver import ENVIRONMENT, MARK, PATIENCE, Result, decode
from tests.harness.rootfs import copy_busybox

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.engine
_SETTINGS = """[containers]
pids_limit = 0
[engine]
runtime = "ociruntime"
[engine.runtimes]
ociruntime = ["{command}"]
"""
_STORAGE = (
    '[storage]\ndriver = "overlay"\n[storage.options.overlay]\nmount_program = "/usr/bin/fuse-overlayfs"\n'
)
_numbers = itertools.count(1)


class User:
    """The user tester with podman's settings and an image."""

    def __init__(self) -> None:
        entry = pwd.getpwnam("tester")
        self.home = Path(entry.pw_dir)
        self.settings = self.home / ".config"
        self.context = self.home / "context"
        self.owner = f"{entry.pw_uid}:{entry.pw_gid}"

    def prepare(self) -> None:
        """Settings, with our runtime as the default and fuse-overlayfs, and an image with a layer of our making."""
        containers = self.settings / "containers"
        containers.mkdir(parents=True)
        (containers / "containers.conf").write_text(_SETTINGS.format(command=our_command()))
        (containers / "storage.conf").write_text(_STORAGE)
        self.context.mkdir()
        copy_busybox(self.context / "rootfs", own_files=True)
        (self.context / "Containerfile").write_text("FROM scratch\nCOPY rootfs /\nRUN id -u >/built\n")
        subprocess.run(["chown", "-hR", self.owner, self.settings, self.context], check=True)
        self.podman("", "build", "--network", "none", "-t", "image", str(self.context)).ok()

    def close(self) -> None:
        """The storage has files of the sub-ids, which its own namespace removes."""
        self.podman("", "system", "reset", "--force").ok()
        for place in (self.settings, self.context):
            shutil.rmtree(place)

    def call(self, *words: str) -> Result:
        """Run a program as a service of the user's systemd: only from there may it have scopes."""
        service = [
            "systemd-run",
            "--quiet",
            "--wait",
            "--pipe",
            "--collect",
            "--user",
            "--machine",
            "tester@.host",
        ]
        variables = {**ENVIRONMENT, "HOME": str(self.home)}
        said = [f"--setenv={name}={value}" for name, value in variables.items()]
        done = subprocess.run(
            [*service, *said, *words],
            stdin=subprocess.DEVNULL, capture_output=True, env=ENVIRONMENT,
            timeout=120 * PATIENCE, check=False,
        )  # fmt: skip
        return Result(done.returncode, decode(done.stdout), decode(done.stderr), 0)

    def podman(self, runtime: str, *words: str) -> Result:
        """With the runtime of that name, or that of containers.conf for ""."""
        named = ["--runtime", our_command() if runtime == "OURS" else runtime] if runtime else []
        return self.call("podman", *named, *words)


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    """Prepared once."""
    made = User()
    try:
        made.prepare()
        yield made
    finally:
        made.close()


@pytest.fixture
def name() -> str:
    """Of a container that no other test has."""
    return f"{MARK}-u{next(_numbers)}"


def inspect(user: User, name: str) -> dict[str, Any]:
    """What podman knows of a container."""
    found: dict[str, Any] = json.loads(user.podman("", "inspect", name).ok().out)[0]
    return found


def lives(user: User, runtime: str, name: str) -> dict[str, object]:
    """A container's life by podman's commands: all that a user sees of it."""

    def podman(*words: str) -> Result:
        return user.podman(runtime, *words)

    seen: dict[str, object] = {}
    script = "cat /built /proc/self/uid_map; id; grep Cap /proc/self/status; ls /dev; exit 7"
    done = podman("run", "--rm", "--network", "none", "image", "sh", "-c", script)
    seen["run"] = (done.code, done.out.replace("core\n", ""))
    check = ("--health-cmd", "test -e /tmp/ok", "--health-interval", "disable")
    podman("run", "-d", "--name", name, "--network", "none", *check, "image", "sleep", "1000").ok()
    state = inspect(user, name)["State"]
    unit = Path(state["CgroupPath"]).name
    own = f"/user.slice/user-{user.owner.partition(':')[0]}.slice/user@{user.owner.partition(':')[0]}.service/user.slice/"
    seen["below the user's systemd"] = state["CgroupPath"].startswith(own)
    seen["unit"] = user.call("systemctl", "--user", "is-active", unit).out
    done = podman("exec", name, "sh", "-c", "echo inside; exit 5")
    seen["exec"] = (done.code, done.out)
    seen["unhealthy"] = podman("healthcheck", "run", name).code
    podman("exec", name, "touch", "/tmp/ok").ok()
    seen["healthy"] = podman("healthcheck", "run", name).code
    podman("pause", name).ok()
    seen["paused"] = inspect(user, name)["State"]["Status"]
    podman("unpause", name).ok()
    seen["unpaused"] = inspect(user, name)["State"]["Status"]
    seen["stats"] = json.loads(podman("stats", "--no-stream", "--format", "json", name).ok().out)[0]["name"]
    seen["rm"] = podman("rm", "-f", "-t", "0", name).code
    seen["unit after it"] = user.call("systemctl", "--user", "is-active", unit).out
    podman("pod", "create", "--infra=false", "--share", "", "--name", f"{name}-pod").ok()
    podman("run", "-d", "--pod", f"{name}-pod", "--name", name, "--network", "none", "image", "sleep", "1000").ok()  # fmt: skip
    seen["exec in a pod"] = podman("exec", name, "echo", "pod").out
    seen["pod rm"] = podman("pod", "rm", "-f", "-t", "0", f"{name}-pod").code
    return seen


@pytest.mark.parametrize("runtime", ["", "OURS"], ids=["by containers.conf", "by --runtime"])
def test_life(user: User, name: str, runtime: str) -> None:
    """run, exec, healthcheck, pause, stats and pods, with a scope of the user's systemd that goes with the container."""
    seen = lives(user, runtime, name)
    code, printed = seen["run"]  # type: ignore[misc]
    assert code == 7
    assert printed.split()[:4] == ["0", "0", user.owner.partition(":")[0], "1"], printed
    del seen["run"]
    assert seen == {
        "below the user's systemd": True,
        "unit": "active\n",
        "exec": (5, "inside\n"),
        "unhealthy": 1,
        "healthy": 0,
        "paused": "paused",
        "unpaused": "running",
        "stats": name,
        "rm": 0,
        "unit after it": "inactive\n",
        "exec in a pod": "pod\n",
        "pod rm": 0,
    }


@pytest.mark.parametrize("peer", ["runc", "crun"])
def test_peers(user: User, name: str, peer: str) -> None:
    """The same commands with a peer show the same."""
    theirs, ours = lives(user, peer, name), lives(user, "", name)
    del theirs["unit after it"], ours["unit after it"]  # runc's may stay a while, or for good
    assert theirs == ours


def test_root_of_the_container(user: User) -> None:
    """It is fuse-overlayfs, as this kind of user has it."""
    done = user.podman(
        "", "run", "--rm", "--network", "none", "image", "grep", " / / ", "/proc/self/mountinfo"
    )
    assert " fuse.fuse-overlayfs " in done.ok().out


def test_a_limit_without_its_controller(user: User) -> None:
    """An error that says what the user's systemd lacks, and how it gets it; nothing is left of the container."""
    words = ("systemctl", "--user", "list-units", "--all", "--plain", "--no-legend", "libpod-*.scope")
    before = set(user.call(*words).ok().out.splitlines())  # a peer's may be there
    done = user.podman("", "run", "--rm", "--network", "none", "--pids-limit", "100", "image", "true")
    done.refused("/linux/resources/pids/limit", "'pids'", "systemctl edit user@.service", "Delegate=")
    assert set(user.call(*words).ok().out.splitlines()) <= before
