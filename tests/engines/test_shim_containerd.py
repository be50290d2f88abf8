# SPDX-License-Identifier: Apache-2.0
"""containerd drives our own shim, which makes the containers in its own process.

The tests of test_containerd.py that do not name a command for runc's shim are run again, and then what is the shim's own.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pexpect
import pytest

from tests.engines.engine import SLICE, SYSTEMD, wait_for
from tests.engines.image import NAME
from tests.engines.test_containerd import (  # noqa: F401 - collected here, with the fixture below
    run,
    status,
    task,
    test_errors_have_our_reason,
    test_exec,
    test_full_pids_cgroup,
    test_kill,
    test_options,
    test_pause_and_metrics,
    test_run,
)
from tests.harness import leaks
from tests.harness.driver import MARK, PATIENCE, TIMEOUT
from tests.harness.rootfs import copy_busybox

if TYPE_CHECKING:
    from tests.engines.containerd import ShimContainerd

Name = Callable[[], str]
MEGABYTES = 100
AT_ONCE = 20
RESTARTS = 10
KILLS = int(os.environ.get("OCIRUNTIME_TEST_ROUNDS", "10"))


@pytest.fixture
def containerd(shim_containerd: ShimContainerd) -> Iterator[ShimContainerd]:
    """The containerd of this file's tests; after each of them nothing more is there than before."""
    before = leaks.take(shim_containerd.directory)
    yield shim_containerd

    def may_stay(line: str) -> bool:
        """The cgroup above all containers goes with the engine, which may have been started again."""
        if " --config " in line and str(shim_containerd.directory) in line:
            return True
        return line.startswith("cgroup ") and os.path.basename(line) in shim_containerd.parents()

    assert leaks.left_behind(before, shim_containerd.directory, 10, may_stay)[0] == []


