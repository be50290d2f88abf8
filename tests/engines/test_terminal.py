# SPDX-License-Identifier: Apache-2.0
"""docker's and podman's `-it` in a real pseudo-terminal: size, resize, Ctrl-C, exit code, colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pexpect
import pytest

from tests.engines.engine import Engine
from tests.harness.driver import TIMEOUT

Name = Callable[[], str]
Spawn = Callable[..., "pexpect.spawn[bytes]"]


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine that has an interactive command."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Engine)
    return found


@pytest.fixture
def spawn(engine: Engine) -> Iterator[Spawn]:
    """Start a command of the engine's client in a pseudo-terminal of 33 rows and 99 columns."""
    began = []

    def call(*words: str) -> pexpect.spawn[bytes]:
        process = pexpect.spawn(
            engine.client[0], [*engine.client[1:], *words],
            env={**engine.environment, "TERM": "xterm"}, timeout=TIMEOUT, dimensions=(33, 99),
        )  # fmt: skip
        began.append(process)
        return process

    yield call
    for process in began:
        process.close(force=True)


def session(shell: pexpect.spawn[bytes]) -> None:
    """What a person does: look at the size, change it, interrupt a program, leave with a status."""
    shell.expect_exact("# ")
    shell.sendline("stty size")
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
    shell.sendline("exit 42")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 42


def test_run(engine: Engine, spawn: Spawn, new_name: Name) -> None:
    """`run -it`."""
    session(spawn(*engine.run_words(new_name(), "sh", flags=("--rm", "-it"))))


def test_exec(engine: Engine, spawn: Spawn, new_name: Name) -> None:
    """`exec -it`."""
    name = new_name()
    engine.call(*engine.run_words(name, "sleep", "300", flags=("-d",))).ok()
    session(spawn("exec", "-it", name, "sh"))
    engine.call("kill", name).ok()  # podman's rm would wait ten seconds for a program that TERM does not end
    engine.call("rm", "-f", name).ok()
