# SPDX-License-Identifier: Apache-2.0
"""Does a Python function answer system calls, safely, and is nothing left of the agent? (ociruntime/api/seccomp_agent.py)"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import re
import socket
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ociruntime
from ociruntime import Notification, Options, Result, SeccompAgent, UsageError, bundle, make_config
from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.rootfs import busybox_template
from tests.harness.stage import new_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime import Answer

pytestmark = pytest.mark.skipif(
    runtime_under_test() in ("runc", "crun"), reason="the library is this runtime's own"
)

MKDIR = ("mkdir", "mkdirat")


def path_of(call: Notification) -> str:
    """The path that a mkdir or mkdirat names."""
    return call.text(call.args[MKDIR.index(call.name)])


def go_on(call: Notification) -> Answer:
    """A handler that changes nothing."""
    return call.go_on()


def made(agent: SeccompAgent, script: str, **said: Any) -> bundle.Bundle:
    """A shell whose calls the agent answers."""
    said.setdefault("user_namespace", False)
    return bundle.made(make_config(["/bin/sh", "-c", script], str(busybox_template()), notify=agent, **said))


def run(root: Path, agent: SeccompAgent, script: str, **said: Any) -> Result:
    """Run the shell to its end."""
    return ociruntime.run(
        str(root), made(agent, script, **said), Options(new_id()), capture=True, timeout=20 * PATIENCE
    )


def descriptors() -> list[str]:
    """What this process has open."""
    found = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return sorted(os.readlink(path) for path in found if os.path.lexists(path))


@pytest.mark.parametrize("preset", ["untrusted", "trusted"])
def test_value_error_and_go_on(preset: str, tmp_path: Path) -> None:
    """Mkdir "succeeds" without a directory, fails with the errno, or is carried out; name, args and process are told."""
    calls: list[Notification] = []

    def decide(call: Notification) -> Answer:
        calls.append(call)
        path = path_of(call)
        if path.endswith("claimed"):
            return call.value(0)
        return call.error(errno.EDQUOT) if path.endswith("refused") else call.go_on()

    tmpfs = {"/tmp": 1 << 20}
    script = "cd /tmp; mkdir claimed && echo yes; mkdir refused; mkdir -m 700 made; ls"
    with SeccompAgent(decide, MKDIR) as agent:
        result = run(tmp_path, agent, script, preset=preset, tmpfs=tmpfs)
    assert result.stdout == b"yes\nmade\n"
    assert b"refused': Disk quota exceeded" in result.stderr
    assert [call.name in MKDIR for call in calls] == [True] * 3
    assert calls[0].pid > 0
    assert calls[2].args[MKDIR.index(calls[2].name) + 1] & 0o700 == 0o700
    assert re.fullmatch(r"<mkdir(at)?\((0x\w+, ){5}0x\w+\) of process \d+ in [\w-]+>", repr(calls[0]))
    assert not calls[0].is_waiting()


def test_a_call_that_the_preset_refuses_can_be_the_agent_s(tmp_path: Path) -> None:
    """`untrusted` refuses sethostname; the agent is asked in its place, and the other calls stay refused."""
    script = "hostname claimed && echo yes; unshare -m true"
    with SeccompAgent(lambda call: call.value(), ["sethostname"]) as agent:
        result = run(tmp_path, agent, script)
    assert result.stdout == b"yes\n"
    assert b"Operation not permitted" in result.stderr


def test_a_handler_that_fails_refuses(tmp_path: Path) -> None:
    """With EPERM, whatever goes wrong; the first exception is raised at the end of `with`."""

    def fail(call: Notification) -> Any:
        if path_of(call).endswith("none"):
            return None
        raise KeyError("mine")

    def use() -> None:
        with SeccompAgent(fail, MKDIR) as agent:
            results.append(run(tmp_path, agent, "mkdir /tmp/one; mkdir /tmp/none; ls /tmp"))

    results: list[Result] = []
    with pytest.raises(KeyError, match="mine"):
        use()
    assert results[0].stdout == b""
    assert results[0].stderr.count(b"Operation not permitted") == 2
    with SeccompAgent(lambda call: None, MKDIR) as agent:  # type: ignore[arg-type, return-value]  # noqa: ARG005
        run(tmp_path, agent, "mkdir /tmp/x")
        agent.close()
        assert "the handler of mkdir" in str(agent.failure)
        agent.failure = None


@pytest.mark.parametrize(
    ("value", "kind"),
    [(lambda call: call.args[0] | 1 << 63, UsageError), (lambda _: 0.5, struct.error)],
)
def test_a_value_that_is_none_refuses(
    value: Callable[[Notification], Any], kind: type[Exception], tmp_path: Path
) -> None:
    """A program chooses the arguments: one that a handler returns may not fit. The thread goes on."""

    def use() -> None:
        with SeccompAgent(lambda call: call.value(value(call)), MKDIR) as agent:
            results.append(run(tmp_path, agent, "mkdir /tmp/one; mkdir /tmp/two"))

    results: list[Result] = []
    with pytest.raises(kind):
        use()
    assert results[0].stderr.count(b"Operation not permitted") == 2


def test_memory_that_is_not_there(tmp_path: Path) -> None:
    """A bad pointer is the program's mistake, and not the agent's: EFAULT, as from the kernel. So is a path without an end."""
    said: list[int] = []

    def decide(call: Notification) -> Answer:
        try:
            call.read(8, 1)
        except ociruntime.MemoryUnreadable as failure:
            said.append(failure.errno)
        call.read(2**64 - 1, 16)
        return call.go_on()

    with SeccompAgent(decide, MKDIR) as agent:
        result = run(tmp_path, agent, "mkdir /tmp/x")
        long = run(tmp_path, agent, f"mkdir /tmp/{'x' * 5000}")
    assert said == [errno.EFAULT, errno.EFAULT]
    assert b"Bad address" in result.stderr
    assert b"Bad address" in long.stderr
    with SeccompAgent(lambda call: call.value(len(path_of(call))), MKDIR) as agent:
        assert b"File name too long" in run(tmp_path, agent, f"mkdir /tmp/{'x' * 5000}").stderr


def test_a_process_that_is_killed_while_it_waits(tmp_path: Path) -> None:
    """Its memory is not read any more, whoever has its number then, and the answer is for nobody."""
    said: list[str] = []

    def decide(call: Notification) -> Answer:
        os.kill(call.pid, 9)
        while call.is_waiting():
            time.sleep(0.01)
        try:
            call.read(call.args[0], 1)
        except ociruntime.MemoryUnreadable as failure:
            said.append(str(failure))
        return call.go_on()

    with SeccompAgent(decide, MKDIR) as agent:
        result = run(tmp_path, agent, "mkdir /tmp/x; echo $?")
    assert result.stdout == b"137\n"
    (words,) = said
    assert re.fullmatch(r"mkdir(at)? of process \d+: memory at 0x\w+: ESRCH \(no such process\)", words)


@pytest.mark.parametrize(
    ("waiting", "said"), [([True, True], ""), ([False], "ESRCH"), ([True, False], "ESRCH")]
)
def test_memory_is_read_only_while_the_process_waits(
    waiting: list[bool], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it is read, or the number could be another process's by now; and after, or the call could be over."""
    content = ctypes.create_string_buffer(b"mine")
    address = ctypes.addressof(content)
    data = struct.pack("=QIIiIQ6Q", 1, os.getpid(), 0, 83, 0xC000003E, 0, address, 0, 0, 0, 0, 0)
    call = Notification(-1, data, "one")
    answers = iter(waiting)
    monkeypatch.setattr(Notification, "is_waiting", lambda _: next(answers))
    if not said:
        assert call.read(address, 4) == b"mine"
    else:
        with pytest.raises(ociruntime.MemoryUnreadable, match=said):
            call.read(address, 4)
    assert list(answers) == []


