# SPDX-License-Identifier: Apache-2.0
"""A kubelet's calls, through containerd's CRI plugin, with our own shim: one process serves a whole pod."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engines.engine import SYSTEMD
from tests.engines.test_cri import (  # noqa: F401 - collected here, with the fixture below
    pod,
    test_confinement,
    test_errors_have_our_reason,
    test_logs_and_exit_code,
    test_network_of_its_own,
    test_out_of_memory,
    test_pod_of_two_containers,
    test_resources,
    test_terminal,
    test_update_limit_after_limit,
)
from tests.harness.driver import PATIENCE

if TYPE_CHECKING:
    from tests.engines.cri import Message, ShimCri


@pytest.fixture
def cri(shim_cri: ShimCri) -> ShimCri:
    """The CRI plugin of this file's tests."""
    return shim_cri


def _pid_of(container: str) -> str:
    """Its first process: the id is the last part of its cgroup's path, or in it, if systemd has made it."""
    found = [
        entry.name
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and container in _text(entry / "cgroup")
    ]
    return min(found, key=int)


def _text(path: Path) -> str:
    """What is in a file of a process, which may have ended."""
    try:
        return path.read_text(encoding="ascii")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _parents_of(pids: list[str]) -> set[str]:
    """Their parents."""
    return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] for pid in pids}


def test_one_shim_for_a_pod(cri: ShimCri, pod: tuple[str, Message]) -> None:  # noqa: F811
    """The pause container and three others are children of one process, and each ends by itself."""
    containers = [cri.container(pod, f"c{number}", "sleep", "300") for number in range(3)]
    pids = [_pid_of(container) for container in [pod[0], *containers]]
    assert len(set(pids)) == 4
    assert len(_parents_of(pids)) == 1
    place = _text(Path(f"/proc/{pids[1]}/cgroup")).splitlines()[-1]
    assert place.endswith(f"/cri-containerd-{containers[0]}.scope" if SYSTEMD else f"/{containers[0]}")
    cri.ask("StopContainer", {1: containers[0], 2: 0})
    cri.ask("RemoveContainer", {1: containers[0]})
    assert [cri.status(one)[3] for one in containers[1:]] == [1, 1]


def test_an_exec_that_takes_too_long(cri: ShimCri, pod: tuple[str, Message]) -> None:  # noqa: F811
    """ExecSync with a time limit ends the process, and the next one works."""
    import grpc  # not sooner: see Cri.start

    container = cri.container(pod, "slow", "sleep", "300")
    began = time.monotonic()
    with pytest.raises(grpc.RpcError, match="timeout"):
        cri.ask("ExecSync", {1: container, 2: ["sleep", "123"], 3: 1})
    assert time.monotonic() - began < 10 * PATIENCE
    shown = cri.ask("ExecSync", {1: container, 2: ["ps"], 3: 20})[1].decode()
    assert "sleep 123" not in shown
    assert "sleep 300" in shown
