# SPDX-License-Identifier: Apache-2.0
"""Where does a process of exec run: cgroups, CPUs, namespaces; and what of many, of a paused container, of the library?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, with_namespace, without_namespace
from tests.harness.driver import ENVIRONMENT, PATIENCE, runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

_ours = pytest.mark.skipif(runtime_under_test() in PEERS, reason="run with RUNTIME=ociruntime")
_FREEZER = Path("/sys/fs/cgroup/freezer")


def _freeze(container: Container, wanted: bool) -> None:
    """By the cgroup's own file, as any tool may."""
    line = next(
        line for line in Path(f"/proc/{container.state()['pid']}/cgroup").read_text().splitlines()
        if line.split(":")[1] in ("freezer", "" if not _FREEZER.is_dir() else "freezer")
    )  # fmt: skip
    path = line.split(":", 2)[2]
    if _FREEZER.is_dir():
        file, word = _FREEZER / path.lstrip("/") / "freezer.state", "FROZEN" if wanted else "THAWED"
    else:
        file, word = Path("/sys/fs/cgroup") / path.lstrip("/") / "cgroup.freeze", str(int(wanted))
    file.write_text(word)
    end = time.monotonic() + 10 * PATIENCE
    while _FREEZER.is_dir() and file.read_text().strip() != word:
        assert time.monotonic() < end
        time.sleep(0.01)


def _wait_until_it_passes_signals_on(pid: int) -> None:
    end = time.monotonic() + 10 * PATIENCE
    bit = 1 << signal.SIGTERM - 1
    while True:
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        if int(fields["SigCgt"], 16) & bit:
            return
        assert time.monotonic() < end
        time.sleep(0.01)


@_ours
def test_paused_container(stage: Stage) -> None:
    """Refused, and with --ignore-paused done when the container goes on; an interrupted wait leaves nothing."""
    container = stage.running()
    _freeze(container, True)
    try:
        container.exec("true").refused("exec: cannot exec in a paused container", "--ignore-paused")
        waiting = stage.runtime.start_call("exec", "--ignore-paused", container.id, "echo", "late")
        given_up = stage.runtime.start_call("exec", "--ignore-paused", container.id, "echo", "never")
        for each in (waiting, given_up):
            _wait_until_it_passes_signals_on(each.pid)
        time.sleep(0.5)
        assert waiting.poll() is None
        given_up.terminate()
        out, err = given_up.communicate(timeout=20 * PATIENCE)
        assert (given_up.returncode, out) == (128 + signal.SIGTERM, b""), err
    finally:
        _freeze(container, False)
    out, err = waiting.communicate(timeout=20 * PATIENCE)
    assert (waiting.returncode, out) == (0, b"late\n"), err
    container.delete("--force").ok()


def _controllers(container: Container) -> dict[str, Path]:
    """The container's cgroup directory by controller; "" is version 2."""
    found = {}
    for line in Path(f"/proc/{container.state()['pid']}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if container.id in path:
            for name in names.split(","):
                place = "unified" if not name else name.removeprefix("name=")
                root = Path("/sys/fs/cgroup") if not _FREEZER.is_dir() else Path("/sys/fs/cgroup", place)
                candidates = (
                    [root]
                    if root.is_dir()
                    else [one for one in root.parent.glob(f"*{name}*") if one.is_dir()]
                )
                parts = Path(path).parts
                tail = "/".join(parts[parts.index(container.id) :])
                # os.walk passes over what another session removes meanwhile
                matches = [
                    Path(one)
                    for top in candidates
                    for one, _, _ in os.walk(top)
                    if one.endswith(f"/{container.id}")
                ]
                found[name] = next(one for one in matches if str(one).endswith(tail))
    return found


@_ours
def test_sub_cgroup(stage: Stage) -> None:
    """--cgroup PATH enters cgroups below the container's, and none that is not there."""
    container = stage.running()
    own = _controllers(container)
    container.exec("true", flags=("--cgroup", "sub")).refused("open cgroup", "/sub", "ENOENT")
    for directory in {str(one) for one in own.values()}:
        os.mkdir(f"{directory}/sub")
        for name in ("cpus", "mems") if os.path.exists(f"{directory}/tasks") else ():
            file = Path(directory, f"cpuset.{name}")  # of version 1, where nothing is inherited
            if file.exists():
                Path(directory, "sub", file.name).write_text(file.read_text())
    try:
        lines = container.exec("cat", "/proc/self/cgroup", flags=("--cgroup", "/sub")).ok().out.splitlines()
        assert sum(line.endswith("/sub") for line in lines) == len(
            {line for line in lines if container.id in line}
        )
        if len(own) > 1:
            flags = ("--cgroup", "memory,pids:sub", "--cgroup", "cpu:sub")
            lines = container.exec("cat", "/proc/self/cgroup", flags=flags).ok().out.splitlines()
            entered = {
                name for line in lines if line.endswith("/sub") for name in line.split(":")[1].split(",")
            }
            assert {"memory", "pids", "cpu"} <= entered
            assert "freezer" not in entered
    finally:
        for directory in {str(one) for one in own.values()}:
            os.rmdir(f"{directory}/sub")
    container.delete("--force").ok()


@_ours
@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (("--cgroup", "../x"), "is not below"),
        (("--cgroup", "a/../../x"), "is not below"),
        (("--cgroup", "nix:a"), "no cgroup of the controller 'nix'"),
        (("--cgroup", ":a"), "controller ''"),
        (("--cgroup", "a", "--cgroup", "b"), "names no controller"),
    ],
)
def test_sub_cgroup_that_is_none(stage: Stage, flags: tuple[str, ...], told: str) -> None:
    """A path out of the container's cgroup, and a controller that it has not, are refused."""
    container = stage.in_state("created")
    container.exec("true", flags=flags).refused(told)
    container.delete("--force").ok()


