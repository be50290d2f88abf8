# SPDX-License-Identifier: Apache-2.0
"""A kubelet's calls, through containerd's CRI plugin, with our own shim: one process serves a whole pod."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import pytest

from tests.engines.test_cri import (  # noqa: F401 - collected here, with the fixture below
    pod,
    test_confinement,
    test_errors_have_our_reason,
    test_logs_and_exit_code,
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


def _parents_of(pids: list[str]) -> set[str]:
    """Their parents."""
    return {Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] for pid in pids}


def test_one_shim_for_a_pod(cri: ShimCri, pod: tuple[str, Message]) -> None:  # noqa: F811
    """The pause container and three others are children of one process, and each ends by itself."""
    containers = [cri.container(pod, f"c{number}", "sleep", "300") for number in range(3)]
    below = f"/sys/fs/cgroup/*/{pod[1][8][1].strip('/')}"
    pids = {
        (Path("/") / place).read_text().split()[0]
        for container in [pod[0], *containers]
        for place in Path("/").glob(f"{below.lstrip('/')}/{container}/cgroup.procs")
    }
    assert len(pids) == 4
    assert len(_parents_of(sorted(pids))) == 1
    cri.ask("StopContainer", {1: containers[0], 2: 0})
    cri.ask("RemoveContainer", {1: containers[0]})
    assert [cri.status(one)[3] for one in containers[1:]] == [1, 1]


def test_an_exec_that_takes_too_long(cri: ShimCri, pod: tuple[str, Message]) -> None:  # noqa: F811
    """ExecSync with a time limit ends the process, and the next one works."""
    container = cri.container(pod, "slow", "sleep", "300")
    began = time.monotonic()
    with pytest.raises(grpc.RpcError, match="timeout"):
        cri.ask("ExecSync", {1: container, 2: ["sleep", "123"], 3: 1})
    assert time.monotonic() - began < 10 * PATIENCE
    shown = cri.ask("ExecSync", {1: container, 2: ["ps"], 3: 20})[1].decode()
    assert "sleep 123" not in shown
    assert "sleep 300" in shown
