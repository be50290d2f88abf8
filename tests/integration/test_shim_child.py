# SPDX-License-Identifier: Apache-2.0
"""What a static program can't do: a child does it for the shim, which goes on as the same process of the same program."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.command import why_launcher
from tests.harness.seccomp_profiles import rule
from tests.harness.stage import new_id
from tests.shim.descriptions import kind_of
from tests.shim.shim import NAMESPACE, Shim, end, process, refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.bundle import Bundle
    from tests.harness.stage import Stage
    from tests.shim.client import Client

INVALID_ARGUMENT, UNKNOWN = 3, 2
PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [rule("mkdirat", "mkdir", action="ERRNO", errno=99)],
}


def program_of(pid: int) -> tuple[str, str, str]:
    """What execve would change, and when the process began."""
    started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return os.readlink(f"/proc/{pid}/exe"), Path(f"/proc/{pid}/cmdline").read_text(), started


@pytest.fixture(autouse=True)
def the_same_program(shim: Shim, client: Client) -> Iterator[None]:
    """After the test the shim serves as before; as a snapshot it has the snapshot's file."""
    (pid,) = shim.pids
    before = program_of(pid)
    if not why_launcher():
        assert os.path.basename(before[0]) == "ociruntime"
        assert before[1].startswith("containerd-shim-ociruntime-v1\0")
    yield
    assert client.call("Connect", id="x").shim_pid == pid
    assert program_of(pid) == before


def filtered(stage: Stage) -> Bundle:
    """A bundle with a filter, whose program tells what it gets for mkdir."""
    return stage.bundle("sleep", "100", edit=lambda config: config["linux"].update(seccomp=PROFILE))


def has_filter(client: Client, name: str, pid: int) -> None:
    """The container's program runs with the filter."""
    client.call("Start", id=name)
    assert "Seccomp:\t2\n" in Path(f"/proc/{pid}/status").read_text()


def test_a_rejected_config_is_explained(shim: Shim, client: Client, stage: Stage) -> None:
    """By jsonschema, in a child; all that is wrong is told."""

    def wrong(config: dict[str, Any]) -> None:
        config["process"]["args"] = 7
        config["hostname"] = ["a"]

    bundle, name = stage.bundle("true", edit=wrong), new_id()
    refused(INVALID_ARGUMENT, "/hostname: ", shim.create, client, bundle, name)
    refused(INVALID_ARGUMENT, "1 more", shim.create, client, bundle, name)


def test_rejected_documents_of_exec_and_update(shim: Shim, client: Client, stage: Stage) -> None:
    """The same for what a request has in itself."""
    name = new_id()
    shim.create(client, stage.bundle("sleep", "100"), name)
    client.call("Start", id=name)
    client.call("Exec", id=name, exec_id="e", spec=process("true", capabilities=7))
    refused(INVALID_ARGUMENT, "capabilities", client.call, "Start", id=name, exec_id="e")
    resources = kind_of("Any")(value=b'{"pids": {"limit": "many"}}')
    refused(INVALID_ARGUMENT, "/pids/limit", client.call, "Update", id=name, resources=resources)
    end(client, name)


def test_a_filter_is_compiled(shim: Shim, client: Client, stage: Stage) -> None:
    """It is in the cache then, and not compiled again; exec gets it too, also when the cache has gone."""
    cache = shim.directory / "root" / NAMESPACE / "@seccomp"
    name = new_id()
    pid = shim.create(client, filtered(stage), name)
    has_filter(client, name, pid)
    (kept,) = cache.iterdir()
    before = kept.stat()
    other = new_id()
    has_filter(client, other, shim.create(client, filtered(stage), other))
    assert list(cache.iterdir()) == [kept]
    assert kept.stat() == before
    shutil.rmtree(cache)
    client.call("Exec", id=name, exec_id="e", spec=process("sleep", "100"))
    executed = client.call("Start", id=name, exec_id="e").pid
    assert "Seccomp:\t2\n" in Path(f"/proc/{executed}/status").read_text()
    for one in (name, other):
        end(client, one)


def test_a_filter_without_a_cache(shim: Shim, client: Client, stage: Stage) -> None:
    """It is compiled for every container."""
    cache = shim.directory / "root" / NAMESPACE / "@seccomp"
    cache.parent.mkdir(parents=True, mode=0o700)
    cache.write_text("not a directory")
    name = new_id()
    pid = shim.create(client, filtered(stage), name)
    has_filter(client, name, pid)
    end(client, name)


def test_a_filter_that_can_t_be_compiled(shim: Shim, client: Client, stage: Stage) -> None:
    """The error is the one that the child has seen, with pointer and step."""

    def unknown(config: dict[str, Any]) -> None:
        config["annotations"] = {"run.oci.seccomp_fail_unknown_syscall": "1"}
        config["linux"]["seccomp"] = {**PROFILE, "syscalls": [rule("no_such_call", action="ERRNO")]}

    bundle = stage.bundle("true", edit=unknown)
    words = "/linux/seccomp/syscalls/0/names/0: compile seccomp filter"
    refused(UNKNOWN, words, shim.create, client, bundle, new_id())
    refused(UNKNOWN, "no_such_call", shim.create, client, bundle, new_id())


def test_a_network_device(shim: Shim, client: Client, stage: Stage) -> None:
    """It is moved by a child with pyroute2."""
    devices = {"no-such-dev": {}}
    bundle = stage.bundle("true", edit=lambda config: config["linux"].update(netDevices=devices))
    refused(UNKNOWN, "move network device no-such-dev", shim.create, client, bundle, new_id())
    refused(UNKNOWN, "ENODEV", shim.create, client, bundle, new_id())


def test_a_hook_and_a_filter(shim: Shim, client: Client, stage: Stage) -> None:
    """In a thread the child is waited for like in the loop; ten at a time."""

    def both(config: dict[str, Any]) -> None:
        config["linux"]["seccomp"] = PROFILE
        config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "0.1"]}]}

    names = [new_id() for _ in range(10)]
    bundles = [stage.bundle("sleep", "100", edit=both) for _ in names]
    streams = [
        client.begin("Create", id=name, bundle=str(bundle.directory), options=shim.options)
        for name, bundle in zip(names, bundles, strict=True)
    ]
    for name, stream in zip(names, streams, strict=True):
        has_filter(client, name, client.finish(stream, "Pid").pid)
    for name in names:
        end(client, name)
