# SPDX-License-Identifier: Apache-2.0
"""Is the state directory what it promises: unique ids, one lock, atomic files, a journal that a crash can't break?"""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from ociruntime.errors import ContainerExists, NoSuchContainer, RuntimeFailure, StateUnreadable, UsageError
from ociruntime.jsontext import compact
from ociruntime.operations.recover import finish
from ociruntime.statedir import STATE_VERSION, Record, StateDir
from ociruntime.stateroot import check_id, default_root, names

_STATE: dict[str, object] = {
    "id": "one",
    "pid": 1,
    "start_time": 2,
    "bundle": "/b",
    "rootfs": "/b/rootfs",
    "facts": {},
    "hooks": [],
    "options": {},
}


def _claim(root: Path, container_id: str = "one") -> StateDir:
    return StateDir.claim(str(root), container_id)


def _members(directory: StateDir) -> dict[str, object]:
    record = directory.read_state()
    assert record is not None
    return record.members


@pytest.mark.parametrize("good", ["a", "A_b+c.d-e,f", "...", ".hidden", "-", "1", "x" * 255])
def test_good_ids(good: str) -> None:
    """Letters, digits and _ + - . , make an id of up to 255 characters."""
    check_id(good)


@pytest.mark.parametrize(
    "bad", ["", ".", "..", "/", "a/b", "a b", "a\n", "a\0", "é", "~", "a:b", "@", "x" * 256, "\udcff"]
)
def test_bad_ids(bad: str, tmp_path: Path) -> None:
    """What could be another path, or is not a file name, is an invalid id; no directory is made for it (invariant 11)."""
    with pytest.raises(UsageError):
        check_id(bad)
    with pytest.raises(UsageError):
        _claim(tmp_path / "root", bad)
    with pytest.raises(UsageError):
        StateDir.find(str(tmp_path / "root"), bad)
    assert not (tmp_path / "root").exists()


def test_default_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """/run/ociruntime for root; below XDG_RUNTIME_DIR, or the directory that it usually is, for others."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_root() == "/run/ociruntime"
    monkeypatch.setattr(os, "geteuid", lambda: 7)
    monkeypatch.setattr(os, "getuid", lambda: 7)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/mine")
    assert default_root() == "/run/mine/ociruntime"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "")
    assert default_root() == "/run/user/7/ociruntime"


def test_claim_is_exclusive(tmp_path: Path) -> None:
    """The first claim wins, the second is refused, whether or not the first is still at work (R223)."""
    first = _claim(tmp_path / "root")
    with pytest.raises(ContainerExists, match="one"):
        _claim(tmp_path / "root")
    first.unlock()
    with pytest.raises(ContainerExists):
        _claim(tmp_path / "root")


def test_claims_of_many_threads(tmp_path: Path) -> None:
    """Of many claims of one id at the same moment exactly one succeeds."""
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def compete() -> None:
        barrier.wait()
        try:
            _claim(tmp_path)
            outcomes.append("won")
        except ContainerExists:
            outcomes.append("lost")

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]


def test_nobody_else_may_look(tmp_path: Path) -> None:
    """Root, directory and files are for the owner only, whatever the umask: they hold environments and paths."""
    before = os.umask(0)
    try:
        directory = _claim(tmp_path / "root")
        directory.write_state(Record(_STATE))
        directory.note({"op": "x", "args": {}})
        places = [tmp_path / "root", Path(directory.path), *Path(directory.path).iterdir()]
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o077 for path in places} == {0}


def test_root_that_cannot_be_made(tmp_path: Path) -> None:
    """The error names the directory and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeFailure, match="file") as caught:
        _claim(tmp_path / "file")
    assert caught.value.errno
    assert caught.value.step == "make state directory"


def test_find(tmp_path: Path) -> None:
    """A directory is found, also unfinished; anything else is not a container."""
    with pytest.raises(NoSuchContainer, match="does not exist"):
        StateDir.find(str(tmp_path), "one")
    (tmp_path / "file").write_text("")
    with pytest.raises(NoSuchContainer):
        StateDir.find(str(tmp_path), "file")
    assert StateDir.find(str(tmp_path), _claim(tmp_path).container_id).path == str(tmp_path / "one")


