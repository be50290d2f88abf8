# SPDX-License-Identifier: Apache-2.0
"""ociruntime/linux/rootfs.py: from a directory to the container's "/"."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.host import Host
from ociruntime.launch.context import Context
from ociruntime.linux import rootfs
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.linux.mountinfo import Mount
from ociruntime.step import HostStep

REC, UNBINDABLE, PRIVATE, SLAVE, SHARED = 0x4000, 1 << 17, 1 << 18, 1 << 19, 1 << 20


def config(propagation: str | None = None, namespaces: str = "mount", **root: Any) -> Node:
    """A config with this propagation, these namespaces and properties of /root."""
    linux: dict[str, Any] = {"namespaces": [{"type": name} for name in namespaces.split()]}
    if propagation is not None:
        linux["rootfsPropagation"] = propagation
    return Node({"root": {"path": "rootfs", **root}, "linux": linux})


def new_context(directory: str = "/d") -> Context:
    """A container that is being made."""
    return Context("id", "/b", directory, Node({}), Host(Layout("none")))


@pytest.mark.parametrize(
    ("path", "expected"),
    [("rootfs", "/b/rootfs"), ("/var/x/", "/var/x"), ("../o/./r", "/b/../o/r"), (".", "/b")],
)
def test_path_is_relative_to_the_bundle(path: str, expected: str) -> None:
    """R010: absolute, or relative to the bundle."""
    node = config(path=path)
    assert rootfs.path_of(node, "/b") == expected
    assert list(rootfs.plan(node, "/b"))[-1].args[0] == expected


@pytest.mark.parametrize(
    ("value", "private", "last"),
    [
        (None, False, None),
        ("slave", False, None),
        ("rslave", False, None),
        ("private", True, None),
        ("rprivate", True, None),
        ("shared", False, SHARED),
        ("rshared", False, SHARED | REC),
        ("unbindable", True, UNBINDABLE),
        ("runbindable", True, UNBINDABLE | REC),
    ],
)
def test_propagation(value: str | None, private: bool, last: int | None) -> None:
    """Never shared with the host while mounting; what the config wants is set in the new root (R194).

    The host's mounts become slaves whatever it says: a bind that says slave shows one of them.
    """
    steps = list(rootfs.plan(config(value), "/b"))
    flags = rootfs.ROOT_BIND | rootfs.ROOT_PARENT_PRIVATE | (rootfs.ROOT_PRIVATE if private else 0)
    assert [(step.op, step.args) for step in steps] == [
        ("propagation", (SLAVE | REC,)),
        ("root", ("/b/rootfs", flags)),
    ]
    finish = [step.args for step in rootfs.plan_finish(config(value)) if step.op == "propagation"]
    own_group = (
        [(PRIVATE,)] if last is not None and last & SHARED else []
    )  # else it would stay the host's slave
    assert finish == ([] if last is None else [*own_group, (last,)])


def test_readonly_is_the_last_thing() -> None:
    """R013: root.readonly sets the attribute after pivot_root; otherwise nothing is set."""
    (step,) = rootfs.plan_finish(config(readonly=True))
    assert (step.op, step.args, step.pointer) == ("root_attributes", (1, 0, 0), "/root/readonly")
    assert list(rootfs.plan_finish(config(readonly=False))) == []


def test_enter() -> None:
    """pivot_root with a mount namespace, or moving the root if asked; else chroot."""
    assert [step.op for step in rootfs.plan_enter(config())] == ["pivot_root"]
    assert [step.op for step in rootfs.plan_enter(config(), no_pivot=True)] == ["move_root"]
    assert [step.op for step in rootfs.plan_enter(config(namespaces="pid"))] == ["chroot"]


def test_without_mount_namespace_the_host_is_not_changed() -> None:
    """No propagation step that would change the host's mounts, and an undoable step that notes them."""
    node = config(namespaces="pid")
    assert [step.op for step in rootfs.plan(node, "/b")] == ["root"]
    (step,) = rootfs.plan_host(node, "/b")
    assert step.undoable
    assert step.args == {"path": "/b/rootfs"}
    assert list(rootfs.plan_host(config(), "/b")) == []


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (config(), []),
        (config("rshared"), []),
        (config("sharedd"), ["/linux/rootfsPropagation"]),
        (config("private", namespaces="pid"), ["/linux/rootfsPropagation"]),
        (config(path=""), ["/root/path"]),
    ],
)
def test_check(node: Node, expected: list[str]) -> None:
    """Unknown propagation, propagation without a mount namespace, and a missing path are found."""
    assert [violation.pointer for violation in rootfs.check(node)] == expected