@_ours
@pytest.mark.parametrize("names", [("initial",), ("final",), ("initial", "final")])
def test_affinity(stage: Stage, names: tuple[str, ...]) -> None:
    """R060, R061: exec's CPUs, by the container's config or the document; the container's program has its own."""
    allowed = sorted(os.sched_getaffinity(0))
    cpus = {"initial": str(allowed[0]), "final": str(allowed[-1])}

    def edit(config: Config) -> None:
        config["process"]["execCPUAffinity"] = {name: cpus[name] for name in names}

    container = stage.running(edit)
    script = "grep Cpus_allowed_list /proc/self/status"
    wanted = cpus["final"] if "final" in names else cpus["initial"]
    assert container.exec("sh", "-c", script).ok().out.split()[1] == wanted
    assert container.id in container.exec("cat", "/proc/self/cgroup").ok().out
    assert os.sched_getaffinity(container.state()["pid"]) == set(allowed)
    other = {"final": cpus["initial"]}
    document = stage.process_file(args=["sh", "-c", script], execCPUAffinity=other)
    assert container.exec(flags=("-p", document)).ok().out.split()[1] == cpus["initial"]
    bad = stage.process_file(args=["true"], execCPUAffinity={"final": "8191"})
    container.exec(flags=("-p", bad)).refused("/execCPUAffinity/final", "EINVAL")
    container.delete("--force").ok()


@_ours
def test_affinity_that_the_cpuset_replaces(stage: Stage) -> None:
    """R061: without `final` what the kernel makes of the affinity in the container's cgroup stays."""
    allowed = sorted(os.sched_getaffinity(0))

    def edit(config: Config) -> None:
        config["process"]["execCPUAffinity"] = {"initial": str(allowed[0])}
        config["linux"]["resources"]["cpu"] = {"cpus": str(allowed[-1])}

    container = stage.running(edit)
    out = container.exec("grep", "Cpus_allowed_list", "/proc/self/status").ok().out
    assert out.split()[1] == str(allowed[-1])
    container.delete("--force").ok()


def test_other_kinds_of_containers(compare: Compare) -> None:
    """With joined namespaces, without a pid namespace, without a network namespace: it is where init is."""

    def scenario(stage: Stage) -> dict[str, Any]:
        first = stage.running()
        pid = first.state()["pid"]

        def joined(config: Config) -> None:
            with_namespace(config, "network", f"/proc/{pid}/ns/net")
            with_namespace(config, "pid", f"/proc/{pid}/ns/pid")

        def without(config: Config) -> None:
            without_namespace(config, "pid")
            without_namespace(config, "network")

        answers = {}
        for name, edit in (("exec with joined namespaces", joined), ("exec without namespaces", without)):
            container = stage.running(edit)
            out = (
                container.exec("sh", "-c", "for n in net pid mnt uts ipc; do readlink /proc/self/ns/$n; done")
                .ok()
                .out
            )
            own = [
                os.readlink(f"/proc/{container.state()['pid']}/ns/{kind}")
                for kind in ("net", "pid", "mnt", "uts", "ipc")
            ]
            answers[name] = out.split() == own
            container.delete("--force").ok()
        first.delete("--force").ok()
        return answers

    assert compare(scenario) == {"exec with joined namespaces": True, "exec without namespaces": True}


