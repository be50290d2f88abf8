# SPDX-License-Identifier: Apache-2.0
"""What a host lacks: does the failing command say it, with its cure, and does `doctor` find it before?

Each lack of lacking.py is made around both. The doctor's cause and cure are the words of the error. What an ordinary user
lacks is in test_doctor_users.py.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups.systemd import bus
from tests.harness.cgroup_files import V2
from tests.harness.command import LAUNCHER, snapshot
from tests.harness.configuration import add_bind, set_capabilities, with_users
from tests.harness.doctor import AS_USER, doctor, left
from tests.harness.driver import ENVIRONMENT, PATIENCE, TIMEOUT, command_of, runtime_under_test
from tests.harness.peers import PEERS
from tests.harness.skips import HOST_KINDS, has_lsm
from tests.integration.lacking import LACKS, OF_STEPS, Lack

if TYPE_CHECKING:
    from tests.harness.driver import Container, Result
    from tests.harness.stage import Stage

REPOSITORY = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(runtime_under_test() in PEERS, reason="only this runtime has this verb")


def _fail(container: Container, lack: Lack) -> Result:
    runtime = container.runtime
    command = runtime.command
    runtime.command = [*lack.wrapper, *command]
    try:
        return container.create(options=lack.options)
    finally:
        runtime.command = command


@pytest.mark.parametrize("name", [name for name, lack in LACKS.items() if lack.step])
def test_the_command_says_what_is_missing(stage: Stage, name: str) -> None:
    """Step, the kernel's reason, cause and cure; the same container can be made where nothing is missing."""
    lack = LACKS[name]
    container = stage.container("true", edit=lack.edit)
    _fail(container, lack).refused("create: ", *lack.step, *lack.words)
    assert container.status() == ""
    container.create(options=lack.options).ok()
    container.delete("--force").ok()


def _of_step(name: str) -> str:
    command = [*LACKS[name].wrapper, sys.executable, "-c", OF_STEPS[name]]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=True).stdout


@pytest.mark.parametrize("name", OF_STEPS)
def test_a_step_says_what_is_missing(name: str) -> None:
    """The same of a single step."""
    said = _of_step(name)
    for word in ("ENOSPC" if name == "user namespaces" else "EPERM", *LACKS[name].words):
        assert word in said


@pytest.mark.parametrize("name", LACKS)
def test_doctor_finds_it_before(stage: Stage, name: str) -> None:
    """It names the probe, says that the bundle needs it, and has the cause and the cure that the error has."""
    lack = LACKS[name]
    container = stage.container("true", edit=lack.edit)
    bundle = str(container.bundle.directory)
    code, answers = doctor(*lack.options, "doctor", bundle, wrapper=lack.wrapper)
    answer = answers[lack.probe]
    assert answer["state"] == "missing", answer
    assert answer["needed"]
    assert code == 1
    text = f"{answer['cause']}: {answer['cure']}"
    for word in lack.words:
        assert word in text
    assert answer["cure"] in (_fail(container, lack).err if lack.step else _of_step(name))
    code, answers = doctor(*lack.options, "doctor", bundle)
    assert answers[lack.probe]["state"] == "works"
    assert code == 0


def test_everything_works_here() -> None:
    """As root on a host of this kind: whatever an ordinary container needs. Nothing is left, and it takes no long time."""
    began = time.monotonic()
    code, answers = doctor("doctor")
    assert code == 0, {name: one for name, one in answers.items() if one["state"] != "works"}
    assert time.monotonic() - began < 5 * PATIENCE
    for name in ("mount", "pid", "network", "ipc", "uts", "user", "cgroup", "time"):
        assert answers[f"namespace.{name}"]["state"] == "works", answers[f"namespace.{name}"]
    needed = {name for name, one in answers.items() if one["needed"]}
    assert {
        "exec.memory-file",
        "namespace.pid",
        "mount.proc",
        "cgroup.make",
        "cgroup.devices",
        "root.pivot",
    } <= needed
    assert not {"namespace.user", "mount.overlay", "checkpoint.criu"} & needed
    there = {
        "cgroup.systemd": os.path.isdir("/run/systemd/system"),
        "security.apparmor": has_lsm("apparmor"),
        "security.selinux": has_lsm("selinux"),
    }
    assert {name: answers[name]["state"] == "works" for name in there} == there


def _without_libseccomp(stage: Stage) -> dict[str, Any]:
    """What doctor says of the compiler of filters where the library can't be loaded."""
    empty = stage.directory / "empty"
    empty.mkdir(exist_ok=True)
    (empty / "libseccomp.so.2").write_bytes(b"")
    done = stage.runtime.call("doctor", "--format", "json", env={**os.environ, "LD_LIBRARY_PATH": str(empty)})
    found: dict[str, Any] = next(
        one for one in json.loads(done.out)["probes"] if one["name"] == "seccomp.library"
    )
    return found


