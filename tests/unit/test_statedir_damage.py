# SPDX-License-Identifier: Apache-2.0
"""What if something else is where a file of a container belongs? It is reported at once, and never waited for."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ociruntime.container import Container, list_all
from ociruntime.errors import RuntimeFailure, StateUnreadable
from ociruntime.operations.delete import delete
from ociruntime.operations.recover import gc
from ociruntime.removal import remove_tree
from ociruntime.statedir import Record, StateDir

if TYPE_CHECKING:
    from collections.abc import Callable

_STATE: dict[str, object] = {
    "id": "one",
    "pid": 1 << 21,
    "start_time": 2,
    "bundle": "/b",
    "rootfs": "/b/rootfs",
    "facts": {},
    "hooks": [],
    "options": {},
}


def _directory(path: Path) -> None:
    (path / "in" / "it").mkdir(parents=True)
    (path / "in" / "file").write_text("x")


def _huge(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def _socket(path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.close()


# What is put in place of a file.
_INSTEAD: dict[str, Callable[[Path], None]] = {
    "directory": _directory,
    "fifo": os.mkfifo,
    "link": lambda path: path.symlink_to("/etc/passwd"),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "circle": lambda path: path.symlink_to(path.name),
    "huge": _huge,
    "socket": _socket,
}


def _made(root: Path) -> StateDir:
    """A container whose init has ended."""
    directory = StateDir.claim(str(root), "one")
    directory.note({"op": "init", "args": {"pid": 1 << 21, "start_time": 2}})
    directory.write("progress", bytes(24))
    directory.write("config.json", b"{}")
    directory.write_state(Record(_STATE))
    directory.unlock()
    return directory


def _replace(directory: StateDir, name: str, kind: str) -> None:
    path = Path(directory.file(name))
    path.unlink(missing_ok=True)
    _INSTEAD[kind](path)


@pytest.mark.parametrize("kind", list(_INSTEAD))
@pytest.mark.parametrize("name", ["state.json", "deleted.json", "journal", "lock", "progress", "config.json"])
def test_reading(tmp_path: Path, name: str, kind: str) -> None:
    """Whatever it is, reading raises StateUnreadable with the path, and ends at once."""
    directory = _made(tmp_path)
    _replace(directory, name, kind)
    with pytest.raises(StateUnreadable, match=f"/one/{name}"):
        directory.read(name)
    if name == "lock" and kind != "huge":
        with pytest.raises(StateUnreadable, match="/one/lock"):
            directory.lock(wait=True, create=True)


@pytest.mark.parametrize("kind", list(_INSTEAD))
@pytest.mark.parametrize(
    "name", ["state.json", "deleted.json", "journal", "lock", "progress", "config.json", "stray"]
)
def test_the_way_out(tmp_path: Path, name: str, kind: str) -> None:
    """`list` and `gc` report it and show the others, and delete --force removes the container, whatever is there."""
    directory = _made(tmp_path)
    _replace(directory, name, kind)
    told: list[str] = []
    failed: list[RuntimeFailure] = []
    shown = list_all(str(tmp_path), told.append)
    assert [state["id"] for state in shown] == ([] if name == "state.json" else ["one"])
    assert len(told) == (name == "state.json")
    assert gc(str(tmp_path), told.append, failed.append) == []
    assert failed == []
    delete(str(tmp_path), "one", force=True)
    assert os.listdir(tmp_path) == []
    assert Path("/etc/passwd").exists()


@pytest.mark.parametrize("kind", list(_INSTEAD))
@pytest.mark.parametrize("name", ["deleted.json", "journal", "lock", "progress", "stray"])
def test_damage_of_what_is_left_over(tmp_path: Path, name: str, kind: str) -> None:
    """After an interrupted delete the same: `gc` tells what it can't finish, and delete --force has another try."""
    directory = _made(tmp_path)
    os.rename(directory.file("state.json"), directory.file("deleted.json"))
    _replace(directory, name, kind)
    told: list[str] = []
    failed: list[RuntimeFailure] = []
    shown = list_all(str(tmp_path), told.append)
    assert [state["id"] for state in shown] == ([] if name == "deleted.json" else ["one"])
    assert len(told) == 1
    cleaned = gc(str(tmp_path), told.append, failed.append)
    needs_force = name == "lock" and kind != "huge"
    assert (cleaned, len(failed)) == (([], 1) if needs_force else (["one"], 0))
    if needs_force:
        assert "/one/lock" in str(failed[0])
        delete(str(tmp_path), "one", force=True)
    assert os.listdir(tmp_path) == []


