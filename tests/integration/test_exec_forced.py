# SPDX-License-Identifier: Apache-2.0
"""Does exec fail well, whatever fails, and end with its runtime? Each step is made to fail; the runtime is killed anywhere."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ociruntime import Request, load
from ociruntime.errors import RuntimeFailure, StepFailed, WrongState
from ociruntime.plan import exec_order
from ociruntime.step import HostStep, InitStep, Plan, Step, SyncStep
from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.leaks import own_children
from tests.harness.peers import PEERS
from tests.integration.test_crash import _killed_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.harness.configuration import Config
    from tests.harness.driver import Container
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="steps are this runtime's: run with RUNTIME=ociruntime"
)

_CLONE_THREAD = 0x10000


def _everything(config: Config) -> None:
    """A container whose plan of exec has every kind of step."""
    config["process"]["oomScoreAdj"] = 5
    cpu = str(min(os.sched_getaffinity(0)))
    config["process"]["execCPUAffinity"] = {"initial": cpu, "final": cpu}
    config["process"]["user"] = {"uid": 5, "gid": 5, "umask": 0o77}


def _pids(container: Container) -> list[str]:
    """The processes of the container, by a cgroup that each of them is in."""
    path = Path(f"/proc/{container.state()['pid']}/cgroup").read_text().splitlines()
    own = next(line for line in path if container.id in line and (":pids:" in line or line.startswith("0::")))
    top = "/sys/fs/cgroup" + ("/pids" if ":pids:" in own else "")
    return Path(top + own.split(":", 2)[2], "cgroup.procs").read_text().split()


def _fails(container: Container, pid_file: str = "") -> RuntimeFailure:
    """Call exec in this process: it must fail, and leave no process, child, descriptor and pid file."""
    made = load(str(container.runtime.root), container.id)
    descriptors, children = os.listdir("/proc/self/fd"), own_children()
    with pytest.raises(RuntimeFailure) as caught:
        made.exec(Request(["sleep", "300"]), pid_file=pid_file)
    assert os.listdir("/proc/self/fd") == descriptors
    assert own_children() <= children
    assert len(_pids(container)) == 1
    return caught.value


@pytest.fixture
def edited(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[list[Step]], None]], None]]:
    """A function that lets exec carry out an edited plan."""
    make = exec_order.make

    def use(edit: Callable[[list[Step]], None]) -> None:
        def made(*arguments: object) -> Plan:
            plan = make(*arguments)  # type: ignore[arg-type]
            edit(plan.steps)
            return Plan(plan.steps, plan.clone_flags, plan.warnings)

        monkeypatch.setattr(exec_order, "make", made)

    yield use
    monkeypatch.undo()


def test_every_step_fails(stage: Stage, edited: Callable[[Callable[[list[Step]], None]], None]) -> None:
    """A failure before each step: the error names it, and nothing is left, wherever it happens."""
    container = stage.running(_everything)
    pid_file = str(stage.directory / "pid")
    steps: list[Step] = []
    edited(steps.extend)
    made = load(str(stage.runtime.root), container.id)
    with made.exec(Request(["true"])) as process:
        assert process.wait() == 0
    kinds = {type(step) for step in steps}
    assert kinds == {HostStep, InitStep, SyncStep}
    clone = next(index for index, step in enumerate(steps) if step.name == "clone helper")
    for index in range(len(steps)):

        def edit(planned: list[Step], index: int = index) -> None:
            if index <= clone:
                args: dict[str, object] = {"slots": {"x": "/no/such/file"}}
                planned.insert(index, HostStep("open_cgroup", args, text="forced"))
            else:
                planned.insert(index, InitStep("unshare", 1, name="forced", text=str(index)))

        edited(edit)
        failure = _fails(container, pid_file)
        assert isinstance(failure, StepFailed), failure
        assert "forced" in failure.step
        assert not os.path.exists(pid_file)
    container.delete("--force").ok()


_HOST = {
    "open init": ({"pid": 0x3FFFFF, "start_time": 1}, "init has ended"),
    "open init: another process": ({"start_time": 1}, "init has ended"),
    "open cgroup": ({"slots": {"cgroup": "/no/such/cgroup"}}, "ENOENT"),
    "set rlimit": ({"hard": 1 << 40, "soft": 1 << 40}, "EPERM"),
    "set oom_score_adj": ({"value": 5000}, "EINVAL"),
}


@pytest.mark.parametrize("name", _HOST)
def test_host_step_fails(
    stage: Stage, name: str, edited: Callable[[Callable[[list[Step]], None]], None]
) -> None:
    """Each host step with an argument that makes it fail."""
    values, told = _HOST[name]
    container = stage.running(_everything)

    def edit(planned: list[Step]) -> None:
        step = next(one for one in planned if one.name == name.partition(":")[0])
        assert isinstance(step, HostStep)
        step.args = {**step.args, **values}

    edited(edit)
    assert told in str(_fails(container))
    container.delete("--force").ok()


def test_clone_fails(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel makes no process, the error says so; a hook is cloned by the same code."""
    container = stage.running()
    make = exec_order.make
    monkeypatch.setattr(exec_order, "make", lambda *all: Plan(make(*all).steps, _CLONE_THREAD, []))
    failure = _fails(container)
    assert failure.step.startswith("clone helper")
    assert "EINVAL" in str(failure)
    container.delete("--force").ok()