def test_libseccomp_is_missing(stage: Stage) -> None:
    """The launcher loads it, and so the package is named."""
    stage.runtime.command = [LAUNCHER]
    answer = _without_libseccomp(stage)
    assert (answer["state"], answer["cure"]) == ("missing", "apt-get install libseccomp2 (2.5 or newer)")
    assert "libseccomp.so.2 can't be loaded" in answer["cause"]


@pytest.mark.skipif(
    HOST_KINDS["no static libseccomp"](),
    reason="libseccomp is linked in where gcc finds libseccomp.a: apt-get install libseccomp-dev",
)
def test_libseccomp_is_in_the_command(stage: Stage) -> None:
    """A snapshot that was linked with it needs no package, and its doctor asks for none."""
    stage.runtime.command = [snapshot()]
    version = re.findall("^libseccomp: (.+)$", stage.runtime.call("--version").ok().out, re.MULTILINE)
    answer = _without_libseccomp(stage)
    assert (answer["state"], answer["detail"]) == ("works", f"libseccomp {version[0]}, in the command itself")


def test_what_can_not_be_examined(stage: Stage) -> None:
    """No bundle; an invalid config: one line of error, and nothing is tried."""
    stage.runtime.call("doctor", "/no/such/bundle").refused("doctor: /no/such: no such directory")
    broken = stage.bundle("true", edit=lambda config: config["linux"]["namespaces"].append({"type": "moon"}))
    stage.runtime.call("doctor", str(broken.directory)).refused("doctor: /linux/namespaces/5/type", "moon")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_can_be_interrupted_and_cut_off(stage: Stage, number: signal.Signals) -> None:
    """A signal in the middle leaves nothing; nor does a reader that goes away."""
    for delay in (0.08, 0.1, 0.12, 0.14, 0.16):
        process = stage.runtime.start_call("doctor")
        time.sleep(delay)
        process.send_signal(number)
        process.communicate(timeout=TIMEOUT)
        assert process.returncode in (0, 128 + number, -number)
    end = time.monotonic() + 2
    while there := left():
        assert time.monotonic() < end, there
    script = f"{command_of('ociruntime')[0]} doctor | head -1"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, env=ENVIRONMENT, timeout=TIMEOUT, check=True
    )
    assert (done.stdout.count(b"\n"), done.stderr) == (1, b"")


def test_a_program_that_hangs(tmp_path: Path) -> None:
    """A criu that never ends: the answer comes in time, and the program and its child are ended."""
    program = tmp_path / "criu"
    program.write_text(f"#!/bin/sh\nsleep 1000 &\necho $$ $! > {tmp_path}/pids\nexec sleep 1000\n")
    program.chmod(0o755)
    began = time.monotonic()
    code, answers = doctor("doctor", PATH=f"{tmp_path}:{ENVIRONMENT['PATH']}")
    assert time.monotonic() - began < 6 * PATIENCE
    assert (code, answers["checkpoint.criu"]["state"]) == (0, "missing")
    # An emulated machine starts the program too late for that: then all probes are over.
    causes = ("does not end", "no answer within") if PATIENCE > 1 else ("does not end",)
    assert any(words in answers["checkpoint.criu"]["cause"] for words in causes)
    for pid in (tmp_path / "pids").read_text().split():
        end = time.monotonic() + 2
        while os.path.exists(f"/proc/{pid}"):
            assert time.monotonic() < end, pid
            time.sleep(0.01)


@pytest.mark.skipif(V2, reason="cgroup v1 or hybrid: a controller can be taken away by umount")
def test_a_controller_that_is_missing(stage: Stage) -> None:
    """Without a limit it is a restriction; a limit needs it, and the command says the same."""
    wrapper = ["unshare", "--mount", "sh", "-ec", 'umount -l /sys/fs/cgroup/pids\nexec "$@"', "sh"]
    code, answers = doctor("doctor", wrapper=wrapper)
    assert (code, answers["cgroup.controllers"]["state"]) == (0, "restricted")
    assert "pids" in answers["cgroup.controllers"]["detail"]
    limited = LACKS["no cgroups"].edit
    container = stage.container("true", edit=limited)
    code, answers = doctor("doctor", str(container.bundle.directory), wrapper=wrapper)
    assert (code, answers["cgroup.controllers"]["state"]) == (1, "missing")
    cure = "mount -t cgroup -o pids cgroup /sys/fs/cgroup/pids"
    assert cure in answers["cgroup.controllers"]["cure"]
    lack = Lack(wrapper, "", (), ())
    _fail(container, lack).refused("/linux/resources/pids", "'pids' is not mounted", cure)


