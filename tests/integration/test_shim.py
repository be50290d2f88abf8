# SPDX-License-Identifier: Apache-2.0
"""containerd's shim, asked directly: the life of containers, errors and their codes, order of events, pods, what is left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import ENVIRONMENT, PATIENCE
from tests.harness.rootfs import busybox_template
from tests.harness.stage import new_id
from tests.shim import cycles
from tests.shim.client import Events, Refused
from tests.shim.descriptions import kind_of
from tests.shim.shim import (
    NAMESPACE,
    Shim,
    any_of,
    end,
    mount,
    process,
    refused,
    root_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.stage import Stage
    from tests.shim.client import Client

CREATED, RUNNING, STOPPED, PAUSED = 1, 2, 3, 4
INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION, UNIMPLEMENTED = 3, 5, 6, 9, 12
CYCLES = int(os.environ.get("OCIRUNTIME_TEST_CYCLES", "150"))


@pytest.mark.parametrize("version", [2, 3])
def test_life(shim: Shim, client: Client, stage: Stage, version: int) -> None:
    """Create to Delete, in both versions of the service, with a Wait that began before; and the events in order."""
    client.service = f"containerd.task.v{version}.Task"
    name, bundle = new_id(), stage.bundle("sh", "-c", "sleep 0.3; exit 7")
    pid = shim.create(client, bundle, name)
    state = client.call("State", id=name)
    assert (state.id, state.pid, state.status, state.bundle) == (name, pid, CREATED, str(bundle.directory))
    assert not state.HasField("exited_at")
    waiting = client.begin("Wait", id=name)
    assert not client.is_answered(waiting, 0.2)
    assert client.call("Start", id=name).pid == pid
    assert client.call("State", id=name).status == RUNNING
    assert next(one.pid for one in client.call("Pids", id=name).processes) == pid
    waited = client.finish(waiting, "Waited")
    assert waited.exit_status == 7
    assert abs(waited.exited_at.seconds - time.time()) < 5
    state = client.call("State", id=name)
    assert (state.status, state.exit_status, state.exited_at) == (STOPPED, 7, waited.exited_at)
    assert client.call("Wait", id=name) == waited
    deleted = client.call("Delete", id=name)
    assert (deleted.pid, deleted.exit_status, deleted.exited_at) == (pid, 7, waited.exited_at)
    refused(NOT_FOUND, f"container does not exist: {name}", client.call, "State", id=name)
    assert shim.events is not None
    seen = shim.events.wait(4)
    assert shim.events.topics() == ["create", "start", "exit", "delete"]
    assert shim.events.namespaces == {NAMESPACE}
    assert (seen[2][1].id, seen[2][1].pid, seen[2][1].exit_status) == (name, pid, 7)
    assert not (shim.directory / "root" / NAMESPACE / name).exists()


def test_codes_of_errors(shim: Shim, client: Client, stage: Stage) -> None:
    """What containerd and its clients decide by."""
    name, bundle = new_id(), stage.bundle("sleep", "100")
    refused(NOT_FOUND, "container does not exist", client.call, "Start", id=name)
    shim.create(client, bundle, name)
    refused(ALREADY_EXISTS, "container already exists", shim.create, client, bundle, name)
    refused(INVALID_ARGUMENT, "signal 0", client.call, "Kill", id=name)
    client.call("Start", id=name)
    refused(FAILED_PRECONDITION, "cannot start a process that is running", client.call, "Start", id=name)
    refused(FAILED_PRECONDITION, "cannot delete a running process", client.call, "Delete", id=name)
    refused(FAILED_PRECONDITION, "container not paused", client.call, "Resume", id=name)
    refused(UNIMPLEMENTED, "checkpoint", client.call, "Checkpoint", id=name)
    refused(UNIMPLEMENTED, "checkpoint", shim.create, client, bundle, new_id(), checkpoint="/x")
    refused(NOT_FOUND, "has no process other", client.call, "State", id=name, exec_id="other")
    refused(FAILED_PRECONDITION, "no terminal", client.call, "ResizePty", id=name, width=1, height=1)
    refused(INVALID_ARGUMENT, "process", client.call, "Exec", id=name, exec_id="e")
    client.call("Exec", id=name, exec_id="e", spec=process("true"))
    refused(
        ALREADY_EXISTS, "has a process e", client.call, "Exec", id=name, exec_id="e", spec=process("true")
    )
    refused(FAILED_PRECONDITION, "has not been started", client.call, "Kill", id=name, exec_id="e", signal=9)
    end_of_exec = client.call("Delete", id=name, exec_id="e")
    assert end_of_exec.exit_status == 0
    refused(
        INVALID_ARGUMENT,
        "bundle 'here': not an absolute path",
        client.call,
        "Create",
        id=new_id(),
        bundle="here",
    )
    refused(INVALID_ARGUMENT, "id: a text with a zero byte", client.call, "State", id="a\0b")
    broken = stage.bundle("true", edit=lambda config: config["process"].update(cwd="relative"))
    refused(INVALID_ARGUMENT, "/process/cwd", shim.create, client, broken, new_id())
    missing = stage.bundle("/missing")
    refused(2, 'find program "/missing"', shim.create, client, missing, new_id())
    refused(2, "/nowhere: ENOENT", shim.create, client, stage.bundle("true"), new_id(), stdout="/nowhere")
    client.call("Kill", id=name, signal=9)
    client.call("Wait", id=name)
    refused(NOT_FOUND, "not found", client.call, "Kill", id=name, signal=9)
    refused(
        FAILED_PRECONDITION,
        "stopped container",
        client.call,
        "Exec",
        id=name,
        exec_id="f",
        spec=process("true"),
    )
    client.call("Delete", id=name)


def test_exec(shim: Shim, client: Client, stage: Stage, tmp_path: Path) -> None:
    """Output, input, its exit status, signals; and a program that is not there."""
    name = new_id()
    shim.create(client, stage.bundle("sleep", "100"), name)
    client.call("Start", id=name)
    log = tmp_path / "log"
    client.call(
        "Exec", id=name, exec_id="e", stdout=f"file://{log}", spec=process("sh", "-c", "echo hi; exit 5")
    )
    waiting = client.begin("Wait", id=name, exec_id="e")
    client.call("Start", id=name, exec_id="e")
    assert client.finish(waiting, "Waited").exit_status == 5
    assert client.call("State", id=name, exec_id="e").id == "e"
    assert client.call("Delete", id=name, exec_id="e").exit_status == 5
    assert log.read_text() == "hi\n"
    client.call("Exec", id=name, exec_id="k", spec=process("sleep", "100"))
    pid = client.call("Start", id=name, exec_id="k").pid
    pids = {one.pid: one.info for one in client.call("Pids", id=name).processes}
    assert kind_of("ProcessDetails").FromString(pids[pid].value).exec_id == "k"
    refused(FAILED_PRECONDITION, "running", client.call, "Delete", id=name, exec_id="k")
    client.call("Kill", id=name, exec_id="k", signal=15)
    assert client.call("Wait", id=name, exec_id="k").exit_status == 143
    refused(NOT_FOUND, "not found", client.call, "Kill", id=name, exec_id="k", signal=9)
    client.call("Exec", id=name, exec_id="m", spec=process("/missing"))
    waiting = client.begin("Wait", id=name, exec_id="m")
    refused(2, "/missing", client.call, "Start", id=name, exec_id="m")
    assert client.finish(waiting, "Waited").exit_status == 255
    client.call("Delete", id=name, exec_id="m")
    end(client, name)


def test_ends_of_exec_come_first(shim: Shim, client: Client, stage: Stage) -> None:
    """With the host's pid namespace, too: what exec has started is ended with init, and told before it."""

    def host_pids(config: dict[str, Any]) -> None:
        spaces = config["linux"]["namespaces"]
        config["linux"]["namespaces"] = [one for one in spaces if one["type"] != "pid"]

    for edit in (None, host_pids):
        name = new_id()
        shim.create(client, stage.bundle("sleep", "100", edit=edit), name)
        client.call("Start", id=name)
        for number in range(3):
            client.call("Exec", id=name, exec_id=f"e{number}", spec=process("sleep", "100"))
            client.call("Start", id=name, exec_id=f"e{number}")
        client.call("Kill", id=name, signal=9)
        assert client.call("Wait", id=name).exit_status == 137
        assert shim.events is not None
        client.call("Delete", id=name)
        shim.events.wait(13)
        exits = [event.id for topic, event in shim.events.seen if topic == "/tasks/exit"]
        assert sorted(exits[:3]) == ["e0", "e1", "e2"]
        assert exits[3:] == [name]
        assert shim.events.topics()[-1] == "delete"
        shim.events.seen.clear()