def test_undo_without_a_note_does_nothing(tmp_path: Any) -> None:
    """A container that never came to note its mounts has none to take down."""
    context = new_context(str(tmp_path))
    rootfs.undo("note_mounts", {"path": "/"}, context)
    assert context.warnings == []


def test_apply_notes_the_mounts_that_exist(tmp_path: Any) -> None:
    """The note holds ids and devices of all mounts at and below the path."""
    context = new_context(str(tmp_path))
    rootfs.apply(HostStep("note_mounts", {"path": "/"}), context)
    noted = (tmp_path / "mounts-before").read_text().split()
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        table = [line.split() for line in file]
    assert set(noted) <= {f"{fields[0]}@{fields[2]}" for fields in table}
    assert noted
    # everything that is mounted was there before: nothing is unmounted, or this machine would notice
    rootfs.undo("note_mounts", {"path": "/nonexistent"}, context)
    assert context.warnings == []


class Unmounting:
    """Stands for the C library and the mount table: answers each call with the next errno, and notes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: int) -> None:
        self.calls: list[tuple[bytes, int]] = []
        self.answers = list(answers)
        self.table: list[Mount] = []
        monkeypatch.setattr("ociruntime.native._shim.lib", self)
        monkeypatch.setattr(rootfs, "_mounts_below", lambda _: list(self.table))

    def mount(self, number: int, point: str, device: str = "0:1") -> None:
        escaped = point.replace(" ", r"\040")
        self.table.append(Mount(f"{number} 1 {device} / {escaped} rw - tmpfs none rw"))

    def shim_umount_id(self, path: bytes, mount_id: int) -> int:
        self.calls.append((path, mount_id))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if not answer:
            self.table = [mount for mount in self.table if mount.number != mount_id]
        return -answer


def undo(tmp_path: Any, before: str) -> list[str]:
    """Undo below /r with a note of this text; returns the warnings."""
    (tmp_path / "mounts-before").write_text(before)
    context = new_context(str(tmp_path))
    rootfs.undo("note_mounts", {"path": "/r"}, context)
    return context.warnings


@pytest.mark.parametrize("note", ["3@0:1 7@0:1", "3 7"])
def test_undo_takes_down_what_came_later(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, note: str) -> None:
    """Only mounts that the note lacks go, the deepest and topmost first; a note of an older version has ids only."""
    log = Unmounting(monkeypatch, 0)
    for number, point in ((9, "/r/d \udcff/x"), (7, "/r"), (8, "/r/proc"), (10, "/r/proc")):
        log.mount(number, point)
    assert undo(tmp_path, note) == []
    assert log.calls == [(b"/r/d \xff/x", 9), (b"/r/proc", 10), (b"/r/proc", 8)]


def test_undo_tells_what_stays(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can't be unmounted is reported, and not tried again."""
    log = Unmounting(monkeypatch, errno.EBUSY)
    log.mount(8, "/r/proc")
    assert undo(tmp_path, "7@0:1") == ["unmount /r/proc: device or resource busy"]
    assert log.calls == [(b"/r/proc", 8)]


def test_undo_looks_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that leads to another mount now is looked up again, and given up in the end."""
    log = Unmounting(monkeypatch, errno.ESTALE, errno.ENOENT, 0)
    log.mount(8, "/r/v/proc")
    assert undo(tmp_path, "7@0:1") == []
    assert len(log.calls) == 3
    log = Unmounting(monkeypatch, errno.ESTALE)
    log.mount(8, "/r/v/proc")
    assert undo(tmp_path, "7@0:1") == ["unmount /r/v/proc: stale file handle"]
    assert len(log.calls) == rootfs._LOOKS


def test_an_id_that_is_used_again(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel gives an id to a later mount: another device tells that it is another one."""
    log = Unmounting(monkeypatch, 0)
    log.mount(7, "/r/proc", "0:2")
    assert undo(tmp_path, "7@0:1") == []
    assert log.calls == [(b"/r/proc", 7)]


@pytest.mark.parametrize("path", ["/", "/proc", "/sys", "/sys/", "/nonexistent"])
def test_mounts_below(path: str) -> None:
    """A mount counts if it is at the path or below it, not if its name only begins alike."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        table = [line.split(" ") for line in file]
    prefix = path.rstrip("/") + "/"
    expected = [int(fields[0]) for fields in table if (fields[4].rstrip("/") + "/").startswith(prefix)]
    assert [mount.number for mount in rootfs._mounts_below(path)] == expected