@pytest.mark.parametrize("root", ["file", "file/below"])
def test_a_root_that_is_a_file(tmp_path: Path, root: str) -> None:
    """The error says so, and not that there are no containers."""
    (tmp_path / "file").write_text("")
    for call in (lambda: names(str(tmp_path / root)), lambda: StateDir.find(str(tmp_path / root), "one")):
        with pytest.raises(RuntimeFailure, match=root) as caught:
            call()
        assert caught.value.errno == errno.ENOTDIR


def test_lock_is_held_by_one(tmp_path: Path) -> None:
    """A process that finds the lock taken is told at once, and gets it when it is free."""
    holder = _claim(tmp_path)
    other = StateDir.find(str(tmp_path), "one")
    assert not other.lock(wait=False)
    holder.unlock()
    assert other.lock(wait=False)
    assert not holder.lock(wait=False)
    other.unlock()
    other.unlock()  # a second time is nothing


def test_lock_of_a_directory_that_went_away(tmp_path: Path) -> None:
    """A process that has waited for the lock of a directory that was removed meanwhile does not get that lock."""
    holder = _claim(tmp_path)
    waiter = StateDir.find(str(tmp_path), "one")
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(waiter.lock(wait=True)))
    thread.start()
    thread.join(0.05)
    holder.remove()
    thread.join(5)
    assert got == [False]
    assert not waiter.lock(wait=False)
    assert os.listdir(tmp_path) == []


def test_lock_of_a_successor(tmp_path: Path) -> None:
    """A lock file that was replaced (the id is used again) is not taken for the one that was opened."""
    holder = _claim(tmp_path)
    waiter = StateDir.find(str(tmp_path), "one")
    got: list[bool] = []
    thread = threading.Thread(target=lambda: got.append(waiter.lock(wait=True)))
    thread.start()
    thread.join(0.05)
    os.unlink(holder.file("lock"))
    successor = StateDir.find(str(tmp_path), "one")
    assert successor.lock(wait=False, create=True)
    holder.unlock()
    thread.join(5)
    assert got == [False]


def test_state_comes_back(tmp_path: Path) -> None:
    """What write_state wrote is what read_state reads, with the version; without a file it is None."""
    directory = _claim(tmp_path)
    assert directory.read_state() is None
    directory.write_state(Record(_STATE))
    assert _members(directory) == {"version": STATE_VERSION, **_STATE}
    directory.write_state(Record({**_STATE, "pid": 7, "bundle": "/\udcff é \n"}))
    assert _members(directory) == {"version": STATE_VERSION, **_STATE, "pid": 7, "bundle": "/\udcff é \n"}
    assert sorted(os.listdir(directory.path)) == ["lock", "state.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b"\xff",
        b"{}",
        b'{"version":0}',
        b'{"version":2}',
        b'{"version":"1"}',
        b'{"version":1.5}',
        b'{"version":null}',
        b"[" * 100_000,
        b'{"version":1} x',
    ],
)
def test_unreadable_state(tmp_path: Path, content: bytes) -> None:
    """Damage and other versions are an error with the file's name and the way out; never another exception."""
    directory = _claim(tmp_path)
    Path(directory.file("state.json")).write_bytes(content)
    with pytest.raises(StateUnreadable, match=r"state\.json") as caught:
        directory.read_state()
    assert "delete --force" in caught.value.hint


@pytest.mark.parametrize("name", ["pid", "start_time", "facts", "options", "hooks", "bundle"])
@pytest.mark.parametrize("value", [None, "text", 1.5, [[]]])
def test_state_without_a_member_is_damaged(tmp_path: Path, name: str, value: object) -> None:
    """A state of this version that lacks a member, or has one of another type, can't be worked with."""
    if name == "bundle" and value == "text":
        value = 7
    if name == "hooks" and value == [[]]:
        value = {}
    directory = _claim(tmp_path)
    directory.write("state.json", compact({"version": STATE_VERSION, **_STATE, name: value}).encode())
    with pytest.raises(StateUnreadable):
        directory.read_state()


def test_failed_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a file can't be replaced the old one stays, whole."""
    directory = _claim(tmp_path)
    directory.write_state(Record(_STATE))
    before = Path(directory.file("state.json")).read_bytes()

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, "no space")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RuntimeFailure, match=r"state\.json") as caught:
        directory.write_state(Record({**_STATE, "pid": 99}))
    monkeypatch.undo()
    assert caught.value.errno == 28
    assert Path(directory.file("state.json")).read_bytes() == before


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system call that takes only a part of the data is called again for the rest."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data)[:3]))
    directory = _claim(tmp_path)
    directory.write_state(Record(_STATE))
    directory.note({"op": "a", "args": {"c": "long text"}})
    monkeypatch.undo()
    assert _members(directory) == {"version": STATE_VERSION, **_STATE}
    assert len(directory.journal()) == 1