def sleeping(kind: str, seconds: float) -> Callable[[dict[str, Any]], None]:
    """Gives a config a hook that takes that long."""

    def edit(config: dict[str, Any]) -> None:
        config.setdefault("hooks", {})[kind] = [{"path": "/bin/sleep", "args": ["sleep", str(seconds)]}]

    return edit


def test_a_hook_keeps_nobody_waiting(shim: Shim, client: Client, stage: Stage) -> None:
    """While one of Create, Start or Delete sleeps, another container is asked, entered, and its exec's end is told."""
    other = new_id()
    shim.create(client, stage.bundle("sleep", "100"), other)
    client.call("Start", id=other)
    number = 0

    def works(waiting: int) -> None:
        nonlocal number
        number += 1
        began = time.monotonic()
        client.call("Exec", id=other, exec_id=f"e{number}", spec=process("sh", "-c", "exit 4"))
        client.call("Start", id=other, exec_id=f"e{number}")
        assert client.call("Wait", id=other, exec_id=f"e{number}").exit_status == 4
        assert client.call("State", id=other).status == RUNNING
        assert not client.is_answered(waiting, 0.05)
        assert time.monotonic() - began < 1

    for kind, method in (("createRuntime", "Create"), ("poststart", "Start"), ("poststop", "Delete")):
        name, bundle = new_id(), stage.bundle("sh", "-c", "exit 3", edit=sleeping(kind, 1.5 * PATIENCE))
        waiting = client.begin("Create", id=name, bundle=str(bundle.directory), options=shim.options)
        if method == "Create":
            works(waiting)
            refused(FAILED_PRECONDITION, "is being created", client.call, "Start", id=name)
        client.finish(waiting, "Pid")
        waiting = client.begin("Start", id=name)
        if method == "Start":
            works(waiting)
            refused(FAILED_PRECONDITION, "being started", client.call, "Start", id=name)
        client.finish(waiting, "Pid")
        assert client.call("Wait", id=name).exit_status == 3
        waiting = client.begin("Delete", id=name)
        if method == "Delete":
            works(waiting)
            refused(FAILED_PRECONDITION, "is being deleted", client.call, "Delete", id=name)
        assert client.finish(waiting, "Deleted").exit_status == 3
        assert shim.events is not None
        shim.events.wait(1)
        until = time.monotonic() + 10
        while ("/tasks/delete", name) not in own_events(shim, name) and time.monotonic() < until:
            time.sleep(0.02)
        assert [topic for topic, _ in own_events(shim, name)] == [
            "/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete",
        ]  # fmt: skip
    end(client, other)


