# SPDX-License-Identifier: Apache-2.0
"""May a container have as many mounts and devices as its config says, and what has its program of it?"""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_bind, add_hook, with_users
from tests.harness.driver import ENVIRONMENT, runtime_under_test
from tests.harness.peers import PEERS
from tests.harness.stage import new_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

own = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="this runtime's way: run with RUNTIME=ociruntime"
)
SOFT, MANY = 128, 300
USERS = pytest.mark.parametrize("users", [False, True], ids=["", "users"])


def many(count: int, kind: str = "bind", *, users: bool = False, **process: Any) -> Callable[[Config], None]:
    """An edit with so many mounts below /mnt, and no limits but those of `process`."""

    def edit(config: Config) -> None:
        config["process"].pop("rlimits")
        config["process"].update(process)
        config["mounts"].append({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"})
        for number in range(count):
            if kind == "bind":
                add_bind(config, "/var/tmp", f"/mnt/{number}")
            else:
                config["mounts"].append({"destination": f"/mnt/{number}", "type": kind, "source": kind})
        if users:
            with_users(config)

    return edit


def limited(stage: Stage, soft: int, hard: int) -> None:
    """The runtime under test begins with these limits."""
    stage.runtime.command = ["prlimit", f"--nofile={soft}:{hard}", *stage.runtime.command]


@USERS
@own
def test_a_soft_limit_is_no_limit(stage: Stage, tmp_path: Path, users: bool) -> None:
    """More binds than the caller may have descriptors; hooks and the program still have the caller's limit."""
    limited(stage, SOFT, 2000)
    edit = many(MANY, users=users)
    told = tmp_path / "told"

    def hooked(config: Config) -> None:
        edit(config)
        for kind in ("createRuntime", "poststart"):
            add_hook(config, kind, "/bin/sh", "-c", f"ulimit -S -n >> {told}; ulimit -H -n >> {told}")

    said = stage.show(
        "ulimit -S -n; ulimit -H -n; grep -c ' /mnt/' /proc/self/mounts; ls /proc/self/fd", hooked
    )
    assert said.split() == [str(SOFT), "2000", str(MANY), "0", "1", "2", "3"]
    assert told.read_text().split() == [str(SOFT), "2000"] * 2


@own
@pytest.mark.parametrize("soft", [64, 512])
def test_the_config_s_limit_is_the_program_s(stage: Stage, soft: int) -> None:
    """Whether it is below or above what the runtime needs for so long."""
    limited(stage, SOFT, 2000)
    limit = [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": 600}]
    said = stage.show("ulimit -S -n; ulimit -H -n", many(MANY, users=True, rlimits=limit))
    assert said.split() == [str(soft), "600"]


@own
def test_one_descriptor_for_each(stage: Stage) -> None:
    """A hard limit that leaves room for one of each tree is enough."""
    limited(stage, SOFT, MANY + 110)
    assert stage.show("echo runs", many(MANY, users=True)) == "runs\n"


@own
def test_a_hard_limit_is_a_true_error(stage: Stage) -> None:
    """Before anything is made: which limit, what it is, how many are needed, and what can be done."""
    limited(stage, SOFT, MANY)
    refused = stage.container("true", edit=many(MANY, users=True)).create()
    words = (
        "/mounts: raise descriptor limit",
        f"RLIMIT_NOFILE is {MANY}, but ",
        "descriptors are needed for 3",
    )
    refused.refused(*words, "EMFILE", "ulimit -H -n")


@own
def test_the_library_gives_the_limit_back(stage: Stage) -> None:
    """To the program that made the container; and to none of its containers more than it had."""
    container = stage.container("sh", "-c", "ulimit -S -n", edit=many(MANY, users=True))
    program = f"""
import resource
import ociruntime
from ociruntime import Options, RuntimeFailure, bundle

example, root = bundle.load({str(container.bundle.directory)!r}), {str(stage.directory / "library")!r}
resource.setrlimit(resource.RLIMIT_NOFILE, ({SOFT}, {4 * MANY}))
made = ociruntime.create(root, example, Options({new_id()!r}))
assert resource.getrlimit(resource.RLIMIT_NOFILE) == ({SOFT}, {4 * MANY})
made.start()
made.wait()
made.delete()
resource.setrlimit(resource.RLIMIT_NOFILE, ({SOFT}, {4 * MANY}))
example.config.value["mounts"][-1]["source"] = "/no/such/source"
for hard in ({4 * MANY}, {MANY}):
    resource.setrlimit(resource.RLIMIT_NOFILE, ({SOFT}, hard))
    try:
        ociruntime.create(root, example, Options({new_id()!r}))
    except RuntimeFailure as failure:
        print(failure)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == ({SOFT}, hard)
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[0] == str(SOFT)
    assert "open bind source: /no/such/source" in said[1]  # after the limit was raised
    assert "RLIMIT_NOFILE is 300" in said[2]


def test_devices_after_many_mounts(compare: Compare) -> None:
    """However many file systems were made before, a new one at /dev is the container's own, and gets its devices."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def edit(config: Config) -> None:
            dev = [entry for entry in config["mounts"] if entry["destination"] == "/dev"]
            below = [entry for entry in config["mounts"] if entry["destination"].startswith("/dev/")]
            config["mounts"] = [entry for entry in config["mounts"] if entry not in dev + below]
            many(100, "tmpfs")(config)
            config["mounts"] += dev + below

        return {"devices": stage.show("ls /dev/null /dev/zero /dev/tty /dev/fd", edit).split()[:3]}

    assert compare(scenario) == {"devices": ["/dev/null", "/dev/tty", "/dev/zero"]}


@own
def test_the_limit_of_mounts_is_named(stage: Stage) -> None:
    """Each recursive bind of the rootfs has as many mounts as all before: fs.mount-max is reached, and told."""

    def edit(config: Config) -> None:
        config["mounts"] = config["mounts"][:2]
        config["mounts"].append({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"})
        for number in range(20):
            add_bind(config, "rootfs", f"/mnt/{number}")

    refused = stage.container("true", edit=edit).create()
    refused.refused("/mounts/", "mount bind of rootfs on /mnt/", "ENOSPC", "fs.mount-max")


@own
@USERS
@pytest.mark.slow
def test_ten_thousand_devices(stage: Stage, users: bool) -> None:
    """Each of them is there."""
    count = 2000 if users else 10_000
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > count

    def edit(config: Config) -> None:
        config["linux"]["devices"] = [
            {"path": f"/dev/x{number}", "type": "c", "major": 1, "minor": 3} for number in range(count)
        ]
        for entry in config["mounts"]:
            if entry["destination"] == "/dev":
                entry["options"] = ["mode=755"]
        if users:
            with_users(config)

    assert stage.show("ls /dev | grep -c ^x", edit).split() == [str(count)]


@own
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bind", "tmpfs"])
def test_ten_thousand_mounts(stage: Stage, kind: str) -> None:
    """With the usual soft limit of 1,024 descriptors."""
    limited(stage, 1024, 4096)
    assert stage.show("grep -c ' /mnt/' /proc/self/mounts", many(10_000, kind)).split() == ["10000"]
