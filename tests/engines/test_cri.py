# SPDX-License-Identifier: Apache-2.0
"""A kubelet's calls, through containerd's CRI plugin: pods, exec, stats, update, out of memory, terminal, logs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from tests.engines.cri import POD, Cri, Message, decode
from tests.engines.engine import SHOW_LIMITS, limits, wait_for
from tests.harness.driver import TIMEOUT

Name = Callable[[], str]
Pod = tuple[str, Message]
EXITED = 2
MIB = 1 << 20


@pytest.fixture
def pod(cri: Cri, new_name: Name) -> Pod:
    """A running pod."""
    return cri.pod(new_name())


def exited(cri: Cri, container: str) -> Callable[[], bool]:
    """Whether the container has ended."""
    return lambda: cri.status(container).get(3) == EXITED


def test_pod_of_two_containers(cri: Cri, pod: Pod) -> None:
    """Both run in the pod's namespaces, each with a root of its own; exec tells output and exit code."""
    first = cri.container(pod, "first", "sleep", "300")
    second = cri.container(pod, "second", "sleep", "300")
    seen = []
    for container in (first, second):
        script = "readlink /proc/self/ns/ipc; touch /own; ls /own; exit 5"
        answer = cri.ask("ExecSync", {1: container, 2: ["sh", "-c", script], 3: 20})
        assert answer[3] == 5
        seen.append(answer[1].decode().split()[0])
    assert seen[0] == seen[1]
    cri.ask("StopContainer", {1: first, 2: 0})
    assert cri.status(first)[7] == 137
    assert cri.status(second)[3] == 1


def test_network_of_its_own(cri: Cri, new_name: Name) -> None:
    """A pod's containers share one that is not the host's, and are reached there."""
    cri.write_network()
    wait_for(lambda: network_is_ready(cri))
    pod = cri.pod(new_name(), POD)
    address = decode(decode(cri.ask("PodSandboxStatus", {1: pod[0]})[1])[5])[1].decode()
    server = cri.container(pod, "server", "nc", "-l", "-p", "8080", "-e", "echo", "hello")
    other = cri.container(pod, "other", "sleep", "300")
    seen = {
        cri.ask("ExecSync", {1: container, 2: ["readlink", "/proc/self/ns/net"], 3: 20})[1].decode().strip()
        for container in (server, other)
    }
    assert len(seen) == 1
    assert seen != {os.readlink("/proc/self/ns/net")}
    wait_for(lambda: answer_of(address, 8080) == b"hello\n")
    cri.remove_pod(pod[0])  # the next engine gives its pods the same addresses


def answer_of(address: str, port: int) -> bytes:
    """What a server says first; nothing as long as it doesn't listen."""
    try:
        with socket.create_connection((address, port), timeout=TIMEOUT) as connection:
            return connection.recv(100)
    except ConnectionRefusedError:
        return b""


def network_is_ready(cri: Cri) -> bool:
    """Whether the plugin has read how pods get a network: the second condition of its status."""
    return b"NetworkReady\x10\x01" in cri.ask("Status", {})[1]


def test_logs_and_exit_code(cri: Cri, pod: Pod) -> None:
    """Output goes to the log file, the exit code to the status."""
    container = cri.container(pod, "talks", "sh", "-c", "echo out; echo err >&2; exit 7")
    wait_for(exited(cri, container))
    assert cri.status(container)[7] == 7
    log = (cri.directory / "logs" / "talks.log").read_text()
    assert "stdout F out" in log
    assert "stderr F err" in log


def test_terminal(cri: Cri, pod: Pod) -> None:
    """A container with a terminal."""
    container = cri.container(pod, "terminal", "sh", "-c", "tty; stty -a | grep -c rows", tty=True)
    wait_for(exited(cri, container))
    log = (cri.directory / "logs" / "terminal.log").read_text()
    assert "/dev/pts/0" in log


def test_resources(cri: Cri, pod: Pod) -> None:
    """Limits at creation, stats, and an update of the running container."""
    limits = {1: 100000, 2: 50000, 3: 512, 4: 64 * MIB}
    container = cri.container(pod, "limited", "sleep", "300", linux={1: limits})
    script = "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null"
    ask = {1: container, 2: ["sh", "-c", script], 3: 20}
    assert cri.ask("ExecSync", ask)[1].split() == [str(64 * MIB).encode()]
    stats = decode(cri.ask("ContainerStats", {1: container})[1])
    assert decode(decode(stats[3])[2])[1] > 0
    cri.ask("UpdateContainerResources", {1: container, 2: {4: 96 * MIB}})
    assert cri.ask("ExecSync", ask)[1].split() == [str(96 * MIB).encode()]


def test_update_limit_after_limit(cri: Cri, pod: Pod) -> None:
    """The plugin sends all that it knows of the container; a kubelet's 0 changes nothing."""
    container = cri.container(
        pod, "updated", "sleep", "300", linux={1: {1: 100000, 2: 50000, 3: 512, 4: 64 * MIB}}
    )

    def now() -> dict[str, str]:
        return limits(cri.ask("ExecSync", {1: container, 2: ["sh", "-c", SHOW_LIMITS], 3: 20})[1].decode())

    before = now()
    assert before["memory"] == str(64 * MIB)
    wishes: list[tuple[Message, set[str]]] = [
        ({3: 300}, {"shares"}),
        ({2: 40000}, {"quota"}),
        ({4: 96 * MIB}, {"memory", "swap"} if "period" in before else {"memory"}),
        ({1: 0, 2: 0, 3: 0, 4: 0}, set()),
        ({1: 100000, 2: -1}, {"quota"}),
        ({3: 2}, {"shares"}),
        ({4: 64 * MIB}, {"memory", "swap"} if "period" in before else {"memory"}),
    ]
    for wish, changed in wishes:
        cri.ask("UpdateContainerResources", {1: container, 2: wish})
        after = now()
        assert {file for file, text in after.items() if before[file] != text} == changed, wish
        before = after


def test_out_of_memory(cri: Cri, pod: Pod) -> None:
    """A container that takes more than its limit is reported as OOMKilled."""
    eat = "dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 1; exit 9"
    container = cri.container(pod, "greedy", "sh", "-c", eat, linux={1: {4: 16 * MIB}})
    wait_for(exited(cri, container))
    assert cri.status(container)[10] == b"OOMKilled"


def test_confinement(cri: Cri, pod: Pod) -> None:
    """The default profile, a user, a read-only root, dropped capabilities, no new privileges."""
    security = {1: {2: ["ALL"]}, 3: {1: 2}, 5: {1: 1000}, 7: 1, 11: 1, 15: {1: 0}}
    container = cri.container(pod, "confined", "sleep", "300", linux={2: security})
    answer = cri.ask("ExecSync", {1: container, 2: ["sh", "-c", "cat /proc/self/status; touch /x"], 3: 20})
    status = answer[1].decode()
    assert "Seccomp:\t2" in status
    assert "Uid:\t1000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert b"Read-only file system" in answer[2]


def test_errors_have_our_reason(cri: Cri, pod: Pod) -> None:
    """The kubelet is told why a container can't start, and why an exec can't."""
    import grpc

    with pytest.raises(grpc.RpcError, match="no such file or directory"):
        cri.container(pod, "missing", "/missing")
    container = cri.container(pod, "there", "sleep", "300")
    with pytest.raises(grpc.RpcError, match="no such file or directory"):
        cri.ask("ExecSync", {1: container, 2: ["/missing"], 3: 20})
