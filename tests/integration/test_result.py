# SPDX-License-Identifier: Apache-2.0
"""Does `ociruntime.run` tell how a program ended and what it used, and is nothing left of whatever it did?"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import ociruntime
from ociruntime import Options, Request, Result, bundle, make_config
from ociruntime.errors import (
    ProgramNotExecutable,
    ProgramNotFound,
    RuntimeFailure,
    StepFailed,
    UsageError,
    WrongState,
)
from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.rootfs import busybox_template
from tests.harness.stage import new_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    runtime_under_test() in ("runc", "crun"), reason="the library is this runtime's own"
)

MIB = 1 << 20
Run = "Callable[..., Result]"


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Where the containers' state is kept."""
    return str(tmp_path / "state")


def _bundle(*args: str, **said: Any) -> bundle.Bundle:
    said.setdefault("user_namespace", False)
    return bundle.made(make_config(args, str(busybox_template()), **{"preset": "untrusted", **said}))


@pytest.fixture
def shell(root: str) -> Callable[..., Result]:
    """Run a shell script in a container of its own, with its output captured."""

    def run(script: str, *, config: dict[str, Any] | None = None, **how: Any) -> Result:
        made = _bundle("/bin/sh", "-c", script, **(config or {}))
        return ociruntime.run(
            root, made, Options(new_id()), **{"capture": True, "timeout": 20 * PATIENCE, **how}
        )

    return run


@pytest.fixture
def warm(root: str) -> Iterator[ociruntime.Container]:
    """A container that only waits."""
    with ociruntime.create(root, _bundle("/bin/sleep", "1000"), Options(new_id())) as container:
        container.start()
        yield container


@pytest.mark.parametrize(
    ("script", "code", "signal", "status"),
    [
        ("exit 0", 0, 0, 0),
        ("exit 3", 3, 0, 3),
        ("exit 137", 137, 0, 137),
        ("sh -c 'kill -SEGV $$'; exit $?", 139, 0, 139),
    ],
)
def test_an_exit_code(script: str, code: int, signal: int, status: int, shell: Callable[..., Result]) -> None:
    """A program that exits with 137 was not killed."""
    result = shell(script)
    assert (result.exit_code, result.signal, result.status, result.timed_out) == (code, signal, status, False)
    assert result.ok == (code == 0)


def test_a_signal_is_no_exit_code(warm: ociruntime.Container) -> None:
    """KILL and 137 differ; a shell's number is the same."""
    killed, exited = warm.run(["/bin/sh", "-c", "kill -KILL $$"]), warm.run(["/bin/sh", "-c", "exit 137"])
    assert (killed.exit_code, killed.signal, killed.status) == (None, 9, 137)
    assert (exited.exit_code, exited.signal, exited.status) == (137, 0, 137)


def test_streams(shell: Callable[..., Result]) -> None:
    """All of stdin; stdout and stderr apart, with a limit."""
    result = shell("cat; echo problem >&2", stdin=b"0123456789" * 50_000)
    assert (result.stdout, result.stderr) == (b"0123456789" * 50_000, b"problem\n")
    short = shell("cat", stdin=b"0123456789", output_limit=4)
    assert (short.stdout, short.stdout_lost, short.stderr_lost) == (b"0123", 6, 0)


def test_a_descriptor_and_a_function(shell: Callable[..., Result], tmp_path: Path) -> None:
    """What comes is written to a file of the caller's, or given to a function."""
    pieces: list[bytes] = []
    with open(tmp_path / "out", "wb") as file:
        result = shell("echo one; echo two >&2", stdout=file.fileno(), stderr=pieces.append)
    assert (tmp_path / "out").read_bytes() == b"one\n"
    assert (b"".join(pieces), result.stdout, result.stderr) == (b"two\n", b"", b"")


def test_a_function_that_fails_ends_the_container(shell: Callable[..., Result], root: str) -> None:
    """Its exception comes through, and nothing is left."""

    def fail(_piece: bytes) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        shell("echo one; sleep 1000", stdout=fail)
    assert [name for name in os.listdir(root) if not name.startswith("@")] == []


def test_the_time_limit(shell: Callable[..., Result]) -> None:
    """Everything in the container is killed, and what came until then is there."""
    began = time.monotonic()
    result = shell("sleep 1000 & echo before; sleep 1000", timeout=0.5)
    assert time.monotonic() - began < 10 * PATIENCE
    assert (result.timed_out, result.ok, result.signal, result.stdout) == (True, False, 9, b"before\n")
    assert 0.4 < result.wall_time < 10 * PATIENCE