@pytest.fixture
def silent_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[socket.socket]:
    """A socket where the shim looks for systemd: whoever listens there accepts, and never answers."""
    path = str(tmp_path / "bus")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    monkeypatch.setitem(ENVIRONMENT, "DBUS_SYSTEM_BUS_ADDRESS", f"unix:path={path}")
    private = "/run/systemd/private"  # comes first, where systemd is PID 1
    there = os.path.exists(private)
    if there:
        subprocess.run(["mount", "--bind", path, private], check=True)
    yield listener
    listener.close()
    if there:
        subprocess.run(["umount", private], check=True)


def test_systemd_keeps_nobody_waiting(shim: Shim, stage: Stage, silent_systemd: socket.socket) -> None:
    """While a Create waits for an answer of systemd, another container is asked and entered; then the error says why."""
    other, name = new_id(), new_id()
    client = shim.connect(shim.start(stage.bundle("true"), other))
    shim.create(client, stage.bundle("sleep", "100"), other)
    client.call("Start", id=other)
    bundle = stage.bundle("true")
    options = any_of(
        "RuncOptions", "containerd.runc.v1.Options", root=str(stage.directory), systemd_cgroup=True
    )
    waiting = client.begin("Create", id=name, bundle=str(bundle.directory), options=options)
    connection, _ = silent_systemd.accept()
    client.call("Exec", id=other, exec_id="e", spec=process("sh", "-c", "exit 4"))
    client.call("Start", id=other, exec_id="e")
    assert client.call("Wait", id=other, exec_id="e").exit_status == 4
    assert client.call("State", id=other).status == RUNNING
    refused(FAILED_PRECONDITION, "is being created", client.call, "Start", id=name)
    assert not client.is_answered(waiting, 0.05)
    silent_systemd.close()
    connection.close()
    refused(2, "systemd can't be reached", client.finish, waiting, "Pid")
    refused(NOT_FOUND, "container does not exist", client.call, "State", id=name)
    end(client, other)