def test_memory_files_that_can_not_be_executed() -> None:
    """vm.memfd_noexec=2: root's runtime uses a tmpfs, and nobody else has that; both hear the sysctl's name."""
    script = 'echo 2 > /proc/sys/vm/memfd_noexec\nexec "$@"'
    wrapper = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-ec", script, "sh"]
    code, answers = doctor("doctor", wrapper=wrapper)
    answer = answers["exec.memory-file"]
    assert (code, answer["state"], answer["detail"]) == (0, "restricted", "from a tmpfs instead")
    code, answers = doctor("doctor", wrapper=[*wrapper, *AS_USER])
    answer = answers["exec.memory-file"]
    assert (code, answer["state"], answer["cure"]) == (1, "missing", "sysctl -w vm.memfd_noexec=1")
    assert "vm.memfd_noexec is 2" in answer["cause"]


def test_a_file_system_that_the_kernel_does_not_have(stage: Stage) -> None:
    """A mount of the bundle that nothing here can make."""

    def edit(config: dict[str, Any]) -> None:
        config["mounts"].append({"destination": "/x", "type": "no-such-fs", "source": "x"})

    container = stage.container("true", edit=edit)
    code, answers = doctor("doctor", str(container.bundle.directory))
    answer = answers["mount.no-such-fs"]
    assert (code, answer["state"], answer["cure"]) == (1, "missing", "modprobe no-such-fs")
    container.create().refused(
        "/mounts/7", "ENODEV", "does not know the file system type no-such-fs", answer["cure"]
    )


def test_a_kernel_without_overlay() -> None:
    """By strace, which answers ENODEV to the third mount of a process, which only the probe of overlay makes."""
    refuse = ["-e", "trace=mount", "-e", "inject=mount:error=ENODEV:when=3"]
    wrapper = ["strace", "--seccomp-bpf", "-f", "-qq", "-o", "/dev/null", *refuse]
    _, answers = doctor("doctor", wrapper=wrapper)
    answer = answers["mount.overlay"]
    assert (answer["state"], answer["cure"]) == ("missing", "modprobe overlay")
    assert "does not know the file system type overlay" in answer["cause"]
    assert answers["mount.tmpfs"]["state"] == "works"


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs here: its bus is there")
def test_the_systemd_driver_without_systemd(stage: Stage) -> None:
    """What the driver says where it connects, and the doctor before."""
    container = stage.container("true")
    code, answers = doctor("--systemd-cgroup", "doctor", str(container.bundle.directory))
    answer = answers["cgroup.systemd"]
    assert (code, answer["state"], answer["needed"]) == (1, "missing", True)
    assert "systemd does not run here: process 1 is" in answer["cause"]
    with pytest.raises(StepFailed) as caught:
        bus.connect(0)
    assert "/run/dbus/system_bus_socket" in caught.value.reason
    assert caught.value.hint == f"{answer['cause']}: {answer['cure']}"


def _in_container(stage: Stage, *capabilities: str) -> dict[str, dict[str, Any]]:
    """The answers of a doctor in a container with masks on /proc, as engines make it, for a bundle with a user namespace."""
    inner = stage.bundle("true", edit=lambda config: with_users(config, (0, 0, 1)))
    command = [
        *command_of("ociruntime"),
        "--cgroup-manager",
        "disabled",
        "doctor",
        str(inner.directory),
        "--format",
        "json",
    ]

    def edit(config: dict[str, Any]) -> None:
        own = (str(REPOSITORY), sys.prefix, str(stage.directory), os.path.dirname(command[0]))
        for place in (*own, "/usr", "/lib", "/lib64", "/etc"):
            add_bind(config, place, place, "ro")
        set_capabilities(config, *capabilities)

    done = stage.container(*command, edit=edit).run()
    assert done.out, done.err
    return {one["name"]: one for one in json.loads(done.out)["probes"]}


def test_in_a_container(stage: Stage) -> None:
    """Of a root without power; and of one with all that is needed, for whom /proc is still covered."""
    answers = _in_container(stage, "CAP_KILL")
    assert "root has no CAP_SYS_ADMIN" in answers["mount.id-mapped"]["cause"]
    assert "--cap-add SETFCAP" in answers["mount.proc-in-user-namespace"]["cure"]
    answers = _in_container(stage, "CAP_SYS_ADMIN", "CAP_SETUID", "CAP_SETGID", "CAP_SETFCAP")
    assert answers["namespace.user"]["state"] == "works"
    assert answers["namespace.pid"]["state"] == "works"
    answer = answers["mount.proc-in-user-namespace"]
    assert (answer["state"], answer["needed"]) == ("missing", True)
    assert answer["cause"].startswith("/proc is covered in ")
    assert "systempaths=unconfined" in answer["cure"]