def test_out_of_memory(shell: Callable[..., Result]) -> None:
    """The kill is told, also if it was not init that was killed, and so is the peak."""
    fill = "x=$(dd if=/dev/zero bs=100M count=1 2>/dev/null | tr '\\0' a); true"
    result = shell(fill, config={"memory": 32 * MIB})
    assert result.oom_killed
    assert result.usage.oom_kills >= 1
    assert result.usage.memory_limit == 32 * MIB
    assert not shell("true", config={"memory": 32 * MIB}).oom_killed


def test_usage(shell: Callable[..., Result]) -> None:
    """Processor time, memory and processes, of children that have ended too."""
    work = "i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done"
    idle, busy = shell("true").usage, shell(f"sh -c '{work}'").usage
    assert idle.cpu_time is not None
    assert busy.cpu_time is not None
    assert busy.cpu_time > idle.cpu_time + 0.01
    many = shell("sleep 0.2 & sleep 0.2 & sleep 0.2 & wait").usage
    assert many.pids_peak in (None, 4)  # kernels before 6.1 don't count it
    assert many.memory_peak is None or 100_000 < many.memory_peak < 256 * MIB


def test_killed_by_seccomp(root: str) -> None:
    """SIGSYS is told apart."""
    deny = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}],
    }
    result = ociruntime.run(
        root, _bundle("/bin/mkdir", "/tmp/x", seccomp=deny), Options(new_id()), capture=True
    )
    assert result.killed_by_seccomp
    assert "killed_by_seccomp" in repr(result)


def test_what_it_leaves_behind_is_killed(shell: Callable[..., Result], root: str) -> None:
    """A daemon that holds the output, without a pid namespace in which it would end with init."""
    made = _bundle("/bin/sh", "-c", "sleep 1000 & echo done")
    config = made.config.value
    assert isinstance(config, dict)
    config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != "pid"]
    began = time.monotonic()
    result = ociruntime.run(root, bundle.made(config), Options(new_id()), capture=True)
    assert (result.exit_code, result.stdout) == (0, b"done\n")
    assert time.monotonic() - began < 10 * PATIENCE


@pytest.mark.parametrize(
    ("program", "kind", "number", "said"),
    [
        ("/nonexistent/program", ProgramNotFound, errno.ENOENT, "executable file not found: no such file or directory"),
        ("nonexistent", ProgramNotFound, errno.ENOENT, "executable file not found in $PATH: no such file or directory"),
        ("/etc/passwd", ProgramNotExecutable, errno.EACCES, "permission denied"),
        ("/etc", ProgramNotExecutable, errno.EISDIR, "permission denied"),
    ],
)  # fmt: skip
def test_a_program_that_can_not_run(
    program: str, kind: type[StepFailed], number: int, said: str, warm: ociruntime.Container
) -> None:
    """An exception of its own with the errno, not a result: nothing has run. The same for exec, and its words are as ever."""
    made, root = _bundle(program), os.path.dirname(warm.directory.path)
    calls: list[Callable[[], Result]] = [
        lambda: ociruntime.run(root, made, Options(new_id())),
        lambda: warm.run([program]),
    ]
    for call in calls:
        with pytest.raises(kind) as caught:
            call()
        assert caught.value.errno == number
        assert str(caught.value).endswith(f'find program "{program}": {said}')


@pytest.mark.parametrize(
    ("profile", "number"),
    [
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ERRNO"}]}, errno.EPERM),
        # nothing is allowed: init can't say what has failed, nor exit in the ordinary way
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno.EPERM}, errno.EPERM),
    ],
)  # fmt: skip
def test_a_filter_that_denies_execve(profile: dict[str, Any], number: int, root: str) -> None:
    """The error says where to look, and init ends, whatever the filter forbids."""
    with pytest.raises(
        ProgramNotExecutable, match=re.escape("(does /linux/seccomp allow execve?)")
    ) as caught:
        ociruntime.run(root, _bundle("/bin/true", seccomp=profile), Options(new_id()), capture=True)
    assert caught.value.errno == number