@_ours
def test_container_without_a_mount_namespace(stage: Stage) -> None:
    """The program runs in the container's root anyway."""

    def edit(config: Config) -> None:
        without_namespace(config, "mount")
        config["mounts"] = []
        config["linux"].pop("maskedPaths")
        config["linux"].pop("readonlyPaths")
        config["root"]["readonly"] = False

    stage.runtime.command = ["unshare", "-m", "--propagation", "private", *stage.runtime.command]
    container = stage.container("sleep", "1000", edit=edit)
    (container.bundle.rootfs / "mark").write_text("inside\n")
    assert container.create().code == 0, container.errors()
    container.start().ok()
    assert container.exec("cat", "/mark").ok().out == "inside\n"
    assert container.exec("pwd", flags=("--cwd", "/bin")).ok().out == "/bin\n"
    container.delete("--force").ok()


@_ours
def test_twenty_at_once(stage: Stage) -> None:
    """Twenty execs of one container at the same time, each with its own output and status."""
    container = stage.running()

    def one(number: int) -> tuple[int, str]:
        result = container.exec("sh", "-c", f"echo {number}; exit {number}")
        return result.code, result.out

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(20)))
    assert answers == [(number, f"{number}\n") for number in range(20)]
    container.delete("--force").ok()


@_ours
def test_nothing_grows(stage: Stage) -> None:
    """After many execs the container has one process, and its cgroup and state directory are as before."""
    container = stage.running()
    place = stage.runtime.root / container.id

    def look() -> tuple[list[str], list[str], list[str]]:
        cgroups = sorted(
            str(one)
            for directory in _controllers(container).values()
            for one in directory.rglob("*")
            if one.is_dir()
        )
        pids = [
            line
            for directory in _controllers(container).values()
            for line in (directory / "cgroup.procs").read_text().split()
        ]
        return sorted(os.listdir(place)), cgroups, sorted(set(pids))

    before = look()
    for number in range(10):
        assert container.exec("true" if number % 2 else "no-such-program").code in (0, 255)
    assert look() == before
    container.delete("--force").ok()


@_ours
def test_trace(stage: Stage) -> None:
    """--trace writes when each step began and ended, the host's and the process's."""
    container = stage.in_state("created")
    path = stage.directory / "trace.json"
    container.exec("true", flags=("--trace", str(path))).ok()
    events = json.loads(path.read_text())["traceEvents"]
    names = [event["name"] for event in events]
    assert "exec" in names
    assert any(name.startswith("open init") for name in names)
    assert any(name.startswith("join namespaces") for name in names)
    assert any(name.startswith("exec true") for name in names)
    container.delete("--force").ok()


@_ours
def test_a_library_call_is_the_caller_s_child(stage: Stage) -> None:
    """Twenty processes by the library, its descriptors flat, and its memory too (CVE-2025-27612: no inheritable ones)."""
    container = stage.running()
    program = f"""
import os
import ociruntime
from ociruntime import Request

made = ociruntime.load({str(stage.runtime.root)!r}, {container.id!r})
def size():
    return int(open("/proc/self/statm").read().split()[1]) * 4
def once(request):
    reader, writer = os.pipe()
    with made.exec(request, stdio=(-1, writer, writer)) as process:
        os.close(writer)
        with os.fdopen(reader) as output:
            said = output.read()
        return process.wait(), said
status = ["grep", "CapInh", "/proc/self/status"]
assert once(Request(status, capabilities=["CAP_CHOWN"])) == (0, "CapInh:\\t" + "0" * 16 + "\\n")
before = len(os.listdir("/proc/self/fd")), size()
for number in range(20):
    assert once(Request(["sh", "-c", f"exit {{number}}"])) == (number, "")
after = len(os.listdir("/proc/self/fd")), size()
assert after[0] == before[0], (before, after)
assert after[1] - before[1] < 512, (before, after)
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print("no child left")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env=ENVIRONMENT, cwd=Path(__file__).parents[2],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == "no child left\n"
    container.delete("--force").ok()


def test_system_call_filter(compare: Compare) -> None:
    """The container's filter is that of exec, with and without noNewPrivileges; by a document as well."""

    def edit(config: Config) -> None:
        config["process"]["noNewPrivileges"] = False
        rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}
        config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running(edit)
        script = "mkdir /dev/shm/x; grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status; grep -c . /proc/self/status >/dev/null"
        document = stage.process_file(args=["sh", "-c", script], noNewPrivileges=True)
        answers = {}
        for name, flags, words in (("flags", (), ("sh", "-c", script)), ("document", ("-p", document), ())):
            result = container.exec(*words, flags=flags)
            answers[name] = [result.out.split(), "No space left on device" in result.err]
        container.delete("--force").ok()
        return answers

    answers = compare(scenario)
    assert answers["flags"] == [["NoNewPrivs:", "0", "Seccomp:", "2"], True]
    assert answers["document"] == [["NoNewPrivs:", "1", "Seccomp:", "2"], True]
