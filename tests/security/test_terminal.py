# SPDX-License-Identifier: Apache-2.0
"""Invariant 25: can a process that a program leaves behind read, write or change the terminal of exec's caller?"""

from __future__ import annotations

import os
import select
import termios
import time
from typing import TYPE_CHECKING

from tests.harness.driver import PATIENCE
from tests.harness.terminals import Client

if TYPE_CHECKING:
    from tests.harness.driver import Container
    from tests.harness.stage import Stage

# Each runs in a process that outlives exec, once /dev/shm/go exists, with every descriptor that the program had.
_WAIT = "until [ -e /dev/shm/go ]; do sleep 0.05; done"


def _leave_behind(stage: Stage, attack: str) -> tuple[Container, Client]:
    """A container, and the terminal at which exec has ended and left a process that does `attack` on go."""
    container = stage.running()
    # a shell gives its background jobs /dev/null: hence the copies of 0, 1 and 2
    script = f"exec 3<&0 4>&1 5>&2; (trap '' PIPE HUP; {_WAIT}; {attack}; echo > /dev/shm/done) & echo ready; exit 0"
    client = Client(container.runtime.argv("exec", container.id, "sh", "-c", script))
    client.wait_for("ready\r\n")
    assert client.wait() == 0
    return container, client


def _wait_for_the_attack(container: Container) -> None:
    end = time.monotonic() + 20 * PATIENCE
    while container.exec("test", "-e", "/dev/shm/done").code != 0:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_what_is_typed_afterwards(stage: Stage) -> None:
    """What root types at that terminal once exec has ended is not the container's."""
    container, client = _leave_behind(
        stage, "for n in 3 4 5; do timeout 2 head -n 1 <&$n; done > /dev/shm/stolen"
    )
    try:
        container.exec("touch", "/dev/shm/go").ok()
        time.sleep(0.5)
        client.type("secret\r")
        _wait_for_the_attack(container)
        stolen = container.exec("cat", "/dev/shm/stolen").ok().out
        assert "secret" not in stolen
        ready, _, _ = select.select([client.terminal], [], [], 5)
        assert ready, "it is there for the next command"
        assert os.read(client.terminal, 100) == b"secret\n"
    finally:
        client.close()
        container.delete("--force").ok()


def test_modes_and_screen_afterwards(stage: Stage) -> None:
    """It can't turn off the echo or write to the screen, also not by the names of its descriptors."""
    container, client = _leave_behind(
        stage,
        "for n in 3 4 5; do stty -echo <&$n; stty -echo < /proc/self/fd/$n; echo forged >&$n; done",
    )
    try:
        container.exec("touch", "/dev/shm/go").ok()
        _wait_for_the_attack(container)
        assert termios.tcgetattr(client.terminal)[3] & termios.ECHO
        assert client.is_restored()
        while client.read_some(0.2) and select.select([client.master], [], [], 0)[0]:
            continue
        assert "forged" not in client.text
    finally:
        client.close()
        container.delete("--force").ok()


def test_the_terminal_is_not_among_the_descriptors(stage: Stage) -> None:
    """While the program of run or exec runs, neither it nor init has a descriptor of the caller's terminal."""
    container = stage.running()
    script = "ls -l /proc/$$/fd 2>/dev/null | grep -c -e '-> /dev/'; echo ready; read line"
    fresh = stage.container("sh", "-c", script)
    commands = (
        container.runtime.argv("exec", container.id, "sh", "-c", script),
        container.runtime.argv("run", "--bundle", str(fresh.bundle.directory), fresh.id),
    )
    for command in commands:
        client = Client(command)
        try:
            assert client.wait_for("ready\r\n").split() == ["0", "ready"]
            client.type("\r")
            assert client.wait() == 0
        finally:
            client.close()
    container.delete("--force").ok()