def own_events(shim: Shim, name: str) -> list[tuple[str, str]]:
    """The events of one container."""
    assert shim.events is not None
    return [(topic, name) for topic, event in shim.events.seen if event.container_id == name]


def test_a_hook_that_fails(shim: Shim, client: Client, stage: Stage) -> None:
    """In Create and in Start: its error is told, nothing is left, and Delete works."""

    def failing(kind: str) -> Callable[[dict[str, Any]], None]:
        def edit(config: dict[str, Any]) -> None:
            config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo because >&2; exit 1"]}]}

        return edit

    bundle = stage.bundle("sleep", "100", edit=failing("createRuntime"))
    refused(2, "because", shim.create, client, bundle, new_id())
    name = new_id()
    shim.create(client, stage.bundle("sleep", "100", edit=failing("startContainer")), name)
    waiting = client.begin("Wait", id=name)
    with pytest.raises(Refused):
        client.call("Start", id=name)
    client.finish(waiting, "Waited")
    client.call("Delete", id=name)
    assert list((shim.directory / "root" / NAMESPACE).iterdir()) == []


def test_never_started(shim: Shim, client: Client, stage: Stage) -> None:
    """A created container can be deleted; who waits is told."""
    name = new_id()
    shim.create(client, stage.bundle("sleep", "100"), name)
    waiting = client.begin("Wait", id=name)
    assert client.call("Delete", id=name).exit_status == 137
    assert client.finish(waiting, "Waited").exit_status == 137
    assert shim.events is not None
    shim.events.wait(3)
    assert shim.events.topics() == ["create", "exit", "delete"]


def test_start_that_fails(shim: Shim, client: Client, stage: Stage) -> None:
    """The reason is told, who waits is told, and it can be deleted."""
    bundle = stage.bundle("/script", own_files=True)
    (bundle.rootfs / "script").write_text("#!/no/such/interpreter\n")
    (bundle.rootfs / "script").chmod(0o755)
    name = new_id()
    shim.create(client, bundle, name)
    waiting = client.begin("Wait", id=name)
    refused(2, "interpreter", client.call, "Start", id=name)
    client.finish(waiting, "Waited")
    assert client.call("State", id=name).status == STOPPED
    client.call("Delete", id=name)