def test_exec_and_many_containers_at_once(tmp_path: Path) -> None:
    """One agent, one thread, for containers that run at the same time and for what is executed in them."""
    asked: list[str] = []

    def decide(call: Notification) -> Answer:
        asked.append(call.container)
        return call.error(errno.EDQUOT)

    ids = [new_id() for _ in range(5)]

    async def all_of_them(agent: SeccompAgent) -> list[Result]:
        script = made(agent, "sleep 0.2; mkdir /tmp/x")
        return await asyncio.gather(
            *(ociruntime.run_async(str(tmp_path), script, Options(one), capture=True) for one in ids)
        )

    before = threading.active_count()
    with SeccompAgent(decide, MKDIR) as agent:
        assert threading.active_count() == before + 1
        results = asyncio.run(all_of_them(agent))
        with ociruntime.create(str(tmp_path), made(agent, "sleep 1000"), Options(ids[0])) as warm:
            warm.start()
            results.append(warm.run(["/bin/mkdir", "/tmp/y"], capture=True))
    assert [b"Disk quota exceeded" in result.stderr for result in results] == [True] * 6
    assert sorted(asked) == sorted([*ids, ids[0]])


def test_execve_itself(tmp_path: Path) -> None:
    """`start` waits for the agent, which must not be in the thread that starts."""
    asked: list[str] = []

    def decide(call: Notification) -> Answer:
        asked.append(call.text(call.args[0]))
        return call.go_on()

    with SeccompAgent(decide, ["execve"]) as agent:
        assert run(tmp_path, agent, "/bin/busybox true").ok
    assert "/bin/busybox" in asked