def shims(containerd: ShimContainerd) -> list[int]:
    """The process ids of this containerd's shims, those that begin included, and without the calls of `delete`."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            ours = b"containerd-shim-ociruntime-v1" in words and str(containerd.directory).encode() in words
            if ours and not words.endswith(b"\0delete\0"):
                found.append(int(entry.name))
    return found


def kill_shims(containerd: ShimContainerd) -> int:
    """Kill them; how many there were."""
    found = shims(containerd)
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    return len(found)


def remove(containerd: ShimContainerd, name: str) -> None:
    """Kill a task, and delete it and its container."""
    containerd.call("task", "kill", "-s", "KILL", name)
    wait_for(lambda: status(containerd, name) in ("STOPPED", ""))
    containerd.call("task", "delete", name)
    containerd.call("container", "delete", name).ok()


def test_it_is_our_shim(containerd: ShimContainerd, task: str) -> None:  # noqa: F811
    """One process of ours, without another one per operation, that is killed before containerd when memory runs out."""
    del task
    (pid,) = shims(containerd)
    score = int(Path(f"/proc/{pid}/oom_score_adj").read_text())
    assert containerd.daemon.process is not None
    own = int(Path(f"/proc/{containerd.daemon.process.pid}/oom_score_adj").read_text())
    assert score == own + 1
    assert os.readlink(f"/proc/{pid}/fd/1") == "/dev/null"


def test_who_makes_the_cgroup(containerd: ShimContainerd, task: str) -> None:  # noqa: F811
    """The shim, or systemd, as the runtime option SystemdCgroup says: then there is a unit."""
    pid = next(row.split()[1] for row in _rows(containerd) if row.split()[0] == task)
    place = Path(f"/proc/{pid}/cgroup").read_text().splitlines()[-1].rpartition(":")[2]
    unit = f"ctr-{task}.scope"
    assert place.endswith(f"/{SLICE}/{unit}" if SYSTEMD else f"/{MARK}/{task}")
    if SYSTEMD:
        shown = subprocess.run(
            ["systemctl", "show", "-P", "Description", unit], capture_output=True, text=True, check=True
        ).stdout
        assert shown.startswith(f"container {task} (/run/containerd/ociruntime/")


def test_a_directory_as_root(containerd: ShimContainerd, new_name: Name, tmp_path: Path) -> None:
    """Then there is no root filesystem to mount: what the program writes is in the directory."""
    copy_busybox(tmp_path / "root")
    words = containerd.run_words(new_name(), "/bin/sh", "-c", "echo here > /made", flags=("--rm", "--rootfs"))
    words[words.index(NAME)] = str(tmp_path / "root")
    containerd.call(*words).ok()
    assert (tmp_path / "root" / "made").read_text() == "here\n"


def test_output_of_100_mb(containerd: ShimContainerd, new_name: Name) -> None:
    """Nothing of it is lost or changed."""
    script = f"i=0; while [ $i -lt {MEGABYTES} ]; do i=$((i+1)); head -c 1000000 /dev/zero | tr '\\0' \"$((i%10))\"; done"
    words = containerd.run_words(new_name(), "sh", "-c", script, flags=("--rm",))
    seen = hashlib.sha256()
    size = 0
    with containerd.begin(*words, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while piece := process.stdout.read(1 << 20):
            seen.update(piece)
            size += len(piece)
        assert process.wait(60 * PATIENCE) == 0
    assert size == MEGABYTES * 1000000
    wanted = hashlib.sha256()
    for number in range(1, MEGABYTES + 1):
        wanted.update(str(number % 10).encode() * 1000000)
    assert seen.digest() == wanted.digest()


def test_input_of_100_mb(containerd: ShimContainerd, new_name: Name, tmp_path: Path) -> None:
    """The program gets all of it, and then the end."""
    data = os.urandom(1000000) * MEGABYTES
    (tmp_path / "input").write_bytes(data)
    with open(tmp_path / "input", "rb") as source:
        words = containerd.run_words(new_name(), "sha256sum", flags=("--rm",))
        with containerd.begin(
            *words, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            out, err = process.communicate(timeout=120 * PATIENCE)
    assert process.returncode == 0, err
    assert out.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_exec_reads_what_is_typed(containerd: ShimContainerd, task: str) -> None:  # noqa: F811
    """Its input, and the end of it."""
    done = containerd.call("task", "exec", "--exec-id", "cat", task, "cat", stdin="typed\n")
    assert (done.code, done.out) == (0, "typed\n")


def test_terminal(containerd: ShimContainerd, new_name: Name) -> None:
    """Its size, a new size, Ctrl-C, colours, and the exit status."""
    words = containerd.run_words(new_name(), "sh", flags=("--rm", "-t"))
    shell = pexpect.spawn(
        containerd.client[0], [*containerd.client[1:], *words],
        env={**containerd.environment, "TERM": "xterm"}, timeout=TIMEOUT, dimensions=(33, 99),
    )  # fmt: skip
    try:
        session(shell, "exit 42")
        shell.expect(pexpect.EOF)
        shell.wait()
        assert shell.exitstatus == 42
    finally:
        shell.close(force=True)


def test_exec_with_a_terminal(containerd: ShimContainerd, task: str) -> None:  # noqa: F811
    """The same in a process of exec."""
    words = ["task", "exec", "-t", "--exec-id", "term", task, "sh"]
    shell = pexpect.spawn(
        containerd.client[0], [*containerd.client[1:], *words],
        env={**containerd.environment, "TERM": "xterm"}, timeout=TIMEOUT, dimensions=(33, 99),
    )  # fmt: skip
    try:
        session(shell, "exit 42")
        shell.expect(pexpect.EOF)
        shell.wait()
        assert shell.exitstatus == 42
    finally:
        shell.close(force=True)


def session(shell: pexpect.spawn[bytes], last: str) -> None:
    """What a person does."""
    shell.expect_exact("# ")
    shell.sendline("sleep 0.3; stty size")
    shell.expect_exact("33 99")
    shell.setwinsize(40, 120)
    shell.sendline("sleep 1; stty size")
    shell.expect_exact("40 120")
    shell.sendline("sh -c 'echo be\"\"gun; exec sleep 100'; echo interrup''ted")
    shell.expect_exact("begun")
    shell.sendintr()
    shell.sendline("echo stat''us $?")
    shell.expect_exact("status 130")
    shell.sendline(r"printf '\033[31mred\033[0m\n'; tty")
    shell.expect_exact("\x1b[31mred\x1b[0m")
    shell.expect_exact("/dev/pts/")
    shell.sendline(last)


def test_detach_and_attach(containerd: ShimContainerd, new_name: Name) -> None:
    """A reader goes, the program goes on writing, and the next reader gets what came meanwhile, and the end."""
    name = new_name()
    script = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line $i; sleep 0.1; done; exit 3"
    first = containerd.begin(
        *containerd.run_words(name, "sh", "-c", script), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with first:
        assert first.stdout is not None
        seen = [first.stdout.readline() for _ in range(5)]
        first.kill()
    time.sleep(0.5)
    second = containerd.call("task", "attach", name)
    assert second.code == 3
    lines = [line.encode() + b"\n" for line in second.out.splitlines()]
    assert lines[-1] == b"line 40\n"
    # What the first reader had taken and not passed on is gone with it, and no more than that.
    first_line = int(lines[0].split()[1])
    assert lines == [b"line %d\n" % number for number in range(first_line, 41)]
    assert len(seen) < first_line < 12
    containerd.call("task", "delete", name)
    containerd.call("container", "delete", name).ok()


def test_twenty_at_once(containerd: ShimContainerd, new_name: Name) -> None:
    """Each has a shim of its own, and its own output and exit status."""
    began = []
    for number in range(AT_ONCE):
        script = f"echo run {number}; exit {number}"
        words = containerd.run_words(new_name(), "sh", "-c", script, flags=("--rm",))
        began.append(
            containerd.begin(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        )
    for number, process in enumerate(began):
        out, err = process.communicate(timeout=170 * PATIENCE)
        assert (process.returncode, out) == (number, f"run {number}\n".encode()), err
    wait_for(lambda: not shims(containerd))


def test_a_reader_that_never_comes(containerd: ShimContainerd, new_name: Name) -> None:
    """Its program waits, and everything else goes on: state, exec, kill, delete."""
    name = new_name()
    writing = "while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done"
    containerd.call(*containerd.run_words(name, "sh", "-c", writing, flags=("-d",))).ok()
    time.sleep(0.5)
    began = time.monotonic()
    assert status(containerd, name) == "RUNNING"
    assert containerd.call("task", "exec", "--exec-id", "e", name, "echo", "hi").ok().out == "hi\n"
    remove(containerd, name)
    assert time.monotonic() - began < 5 * PATIENCE


@pytest.mark.slow
def test_containerd_is_killed_again_and_again(containerd: ShimContainerd, new_name: Name) -> None:
    """Ten containers write and end while containerd is killed ten times: each exit is there, once, with its code."""
    names = [new_name() for _ in range(RESTARTS)]
    logs = [containerd.directory / f"{name}.log" for name in names]
    for number, name in enumerate(names):
        script = f"i=0; while [ ! -e /end ]; do i=$((i+1)); echo $i; sleep 0.05; done; echo end; exit {number + 10}"
        flags = ("-d", "--log-uri", f"file://{logs[number]}")
        containerd.call(*containerd.run_words(name, "sh", "-c", script, flags=flags)).ok()
    pids = {row.split()[0]: int(row.split()[1]) for row in _rows(containerd)}
    for number, name in enumerate(names):
        containerd.lose_daemon()
        Path(f"/proc/{pids[name]}/root/end").touch()
        if number % 2:
            wait_for(lambda name=name: not Path(f"/proc/{pids[name]}/root/end").exists())  # type: ignore[misc]
        containerd.start()
        ended = names[: number + 1]
        wait_for(lambda ended=ended: all(_state(containerd, one) == "STOPPED" for one in ended))  # type: ignore[misc]
        assert all(_state(containerd, one) == "RUNNING" for one in names[number + 1 :])
    for number, name in enumerate(names):
        lines = logs[number].read_text().splitlines()
        assert lines == [*map(str, range(1, len(lines))), "end"]
        assert containerd.call("task", "delete", name).err.endswith(f'exit code {number + 10}"\n')
        containerd.call("task", "delete", name).refused("not found")
        containerd.call("container", "delete", name).ok()
    wait_for(lambda: not shims(containerd))


def _rows(containerd: ShimContainerd) -> list[str]:
    return containerd.call("task", "ls").ok().out.splitlines()[1:]


def _state(containerd: ShimContainerd, name: str) -> str:
    return next((row.split()[2] for row in _rows(containerd) if row.split()[0] == name), "")


@pytest.mark.slow
def test_the_shim_is_killed(containerd: ShimContainerd, new_name: Name) -> None:
    """At random moments of a container's life; containerd calls `delete`, and nothing is left."""
    chance = random.Random(14)
    for _ in range(KILLS):
        name = new_name()
        words = containerd.run_words(name, "sh", "-c", "sleep 300 & sleep 300", flags=("-d",))
        process = containerd.begin(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(lambda: bool(shims(containerd)))
        time.sleep(chance.uniform(0, 0.15))
        kill_shims(containerd)
        process.wait(30 * PATIENCE)
        wait_for(lambda: kill_shims(containerd) == 0)  # one may have begun after the first look
        wait_for(lambda name=name: _state(containerd, name) in ("", "STOPPED"))  # type: ignore[misc]
        containerd.call("task", "delete", "-f", name)
        containerd.call("container", "delete", name)
    assert "RUNNING" not in containerd.call("task", "ls").ok().out
    assert not list(Path("/run/containerd/ociruntime").glob(f"*/{name.rpartition('-')[0]}*"))