def test_pause_update_stats(shim: Shim, client: Client, stage: Stage) -> None:
    """The limits and the numbers are those of the container's cgroup."""
    name = new_id()
    limited = {"memory": {"limit": 64 << 20}, "pids": {"limit": 50}}
    bundle = stage.bundle("sleep", "100", edit=lambda config: config["linux"].update(resources=limited))
    shim.create(client, bundle, name)
    client.call("Start", id=name)
    client.call("Pause", id=name)
    assert client.call("State", id=name).status == PAUSED
    refused(FAILED_PRECONDITION, "container not running", client.call, "Pause", id=name)
    client.call("Resume", id=name)
    assert client.call("State", id=name).status == RUNNING
    for limit in (64 << 20, 32 << 20):
        found = client.call("Stats", id=name).stats
        if found.type_url.endswith("v1.Metrics"):
            metrics = kind_of("MetricsV1").FromString(found.value)
            assert metrics.memory.usage.limit == limit
            assert metrics.cpu.usage.total > 0
        else:
            metrics = kind_of("MetricsV2").FromString(found.value)
            assert metrics.memory.usage_limit == limit
            assert metrics.cpu.usage_usec > 0
        assert (metrics.pids.current, metrics.pids.limit) == (1, 50)
        wanted = {
            "memory": {"limit": 32 << 20, "swap": 32 << 20} if "v1" in found.type_url else {"limit": 32 << 20}
        }
        resources = kind_of("Any")(type_url="x", value=json.dumps(wanted).encode())
        client.call("Update", id=name, resources=resources)
    end(client, name)
    assert shim.events is not None
    shim.events.wait(6)
    assert shim.events.topics() == ["create", "start", "paused", "resumed", "exit", "delete"]


def test_out_of_memory(shim: Shim, client: Client, stage: Stage) -> None:
    """It is told before the exit."""
    name = new_id()
    limited = {"memory": {"limit": 8 << 20, "swap": 8 << 20}}
    eat = "dd if=/dev/zero of=/dev/null bs=64M count=1"
    bundle = stage.bundle("sh", "-c", eat, edit=lambda config: config["linux"].update(resources=limited))
    shim.create(client, bundle, name)
    client.call("Start", id=name)
    assert client.call("Wait", id=name).exit_status == 137
    client.call("Delete", id=name)
    assert shim.events is not None
    shim.events.wait(5)
    topics = shim.events.topics()
    assert topics.index("oom") < topics.index("exit")


def test_it_rests(shim: Shim, client: Client, stage: Stage) -> None:
    """With a container whose memory is watched, and nothing to do, the shim takes no processor time."""
    name = new_id()
    limited = {"memory": {"limit": 64 << 20}}
    bundle = stage.bundle("sleep", "100", edit=lambda config: config["linux"].update(resources=limited))
    shim.create(client, bundle, name)
    client.call("Start", id=name)

    def spent() -> int:
        words = Path(f"/proc/{shim.pids[0]}/stat").read_text().rpartition(")")[2].split()
        return int(words[11]) + int(words[12])  # hundredths of a second

    before = spent()
    time.sleep(1)
    assert spent() - before <= 5
    end(client, name)