def test_container_that_ends_meanwhile(
    stage: Stage, edited: Callable[[Callable[[list[Step]], None]], None]
) -> None:
    """If init ends after it was looked at, the container is stopped, and that is the error."""
    container = stage.running()

    def edit(_planned: list[Step]) -> None:
        container.kill("KILL").ok()
        container.wait_for("stopped")

    edited(edit)
    made = load(str(stage.runtime.root), container.id)
    with pytest.raises((WrongState, StepFailed), match=r"stopped|ended|ENODEV|ENOENT"):
        made.exec(Request(["true"]))
    container.delete().ok()


def _programs(container: Container) -> list[str]:
    """What runs in the container besides its init, once everything that is ending has ended."""
    end = time.monotonic() + 10 * PATIENCE
    while True:
        found = []
        for pid in _pids(container):
            try:
                found.append(os.readlink(f"/proc/{pid}/exe") + Path(f"/proc/{pid}/comm").read_text())
            except OSError:
                continue
        if not any("ociruntime-init" in one for one in found):
            return [one for one in found if one.endswith("exec-test\n")]
        assert time.monotonic() < end, found
        time.sleep(0.02)


@pytest.mark.parametrize("call", ["recvmsg", "sendto", "prlimit64", "rename"])
def test_killed_runtime(stage: Stage, call: str) -> None:
    """Kill -9 of the runtime: before the last stop the process ends with it, afterwards the program runs on."""
    container = stage.running(_everything)
    shell = container.bundle.rootfs / "bin" / "exec-test"
    if not shell.exists():
        shell.symlink_to("sleep")
    container.bundle.script("exec-test", "#!/bin/sh\nread x <&-\nsleep 300\n")
    outcomes = []
    for number in range(1, 12):
        flags = ("--detach", "--pid-file", str(stage.directory / "pid"))  # which is renamed at the last stop
        argv = stage.runtime.argv("exec", *flags, container.id, "/exec-test")
        code, _ = _killed_at(call, number, argv)
        running = _programs(container)
        outcomes.append(bool(running))
        for pid in _pids(container):
            if Path(f"/proc/{pid}/comm").read_text() == "exec-test\n":
                os.kill(int(pid), 9)
        if code == 0:
            assert running
            break
    else:
        raise AssertionError(f"{call} is called without end")
    assert outcomes == sorted(outcomes), (
        "a program ran although its runtime was killed earlier than one that did not"
    )
    assert not outcomes[0]
    container.delete("--force").ok()