class TestInAWarmContainer:
    """Container.run: one more program, and all that it has started."""

    def test_a_result(self, warm: ociruntime.Container) -> None:
        """Exit code, output and usage of the one program."""
        result = warm.run(
            Request(["/bin/sh", "-c", "cat; echo $A; exit 4"], env=["A=b"]), stdin=b"in ", capture=True
        )
        assert (result.exit_code, result.stdout) == (4, b"in b\n")
        assert result.usage.cpu_time is not None
        assert result.usage.cpu_time > 0

    def test_everything_that_it_started_ends_with_it(self, warm: ociruntime.Container) -> None:
        """In a session of its own too."""
        began = time.monotonic()
        result = warm.run(["/bin/sh", "-c", "(setsid sleep 777 &); sleep 888 & echo done"], capture=True)
        assert (result.exit_code, result.stdout) == (0, b"done\n")
        assert time.monotonic() - began < 10 * PATIENCE
        left = warm.run(["/bin/sh", "-c", "ps | grep -c '[s]leep [78]'"], capture=True)
        assert left.stdout == b"0\n"

    def test_the_time_limit(self, warm: ociruntime.Container) -> None:
        """The container goes on."""
        result = warm.run(["/bin/sh", "-c", "sleep 777 & sleep 888"], timeout=0.3)
        assert (result.timed_out, result.signal) == (True, 9)
        assert warm.status() == "running"

    def test_no_cgroup_is_left(self, warm: ociruntime.Container) -> None:
        """After success and failure."""
        for _ in range(3):
            warm.run(["/bin/true"])
        with pytest.raises(StepFailed):
            warm.run(["/nonexistent/program"])
        for path in set(warm.cgroup_paths().values()):
            assert [entry.name for entry in os.scandir(path) if entry.is_dir()] == []

    def test_in_a_paused_container(self, warm: ociruntime.Container) -> None:
        """The time limit holds there, too; it stays paused."""

        def pause(_piece: bytes) -> None:
            warm.pause()

        began = time.monotonic()
        result = warm.run(["/bin/sh", "-c", "echo on; sleep 777"], stdout=pause, timeout=0.5)
        assert (result.timed_out, result.signal) == (True, 9)
        assert time.monotonic() - began < 10 * PATIENCE
        assert warm.status() == "paused"

    def test_delete_ends_what_exec_has_started(self, warm: ociruntime.Container) -> None:
        """A child that nobody has reaped would keep init from ending; its status is known afterwards."""
        process = warm.exec(["/bin/sleep", "777"])
        began = time.monotonic()
        warm.delete(force=True)
        assert time.monotonic() - began < 5 * PATIENCE
        assert (process.wait(), process.ending()) == (137, (None, 9))

    def test_an_exception_beside_it_is_not_replaced(self, warm: ociruntime.Container) -> None:
        """The one that the caller's code raised, while another program runs."""

        async def both() -> None:
            async def fail() -> None:
                await asyncio.sleep(0.2)
                raise KeyError("mine")

            await asyncio.gather(warm.run_async(["/bin/sleep", "777"]), fail())

        with pytest.raises(KeyError, match="mine"):
            asyncio.run(both())

    def test_twenty_at_once(self, warm: ociruntime.Container) -> None:
        """In one thread, each with its own output."""

        async def all_of_them() -> list[Result]:
            scripts = [f"sleep 0.2; echo {number}" for number in range(20)]
            return await asyncio.gather(
                *(warm.run_async(["/bin/sh", "-c", one], capture=True) for one in scripts)
            )

        assert [result.stdout for result in asyncio.run(all_of_them())] == [
            b"%d\n" % number for number in range(20)
        ]

    def test_a_cancelled_one_is_ended(self, warm: ociruntime.Container) -> None:
        """By the caller, while it runs."""

        async def cancelled() -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(warm.run_async(["/bin/sleep", "777"], capture=True), 0.3)

        asyncio.run(cancelled())
        assert warm.run(["/bin/sh", "-c", "ps | grep -c '[s]leep 777'"], capture=True).stdout == b"0\n"