def test_mounts_of_a_root(shim: Shim, client: Client, stage: Stage, tmp_path: Path) -> None:
    """Overlay, also of so many layers that their paths don't fit into a page; bind, read-only; and one inside another."""
    long = tmp_path / ("directory" * 20)
    layers = [long / f"layer-{number}" for number in range(60)]
    for number, layer in enumerate(layers):
        layer.mkdir(parents=True)
        (layer / f"of-{number}").touch()
    upper, work = tmp_path / "upper", tmp_path / "work"
    upper.mkdir()
    work.mkdir()
    lower = ":".join([*map(str, layers[:50]), str(busybox_template())])
    assert len(lower) > 8192
    overlay = mount("overlay", "overlay", f"lowerdir={lower}", f"upperdir={upper}", f"workdir={work}")
    read_only = mount("bind", str(busybox_template()), "rbind", "ro")
    inner = mount("tmpfs", "tmpfs", "size=1m", target="/tmp")
    log = tmp_path / "log"
    for mounts, script, words in (
        ([overlay], "ls / | grep -c of-; touch /made && echo written", ["50", "written"]),
        ([read_only], "touch /made || echo refused", ["refused"]),
        ([overlay, inner], "grep -c ' /tmp tmpfs' /proc/mounts", ["1"]),
    ):
        log.write_bytes(b"")
        name, bundle = new_id(), stage.bundle("sh", "-c", script, edit=root_path)
        shim.create(client, bundle, name, rootfs=mounts, stdout=f"file://{log}")
        client.call("Start", id=name)
        client.call("Wait", id=name)
        client.call("Delete", id=name)
        assert log.read_text().splitlines() == words
        assert not os.path.ismount(bundle.directory / "rootfs")
    assert (upper / "made").exists()


@pytest.mark.parametrize(
    ("wrong", "answer"),
    [
        (("ext4", "/disk.img", "loop"), (UNIMPLEMENTED, "the mount option loop is not supported")),
        (("fuse.overlayfs", "x"), (UNIMPLEMENTED, "file system fuse.overlayfs is not supported")),
        (("bind", "/missing/source", "rbind"), (2, "rootfs mount 1: bind /missing/source")),
        (("overlay", "overlay", "lowerdir=/missing"), (2, "rootfs mount 1: overlay overlay")),
    ],
)
def test_mounts_that_fail(
    shim: Shim, client: Client, stage: Stage, wrong: tuple[str, ...], answer: tuple[int, str]
) -> None:
    """The mount is named, and those before it are gone again."""
    bundle = stage.bundle("true", edit=root_path)
    mounts = [mount("bind", str(busybox_template()), "rbind"), mount(*wrong)]
    refused(*answer, shim.create, client, bundle, new_id(), rootfs=mounts)
    assert not os.path.ismount(bundle.directory / "rootfs")


def test_containerd_is_away(shim: Shim, client: Client, stage: Stage) -> None:
    """Its connections and its event service are gone for a while: everything is there afterwards, in order."""
    assert shim.events is not None
    name = new_id()
    shim.create(client, stage.bundle("sh", "-c", "sleep 0.5; exit 9"), name)
    shim.events.wait(1)
    shim.events.close()
    client.call("Start", id=name)
    client.socket.close()
    time.sleep(1)
    later = Events(shim.events.path)
    shim.events = later
    other = shim.connect(f"unix://{client_path(shim)}")
    assert other.call("State", id=name).exit_status == 9
    other.call("Delete", id=name)
    until = time.monotonic() + 10 * PATIENCE
    while "delete" not in later.topics() and time.monotonic() < until:
        time.sleep(0.02)
    # An event is sent again if containerd went before it could confirm it.
    assert later.topics() in (["start", "exit", "delete"], ["create", "start", "exit", "delete"])


def client_path(shim: Shim) -> str:
    """The only socket that there is."""
    (path,) = shim.sockets.iterdir()
    return str(path)


def test_many_in_one_shim(shim: Shim, client: Client, stage: Stage) -> None:
    """Create, start, exec, delete again and again: memory, descriptors and latency stay."""
    first, second, third = cycles.run(shim, client, stage.bundle("sleep", "1000"), CYCLES, 3)
    assert third.descriptors == first.descriptors
    assert third.threads == first.threads == 1
    assert third.rss < second.rss + 256 + CYCLES // 20, (first, second, third)
    assert min(third.cycle) < 3 * min(first.cycle) + 10, (first, second, third)
