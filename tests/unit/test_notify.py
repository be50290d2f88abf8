# SPDX-License-Identifier: Apache-2.0
"""What foreground/readiness.py adds to a config, and what it makes of a program that has ended."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.bundle import Bundle
from ociruntime.config import Node
from ociruntime.foreground.readiness import Proxy, undo, with_notify_socket
from ociruntime.launch.context import Context

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 1 << 22  # above every process id (proc(5), pid_max)


def changed(config: dict[str, Any]) -> Any:
    """The config with a notify directory /state/notify."""
    bundle = Bundle("/b", "/b/config.json", json.dumps(config).encode())
    return with_notify_socket(bundle, "/state/notify").config.value


def test_what_is_added() -> None:
    """One mount at the end, read-only and without devices, and one variable; all else stays."""
    config = {
        "process": {"env": ["A=b"], "cwd": "/"},
        "mounts": [{"destination": "/x"}],
        "root": {"path": "r"},
    }
    options = ["bind", "nosuid", "noexec", "nodev", "ro"]
    mount = {"destination": "/run/notify", "type": "bind", "source": "/state/notify", "options": options}
    assert changed(config) == {
        "process": {"env": ["A=b", "NOTIFY_SOCKET=/run/notify/notify.sock"], "cwd": "/"},
        "mounts": [{"destination": "/x"}, mount],
        "root": {"path": "r"},
    }
    assert changed({"process": {}})["mounts"] == [mount]


@pytest.mark.parametrize(
    "config", [{}, {"process": None}, {"process": 1}, {"process": {"env": 1}}, {"process": {}, "mounts": {}}]
)
def test_what_is_wrong_stays_wrong(config: dict[str, Any]) -> None:
    """A config that check() will refuse, or without a process, is left as it is."""
    assert changed(config) == config


def test_nothing_is_told_of_a_program_that_has_ended(tmp_path: Path) -> None:
    """Without a message the end of init is the end; with one that came before it, the manager hears of it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "manager"))
        manager.settimeout(10)
        proxy = Proxy(str(tmp_path), str(tmp_path / "manager"))
        warnings: list[str] = []
        try:
            proxy.serve(NOBODY, 5, warnings.append)
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as program:
                program.sendto(b"STATUS=x\nREADY=1", str(tmp_path / "notify.sock"))
            assert proxy._ready(-1) == b"READY=1"
        finally:
            proxy.close()
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(1)
    assert warnings == []
    assert oct(os.stat(tmp_path / "notify.sock").st_mode)[-3:] == "777"


def test_undo_removes_whatever_is_there(tmp_path: Path) -> None:
    """A directory that someone has put beside the socket does not keep the container from being deleted."""
    (tmp_path / "notify" / "stray" / "deep").mkdir(parents=True)
    (tmp_path / "notify" / "notify.sock").write_text("")
    context = Context("x", "/b", str(tmp_path), Node({}))
    for _ in range(2):  # a second time is nothing
        undo("make_notify_directory", {"path": str(tmp_path / "notify")}, context)
    assert list(tmp_path.iterdir()) == []