class TestWaiting:
    """Container.wait by a pidfd."""

    def test_again_and_again(self, root: str) -> None:
        """Too early, and as often as one likes after the end."""
        with ociruntime.create(
            root, _bundle("/bin/sh", "-c", "sleep 0.3; exit 5"), Options(new_id())
        ) as container:
            container.start()
            with pytest.raises(TimeoutError, match=r"has not ended after 0\.05 s"):
                container.wait(0.05)
            assert [container.wait(20 * PATIENCE), container.wait(), container.wait(0)] == [5, 5, 5]
            assert container.ending() == (5, 0)

    def test_without_blocking_the_loop(self, root: str) -> None:
        """Container and process of exec, beside something else; too early, and again after the end."""
        made = _bundle("/bin/sh", "-c", "read x; exit 5")
        reader, writer = os.pipe()

        async def use(container: ociruntime.Container) -> list[int]:
            with pytest.raises(TimeoutError):
                await ociruntime.wait_async(container, 0.05)
            with container.exec(["/bin/sh", "-c", "exit 6"]) as process:
                ended = await ociruntime.wait_async(process)
            waiting = asyncio.create_task(ociruntime.wait_async(container))
            await asyncio.sleep(0)
            os.write(writer, b"now\n")
            return [ended, await waiting, await ociruntime.wait_async(container), container.wait()]

        with ociruntime.create(root, made, Options(new_id()), stdio=(reader, -1, -1)) as container:
            container.start()
            assert asyncio.run(use(container)) == [6, 5, 5, 5]
        os.close(reader)
        os.close(writer)

    def test_by_several_tasks(self, root: str) -> None:
        """Each hears of the end, also if another has given up before."""

        async def use(container: ociruntime.Container) -> list[int | BaseException]:
            waits = [
                ociruntime.wait_async(container, seconds) for seconds in (20 * PATIENCE, 0.05, 20 * PATIENCE)
            ]
            return await asyncio.gather(*waits, return_exceptions=True)

        with ociruntime.create(
            root, _bundle("/bin/sh", "-c", "sleep 0.3; exit 5"), Options(new_id())
        ) as container:
            container.start()
            first, early, last = asyncio.run(use(container))
        assert (first, last) == (5, 5)
        assert isinstance(early, TimeoutError)

    def test_beside_subprocess(self, root: str) -> None:
        """It takes no other child's exit status."""
        with ociruntime.create(root, _bundle("/bin/true"), Options(new_id())) as container:
            with subprocess.Popen(["/bin/sh", "-c", "exit 6"]) as other:
                container.start()
                assert container.wait() == 0
            assert other.returncode == 6

    def test_with_removes_it(self, root: str) -> None:
        """A running container too, and after an exception."""
        made = ociruntime.create(root, _bundle("/bin/sleep", "9"), Options(new_id()))

        def use() -> None:
            with made as container:
                container.start()
                assert re.fullmatch(rf"<Container {made.id}, pid \d+, below {root}>", repr(container))
                raise KeyError

        with pytest.raises(KeyError):
            use()
        assert [name for name in os.listdir(root) if not name.startswith("@")] == []
        with pytest.raises(WrongState):
            made.kill("TERM")

    def test_somebody_elses(self, root: str) -> None:
        """A container of another process can't be waited for, and the error says so."""
        with ociruntime.create(root, _bundle("/bin/sleep", "9"), Options(new_id())) as container:
            code = f"import ociruntime; ociruntime.load({root!r}, {container.id!r}).wait()"
            done = subprocess.run(
                [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, check=False
            )
        assert "RuntimeFailure: init is not a child of this process" in done.stderr


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        (
            {"ociVersion": "1.0.2"},
            Options("a"),
            "bundle: a Bundle is wanted, not dict (bundle.made(config) makes one",
        ),
        ("/srv/bundle", Options("a"), "bundle: a Bundle is wanted, not str (bundle.made(config) makes one"),
        (bundle.made({}), "a", 'options: Options are wanted, not str (Options("ID"))'),
    ],
)
def test_what_is_no_bundle(given: Any, options: Any, said: str, tmp_path: Path) -> None:
    """A config, a path or an id in its place is met at once, with what makes one."""
    for call in (ociruntime.create, ociruntime.run):
        with pytest.raises(UsageError, match=re.escape(said)):
            call(str(tmp_path / "root"), given, options)
    assert not (tmp_path / "root").exists()


def test_signals_have_names(warm: ociruntime.Container) -> None:
    """As for the command."""
    with pytest.raises(UsageError, match="unknown signal 'FROB'"):
        warm.kill("FROB")
    warm.kill("SIGKILL")
    assert warm.wait(20 * PATIENCE) == 137


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda warm: warm.run("sh -c true"), "args: a list is wanted, not 'sh -c true'"),
        (lambda warm: Request("a b"), "args: a list is wanted, not 'a b'"),  # noqa: ARG005
        (lambda warm: warm.run(["true"], timeout=-1), "timeout: a number of seconds is wanted, not -1"),
        (lambda warm: warm.run(["true"], timeout="5"), "timeout: a number of seconds is wanted, not '5'"),
        (
            lambda warm: warm.run(["true"], stdin="text"),
            "stdin: bytes, a descriptor or an open file is wanted, not str",
        ),
    ],
)
def test_what_is_wrong(call: Callable[[Any], object], said: str, warm: ociruntime.Container) -> None:
    """Named at once; nothing is run."""
    with pytest.raises(RuntimeFailure, match=re.escape(said)):
        call(warm)