def test_progress_that_cannot_be_read(tmp_path: Path) -> None:
    """The container can still be looked at and ended; the damage is a warning."""
    directory = _made(tmp_path)
    directory.write_state(Record({**_STATE, "pid": os.getpid(), "start_time": _own_start()}))
    _replace(directory, "progress", "fifo")
    container = Container.load(str(tmp_path), "one")
    assert container.status() == "running"
    assert container.status() == "running"
    assert [line for line in container.warnings if "/one/progress: not a regular file" in line] == (
        container.warnings
    )
    assert len(container.warnings) == 1


def _own_start() -> int:
    stat = Path("/proc/self/stat").read_text(encoding="ascii", errors="replace")
    return int(stat.rpartition(")")[2].split()[19])


def test_nothing_known_is_nothing_removed(tmp_path: Path) -> None:
    """Without state and journal its processes are unknown: the directory stays, and the error says what to do."""
    directory = _made(tmp_path)
    for name in ("state.json", "journal"):
        _replace(directory, name, "directory")
    with pytest.raises(RuntimeFailure, match="its processes are unknown") as caught:
        delete(str(tmp_path), "one", force=True)
    assert f"remove {directory.path}" in caught.value.hint
    assert os.path.isdir(directory.path)


@pytest.mark.parametrize("journal", [None, b"", b"garbage\n"])
def test_a_journal_without_init(tmp_path: Path, journal: bytes | None) -> None:
    """What the state names is ended anyway: delete --force never says "done" while init lives."""
    directory = _made(tmp_path)
    with subprocess.Popen(["sleep", "100"]) as init:
        stat = Path(f"/proc/{init.pid}/stat").read_text(encoding="ascii")
        start_time = int(stat.rpartition(")")[2].split()[19])
        directory.write_state(Record({**_STATE, "pid": init.pid, "start_time": start_time}))
        path = Path(directory.file("journal"))
        path.unlink()
        if journal is not None:
            path.write_bytes(journal)
        try:
            warnings = delete(str(tmp_path), "one", force=True)
            assert init.wait(5) == -9
        finally:
            init.kill()
    assert "journal: it has no entry for init" in warnings[0]
    assert os.listdir(tmp_path) == []


def test_remove_tree(tmp_path: Path) -> None:
    """Everything below is removed, at any depth; links are removed, and not their targets."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("x")
    top = tmp_path / "top"
    deep = top
    for _ in range(200):
        deep = deep / "d"
    deep.mkdir(parents=True)
    (deep / "link").symlink_to(canary)
    (top / "link").symlink_to(canary)
    os.mkfifo(top / "d" / "fifo")
    remove_tree(str(top))
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["canary", "file"]


@pytest.mark.root
def test_remove_tree_stops_at_a_mount(tmp_path: Path) -> None:
    """What is mounted below is not removed: the error names the mount's place."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "file").write_text("x")
    point = tmp_path / "top" / "mine"
    point.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(canary), str(point)], check=True)
    try:
        with pytest.raises(OSError, match="a mount is in the way") as caught:
            remove_tree(str(tmp_path / "top"))
        assert caught.value.filename == str(point)
    finally:
        subprocess.run(["umount", str(point)], check=True)
    assert (canary / "file").read_text() == "x"
