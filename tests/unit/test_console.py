# SPDX-License-Identifier: Apache-2.0
"""The terminal: sizes, who may ask for it how, its steps and their place; sockets with paths of any length."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.bundle import Bundle
from ociruntime.config import Node
from ociruntime.errors import RuntimeFailure
from ociruntime.host import Host
from ociruntime.linux import console
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.plan import order
from ociruntime.step import HostStep, InitStep, SyncStep
from tests.harness.configuration import default_config
from tests.harness.terminals import Receiver

if TYPE_CHECKING:
    from pathlib import Path


def found(process: dict[str, Any]) -> list[tuple[str, str]]:
    """(pointer, severity) of everything that check yields."""
    return [(one.pointer, one.severity) for one in console.check(Node({"process": process}))]


def test_sizes_that_no_terminal_can_have() -> None:
    """With a terminal the size must fit struct winsize; without one it is ignored (R039, R040)."""
    size = {"height": 70000, "width": 65535}
    assert found({"terminal": True, "consoleSize": size}) == [("/process/consoleSize/height", "error")]
    assert found({"terminal": True, "consoleSize": {"height": 1, "width": 65536}}) == [
        ("/process/consoleSize/width", "error")
    ]
    assert found({"terminal": False, "consoleSize": size}) == []
    assert found({"consoleSize": size}) == []
    assert found({"terminal": True}) == []


@pytest.mark.parametrize(
    ("terminal", "socket", "detached", "words"),
    [
        (True, "", True, "cannot allocate tty"),
        (True, "/s", True, ""),
        (True, "", False, ""),
        (True, "/s", False, "cannot use console socket"),
        (False, "/s", True, "cannot use console socket"),
        (False, "/s", False, "cannot use console socket"),
        (False, "", True, ""),
        (False, "", False, ""),
    ],
)
def test_who_may_ask_for_what(terminal: bool, socket: str, detached: bool, words: str) -> None:
    """A command that detaches needs a socket, and no other may have one: the rules of runc."""
    config = Node({"process": {"terminal": terminal}})
    if not words:
        console.refuse(config, socket, detached=detached)
        return
    with pytest.raises(RuntimeFailure, match=words):
        console.refuse(config, socket, detached=detached)


def steps_of(process: dict[str, Any], **options: str) -> list[Any]:
    """The steps of the default config with these properties of process."""
    config = default_config("true")
    config["process"].update(process)
    del config["linux"]["resources"]
    bundle = Bundle("/bundle", "/bundle/config.json", json.dumps(config).encode())
    return order.make(bundle, Host(Layout("none")), order.Options("id", **options)).steps  # type: ignore[arg-type]


def ops(steps: list[Any]) -> list[str]:
    """What identifies each step."""
    return [getattr(step, "op", "") or step.point for step in steps]


def test_no_terminal_no_step() -> None:
    """Without terminal and sockets the plan knows nothing of either, whatever consoleSize says."""
    plain = ops(steps_of({}))
    assert not {"terminal", "terminal_owner", "console"} & set(plain)
    assert ops(steps_of({"terminal": False, "consoleSize": {"height": 2, "width": 3}})) == plain


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (None, (0, 0)),
        ({"height": 40, "width": 100}, (40, 100)),
        ({"height": 40, "width": 0}, (0, 0)),  # as runc: both or nothing
        ({"height": 0, "width": 100}, (0, 0)),
    ],
)
def test_terminal_of_that_size_and_user(size: dict[str, int] | None, wanted: tuple[int, int]) -> None:
    """R038, R040, R113: opened with its size, given to process.user, bound on /dev/console."""
    steps = steps_of({"terminal": True, "consoleSize": size, "user": {"uid": 7, "gid": 8}})
    opened, owner, bound = (
        next(step for step in steps if isinstance(step, InitStep) and step.op == op)
        for op in ("terminal", "terminal_owner", "console")
    )
    assert opened.args == wanted
    assert owner.args == (7,)
    assert bound.args == ("/dev/console",)
    assert bound.pointer == opened.pointer == "/process/terminal"


def test_the_terminal_s_place() -> None:
    """After devices and links and in a session of its own; before hooks, pivot_root and read-only /dev."""
    config = {"terminal": True}
    names = ops(steps_of(config))
    place = names.index("terminal")
    assert names.index("setsid") < place
    assert max(index for index, name in enumerate(names) if name in ("mknod", "symlink")) < place
    assert names[place : place + 3] == ["terminal", "terminal_owner", "console"]
    assert place + 2 < names.index("pivot_root") < names.index("mask")


def test_sockets_are_tried_first_and_served_last() -> None:
    """Connected before anything is made; sent once the environment is complete, before state.json is written."""
    steps = steps_of({"terminal": True}, console_socket="/c", pidfd_socket="/p")
    names = ops(steps)
    assert names[:2] == ["connect_console_socket", "connect_pidfd_socket"]
    place = names.index("ready")
    assert isinstance(steps[place], SyncStep)
    assert names[place + 1 : place + 4] == ["send_terminal", "send_pidfd", "commit"]
    assert not any(isinstance(step, HostStep) and step.undoable for step in steps[:2])


@pytest.mark.parametrize("length", [20, 107, 300, 900])
def test_a_path_of_any_length(tmp_path: Path, length: int) -> None:
    """unix(7) has room for 107 bytes; engines' directories are longer. One message, with one descriptor."""
    directory = tmp_path
    while len(str(directory)) + 5 < length:
        directory /= "d" * min(200, length - len(str(directory)) - 5)
    directory.mkdir(parents=True, exist_ok=True)
    receiver = Receiver(directory / "sock")
    try:
        connection = console.connect(str(receiver.path))
        reader, writer = os.pipe()
        console.send(connection, "name", writer)
        os.close(connection)
        name, numbers, rest = receiver.receive()
        assert (name, len(numbers), rest) == ("name", 1, b"")
        os.write(numbers[0], b"x")
        assert os.read(reader, 1) == b"x"
        os.close(reader)
        os.close(writer)
    finally:
        receiver.close()


@pytest.mark.parametrize("kind", ["missing", "file", "deaf"])
def test_nobody_listens(tmp_path: Path, kind: str) -> None:
    """The error has the path, even if there is something else or a socket without a listener."""
    path = tmp_path / "sock"
    if kind == "file":
        path.touch()
    elif kind == "deaf":
        receiver = Receiver(path)
        receiver.listening.close()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match=re.escape(str(path))):
        console.connect(str(path))
    assert os.listdir("/proc/self/fd") == before
