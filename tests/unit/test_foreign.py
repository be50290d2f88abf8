# SPDX-License-Identifier: Apache-2.0
"""ociruntime/foreign.py: which directories below --root are ours, and what do errors say about the others?"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from ociruntime.container import Container, list_all
from ociruntime.errors import ContainerExists, ForeignContainer, StateUnreadable
from ociruntime.foreign import refuse
from ociruntime.identity import start_time_of
from ociruntime.operations.create import _claim
from ociruntime.operations.delete import delete
from ociruntime.operations.recover import finish, gc
from ociruntime.statedir import StateDir

if TYPE_CHECKING:
    from pathlib import Path

_ME = os.getpid()
_STARTED = start_time_of(_ME)
_RUNC = {"id": "x", "init_process_pid": _ME, "init_process_start": _STARTED, "created": "now", "config": {}}
_CRUN = {"pid": _ME, "process-start-time": _STARTED, "cgroup-path": "/x", "bundle": "/b"}
_YOUKI = {"ociVersion": "1.0.2", "id": "x", "status": "running", "pid": _ME, "bundle": "/b"}

# files -> the words that say whose it is
_FOREIGN: dict[str, tuple[dict[str, object], str]] = {
    "runc, created": ({"state.json": _RUNC, "exec.fifo": None}, f"runc: pid {_ME}, which is running"),
    "runc, running": ({"state.json": _RUNC}, f"runc: pid {_ME}, which is running"),
    "runc, another process": (
        {"state.json": {**_RUNC, "init_process_start": _STARTED + 1}},
        f"runc: pid {_ME}, which has ended",
    ),
    "runc, no pid": ({"state.json": {**_RUNC, "init_process_pid": 0}}, "runc: no process"),
    "runc, absurd pid": ({"state.json": {**_RUNC, "init_process_pid": 1 << 70}}, "runc: no process"),
    "runc, renamed by an old delete": ({"deleted.json": _RUNC, "lock": b""}, f"runc: pid {_ME}"),
    "crun": ({"status": _CRUN, "config.json": {}, "exec.fifo": None}, f"crun: pid {_ME}, which is running"),
    "crun, text as pid": ({"status": {**_CRUN, "pid": "1"}}, "crun: no process"),
    "youki": ({"state.json": _YOUKI, "notify.sock": b""}, f"youki: pid {_ME} "),
    "unknown": ({"anything": b"x"}, "another runtime or program"),
    "made by runc a moment ago": ({"exec.fifo": None}, "another runtime or program"),
    "damaged, and without our lock": ({"state.json": b"{"}, "another runtime or program"),
    "lists of packages, with a lock": ({"lock": b"", "data": b"x"}, "another runtime or program"),
    "somebody's journal": ({"journal": b"monday\n", "photos": b"x"}, "another runtime or program"),
    "a lock with a pid": ({"lock": b"4711\n", "journal": b""}, "another runtime or program"),
    "a status that is no object": ({"status": b"[]"}, "another runtime or program"),
}

_OURS: dict[str, dict[str, object]] = {
    "just made": {"lock": b""},
    "being made": {"lock": b"", "journal": b"", "progress": b""},
    "damaged": {"lock": b" " * 64, "state.json": b"{"},
    "damaged while it was held": {"lock": b"%-32d%-32d" % (17, 42), "journal": b"?"},
    "killed in the middle": {"lock": b"", "journal": b'{"op":"init","args":{}}\n'},
    "of another version, without its lock": {"state.json": {"version": 2}},
    "without version": {"lock": b"", "state.json": {"pid": 1, "start_time": 1}},
    "being deleted, without its lock": {"deleted.json": {"version": 1}},
    "empty": {},
}


def _fill(root: Path, files: dict[str, object]) -> StateDir:
    directory = root / "x"
    directory.mkdir(mode=0o700)
    for name, content in files.items():
        path = directory / name
        if content is None:
            os.mkfifo(path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return StateDir(str(root), "x")


@pytest.mark.parametrize("kind", list(_FOREIGN))
def test_what_is_not_ours_is_told_and_left_alone(tmp_path: Path, kind: str) -> None:
    """Whose it is, its pid, and how to end it; every operation refuses, and no file of it changes."""
    files, words = _FOREIGN[kind]
    directory = _fill(tmp_path, files)
    root = str(tmp_path)
    before = sorted(os.listdir(directory.path))
    for operation in (
        lambda: refuse(directory),
        lambda: Container.load(root, "x"),
        lambda: delete(root, "x", False),
        lambda: delete(root, "x", True),
        lambda: finish(directory),
    ):
        with pytest.raises(ForeignContainer) as caught:
            operation()
        assert directory.path in caught.value.reason
        assert words in f"{caught.value.reason} ", kind
    runtime = kind.partition(",")[0]
    if runtime in ("runc", "crun", "youki"):
        assert caught.value.hint == f"end it with: {runtime} --root {root} delete --force x"
    with pytest.raises(ContainerExists, match=r"already exists: x .*another runtime"):
        _claim(root, "x")
    told: list[str] = []
    assert list_all(root, told.append) == []
    assert gc(root, told.append) == []
    assert len(told) == 2
    assert all(line.startswith(f"x: {directory.path} belongs to another runtime") for line in told)
    assert sorted(os.listdir(directory.path)) == before


@pytest.mark.parametrize("kind", list(_OURS))
def test_what_is_ours(tmp_path: Path, kind: str) -> None:
    """The lock says so, or the format of the state; an empty directory could be anyone's."""
    refuse(_fill(tmp_path, _OURS[kind]))


def test_our_damaged_state_is_damage(tmp_path: Path) -> None:
    """It is not taken for another runtime's: delete --force must stay the way out."""
    _fill(tmp_path, _OURS["damaged"])
    with pytest.raises(StateUnreadable) as caught:
        Container.load(str(tmp_path), "x")
    assert "delete --force" in caught.value.hint


def test_a_root_with_odd_letters(tmp_path: Path) -> None:
    """The command that is proposed can be pasted into a shell."""
    root = tmp_path / "it's here"
    root.mkdir(mode=0o700)
    _fill(root, {"state.json": _RUNC})
    with pytest.raises(ForeignContainer) as caught:
        Container.load(str(root), "x")
    quoted = "'" + str(root).replace("'", "'\\''") + "'"
    assert f"runc --root {quoted} delete --force x" in caught.value.hint