def test_after_the_agent_has_gone(tmp_path: Path) -> None:
    """Programs that still run get ENOSYS, and nothing is left: no thread, no descriptor, no socket."""
    before = descriptors(), threading.active_count()
    agent = SeccompAgent(go_on, MKDIR)
    directory = Path(agent.path).parent
    assert directory.stat().st_mode & 0o777 == 0o700
    reader, writer = os.pipe()
    told, telling = os.pipe()
    program = made(agent, "read x; mkdir /tmp/x")
    with ociruntime.create(
        str(tmp_path), program, Options(new_id()), stdio=(reader, -1, telling)
    ) as container:
        container.start()
        agent.close()
        agent.close()
        os.write(writer, b"now\n")
        container.wait(20 * PATIENCE)
    for descriptor in (reader, writer, telling):
        os.close(descriptor)
    with open(told, encoding="utf-8") as output:
        assert "Function not implemented" in output.read()
    assert not directory.exists()
    assert (descriptors(), threading.active_count()) == before


def test_it_sleeps_while_nothing_happens(tmp_path: Path) -> None:
    """No busy wait: the thread uses no processor time, also while a container with a filter runs, and after its end."""
    with SeccompAgent(go_on, MKDIR) as agent:
        run(tmp_path, agent, "mkdir /tmp/x")
        with ociruntime.create(str(tmp_path), made(agent, "sleep 1000"), Options(new_id())) as container:
            container.start()
            before = time.process_time()
            time.sleep(0.5)
            assert time.process_time() - before < 0.05


def test_a_message_that_is_not_the_runtime_s(tmp_path: Path) -> None:
    """It is reported at the end, and the others are served."""

    def use() -> None:
        with SeccompAgent(go_on, MKDIR) as agent:
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(agent.path)
                other.send(b"frob")
            assert run(tmp_path, agent, "mkdir /tmp/x").ok

    with pytest.raises(ValueError, match="Expecting value"):
        use()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: SeccompAgent(go_on, "mkdir"), "calls: a list is wanted, not 'mkdir'"),
        (lambda: SeccompAgent(go_on, ["mkdri"]), "calls: libseccomp doesn't know 'mkdri'"),
        (lambda: Notification.error(0), "error: an errno from 1 to 4095 is wanted, not 0"),
        (lambda: Notification.error(-1), "error: an errno from 1 to 4095 is wanted, not -1"),
        (
            lambda: Notification.value(1 << 63),
            "value: a signed number of 64 bits is wanted, not 9223372036854775808",
        ),
    ],
)
def test_what_is_wrong(call: Callable[[], object], said: str) -> None:
    """Named at once."""
    before = descriptors()
    with pytest.raises(UsageError, match=re.escape(said)):
        call()
    assert descriptors() == before


@pytest.mark.parametrize("call", ["open", "eventfd"])
def test_no_room_for_a_descriptor(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing stays: no directory, no descriptor."""

    def fail(*_: object) -> None:
        raise OSError(errno.EMFILE, "no room")

    before = descriptors()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="no room"):
            SeccompAgent(go_on, MKDIR)
    assert list(tmp_path.iterdir()) == []
    assert descriptors() == before


def test_a_seccomp_of_ones_own_is_not_changed(tmp_path: Path) -> None:
    """make_config says what to do instead."""
    with (
        SeccompAgent(go_on, MKDIR) as agent,
        pytest.raises(UsageError, match="notify: not possible with a seccomp of your own"),
    ):
        made(agent, "true", seccomp={"defaultAction": "SCMP_ACT_ALLOW"})
    assert list(tmp_path.iterdir()) == []
