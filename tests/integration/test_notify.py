# SPDX-License-Identifier: Apache-2.0
"""Does a service manager that has set NOTIFY_SOCKET hear that the container's program is ready, and nothing else?"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import ENVIRONMENT, PATIENCE, runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.configuration import Config
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

# Sends its arguments to $NOTIFY_SOCKET, each as one message; busybox has nothing that speaks datagrams to a path.
_SEND = """
import os, socket, sys
socket_ = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
for word in sys.argv[1:]:
    socket_.sendto(word.encode().decode("unicode_escape").encode(), os.environ["NOTIFY_SOCKET"])
"""


class Manager:
    """A service manager's socket: notes what it is told, and answers barriers."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.messages: list[str] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.environment = {**ENVIRONMENT, "NOTIFY_SOCKET": address}
        self._stop, self._stopped = os.pipe()
        self.thread = threading.Thread(target=self._listen)
        self.thread.start()

    def _listen(self) -> None:
        while True:
            ready, _, _ = select.select([self.socket, self._stop], [], [])
            if self.socket not in ready:
                return
            data, descriptors, _, _ = socket.recv_fds(self.socket, 4096, 4)
            self.messages.append(data.decode())
            for descriptor in descriptors:
                os.close(descriptor)

    def wait_for(self, count: int) -> None:
        """Until so many messages have come."""
        end = time.monotonic() + 10 * PATIENCE
        while len(self.messages) < count:
            assert time.monotonic() < end, self.messages
            time.sleep(0.01)

    def close(self) -> None:
        """Stop, and take the socket away."""
        os.close(self._stopped)
        self.thread.join()
        os.close(self._stop)
        self.socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager at a path."""
    made = Manager(str(tmp_path / "manager.sock"))
    yield made
    made.close()


def talker(stage: Stage, *messages: str, then: str = "") -> Any:
    """A container whose program tells its service manager these messages, and then does something."""
    words = " ".join(f"'{message}'" for message in messages)

    def edit(config: Config) -> None:
        config["root"]["readonly"] = False
        for place in ("/usr", "/lib", "/lib64"):
            config["mounts"].append(
                {"destination": place, "type": "bind", "source": place, "options": ["rbind", "ro"]}
            )
        config["process"]["args"] = [
            "sh",
            "-c",
            f'/usr/bin/python3 -c "$SEND" {words}; {then or "sleep 100"}',
        ]
        config["process"]["env"].append(f"SEND={_SEND}")

    return stage.container(edit=edit)


def test_detached(compare: Compare, tmp_path: Path) -> None:
    """`run --detach` and `start` end when the program is ready; READY and the pid of init are passed on, as by runc."""

    def scenario(stage: Stage) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        for way in ("run", "create and start"):
            manager = Manager(str(stage.directory / way))
            try:
                container = talker(stage, "STATUS=getting there", "READY=1\\nSTATUS=there")
                if way == "run":
                    out = stage.directory / "out"
                    with open(out, "wb") as file:
                        container.run("--detach", env=manager.environment, out=file, err=file).ok()
                else:
                    container.create(env=manager.environment).ok()
                    assert manager.messages == []
                    container.start(env=manager.environment).ok()
                pid = container.state()["pid"]
                manager.wait_for(2)
                # runc 1.1 does not ask yet whether it has been read
                heard = [message for message in manager.messages if message != "BARRIER=1"]
                answers[way] = [message.replace(str(pid), "INIT") for message in heard]
                container.delete("--force").ok()
            finally:
                manager.close()
        return answers

    answers = compare(scenario, only=("runc",))
    assert answers["run"] == answers["create and start"] == ["READY=1\n", "MAINPID=INIT\n"]


def test_in_the_foreground(stage: Stage, manager: Manager) -> None:
    """`run` tells the manager its own pid, goes on waiting, and ends with the program's status."""
    if runtime_under_test() in PEERS:
        pytest.skip("runc of Debian 12 may end before it has passed the message on")
    container = talker(stage, "READY=1", then="exit 3")
    process = container.begin_run(env=manager.environment)
    process.communicate(timeout=60 * PATIENCE)
    assert process.returncode == 3
    assert manager.messages == ["READY=1\n", f"MAINPID={process.pid}\n", "BARRIER=1"]


def test_a_program_that_never_is_ready(stage: Stage, manager: Manager) -> None:
    """A program that ends without a message ends the wait of start, and the manager is told nothing."""
    container = stage.container(
        "sh", "-c", "echo $NOTIFY_SOCKET; ls -ld $NOTIFY_SOCKET | cut -c 1", edit=_writable
    )
    container.create(env=manager.environment).ok()
    container.start(env=manager.environment).ok()
    container.wait_for("stopped")
    assert container.output() == "/run/notify/notify.sock\ns\n"
    container.delete().ok()
    assert manager.messages == []
    assert stage.runtime.ids() == []


def test_a_manager_that_is_gone(stage: Stage) -> None:
    """A socket that no one listens on is a warning: the container runs."""
    if runtime_under_test() in PEERS:
        pytest.skip("the words are this runtime's: run with RUNTIME=ociruntime")
    environment = {**ENVIRONMENT, "NOTIFY_SOCKET": str(stage.directory / "nobody")}
    container = talker(stage, "READY=1")
    container.create(env=environment).ok()
    result = container.start(env=environment).ok()
    assert "warning: start: NOTIFY_SOCKET: no such file or directory" in result.err.replace("level=", "")
    container.delete("--force").ok()


def _writable(config: Config) -> None:
    config["root"]["readonly"] = False


def test_an_abstract_socket(stage: Stage) -> None:
    """A manager's address that begins with @ is abstract."""
    made = Manager(f"@ociruntime-test-{os.getpid()}")
    try:
        container = talker(stage, "READY=1")
        container.create(env=made.environment).ok()
        container.start(env=made.environment).ok()
        assert made.messages[0] == "READY=1\n"
        container.delete("--force").ok()
    finally:
        made.close()