def _entry(name: str) -> dict[str, object]:
    return {"op": name, "args": {"paths": {"x": "/\n\u00e9\udcff"}}}


def test_journal_keeps_the_order(tmp_path: Path) -> None:
    """Entries come back in the order in which they were noted, with any text in them."""
    directory = _claim(tmp_path)
    assert directory.journal() == []
    for name in ("first", "second", "third"):
        directory.note(_entry(name))
    assert directory.journal() == [_entry("first"), _entry("second"), _entry("third")]


def test_journal_cut_at_every_byte(tmp_path: Path) -> None:
    """Wherever a crash cuts the journal off, the entries before the cut are there, and no other."""
    directory = _claim(tmp_path)
    for name in ("first", "second"):
        directory.note(_entry(name))
    path = Path(directory.file("journal"))
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        expected = [_entry("first")] * (length >= first) + [_entry("second")] * (length == len(whole))
        assert directory.journal() == expected, length


@pytest.mark.parametrize(
    "line",
    [
        b"garbage",
        b"",
        b"[]",
        b"7",
        b"\xff",
        b"{}",
        b'{"op":1,"args":{}}',
        b'{"subject":1}',
        b"[" * 100_000,
        b"{",
    ],
)
def test_damaged_line_of_the_journal(tmp_path: Path, line: bytes) -> None:
    """A line that makes no sense hides none of the others: what is known must be undone."""
    directory = _claim(tmp_path)
    directory.note(_entry("first"))
    with open(directory.file("journal"), "ab") as file:
        file.write(line + b"\n")
    directory.note(_entry("last"))
    assert directory.journal() == [_entry("first"), _entry("last")]


def test_remove(tmp_path: Path) -> None:
    """Everything goes, the lock last; a second time is nothing."""
    directory = _claim(tmp_path)
    directory.write_state(Record(_STATE))
    directory.note(_entry("x"))
    directory.remove()
    assert os.listdir(tmp_path) == []
    directory.remove()
    _claim(tmp_path).remove()


def test_removal_that_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after any unlink, what is left is either lockable or empty; deleted.json never outlives config.json."""
    unlink = os.unlink
    for survivors in range(6):
        directory = _claim(tmp_path, f"cut-{survivors}")
        for name in ("config.json", "progress", "deleted.json", "journal"):
            directory.write(name, b"{}")
        left = [survivors]

        def stop(path: str, left: list[int] = left) -> None:
            if left[0] == 0:
                raise KeyboardInterrupt
            left[0] -= 1
            unlink(path)

        monkeypatch.setattr(os, "unlink", stop)
        try:
            directory.remove()
        except KeyboardInterrupt:
            names = set(os.listdir(directory.path))
            assert not names or "lock" in names
            assert "deleted.json" not in names or "config.json" in names
        monkeypatch.undo()
        directory.remove()
    assert os.listdir(tmp_path) == []


def _claimed_by_the_dead(root: Path, seconds: float) -> int:
    """A process that claims an id, makes a child that shares the lock for a while, and dies; returns the child."""
    reader, writer = os.pipe()
    holder = os.fork()
    if holder == 0:
        _claim(root).note(_entry("nothing"))
        child = os.fork()
        if child == 0:
            time.sleep(seconds)
            os._exit(0)
        os.write(writer, str(child).encode())
        os._exit(0)
    os.waitpid(holder, 0)
    os.close(writer)
    child = int(os.read(reader, 20))
    os.close(reader)
    return child


def test_lock_of_a_dead_holder(tmp_path: Path) -> None:
    """What a runtime that was killed has cloned shares its lock until it comes to its exec: that is waited for."""
    _claimed_by_the_dead(tmp_path, 0.3)
    Path(tmp_path, "one", "journal").unlink()
    assert finish(StateDir.find(str(tmp_path), "one")) == []
    assert os.listdir(tmp_path) == []


def test_lock_of_a_living_holder(tmp_path: Path) -> None:
    """A process that is at work on a container is not waited for: `state` answers at once."""
    holder = _claim(tmp_path)
    began = time.monotonic()
    assert finish(StateDir.find(str(tmp_path), "one")) is None
    assert time.monotonic() - began < 0.2
    holder.remove()
