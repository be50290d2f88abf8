# SPDX-License-Identifier: Apache-2.0
"""ociruntime/linux/bind_sources.py and the binds of mounts.py: who opens which source under which name."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.errors import NotSupported, StepFailed
from ociruntime.host import Host
from ociruntime.launch.context import Context
from ociruntime.linux import bind_sources, mounts
from ociruntime.linux.cgroups.layout import Layout
from tests.unit.mount_entries import (
    ATIME,
    IN_ORDER,
    NODEV,
    NOEXEC,
    NOSUID,
    NOSYMFOLLOW,
    ON_PROC,
    PRIVATE,
    RDONLY,
    REAL,
    SHARED,
    SLAVE,
    SOURCE_PROC,
    bind,
    config,
    entry,
    init_steps,
    opened,
    read,
    shown,
)

RECURSIVE, IN_ROOT = bind_sources.BIND_RECURSIVE, bind_sources.BIND_IN_ROOT
_MAPS = [{"containerID": 0, "hostID": 1, "size": 1}]


def new_context() -> Context:
    """A container that is being made."""
    return Context("id", "/b", "/d", Node({}), Host(Layout("none")))


def answers(*entries: dict[str, Any], **more: Any) -> list[str]:
    """Which side opens what for each bind: "init /src", "root /in/it", "runtime /src"."""
    node = config(*entries, **more)
    found = {}
    for step in opened(node):
        if "source" in step.args:  # else it maps the ids of one
            root = f"{step.args['root']}:" if "root" in step.args else ""
            found[str(step.args["slot"])] = f"runtime {root}{step.args['source']}"
    said = []
    for step in init_steps(node):
        arguments = shown(step)
        if step.op == "bind":
            inside = int(str(arguments[1])) & IN_ROOT
            said.append(f"{'root' if inside else 'init'} {arguments[0]}")
        elif step.op == "mount_tree":
            said.append(found.pop(str(arguments[0])))
    assert not found
    return said


@pytest.mark.parametrize(
    ("item", "arguments"),
    [
        (bind("/d"), [0, 0, 0, 0, 0, 0, "/d", 0]),
        (bind("/d", "rbind", "ro", "nosuid"), [RDONLY | NOSUID, 0, 0, 0, 0, 0, "/d", 0]),
        (
            bind("/d", "bind", "rw", "suid", "dev", "exec", "symfollow"),
            [0, RDONLY | NOSUID | NODEV | NOEXEC | NOSYMFOLLOW, 0, 0, 0, 0, "/d", 0],
        ),
        (bind("/d", "rbind", "rw", "nosymfollow"), [NOSYMFOLLOW, RDONLY, 0, 0, 0, 0, "/d", 0]),
        (bind("/d", "bind", "exec", "noexec"), [NOEXEC, 0, 0, 0, 0, 0, "/d", 0]),
        (bind("/d", "bind", "noexec", "exec"), [0, NOEXEC, 0, 0, 0, 0, "/d", 0]),
        (bind("/d", "bind", "noatime"), [0x10, ATIME, 0, 0, 0, 0, "/d", 0]),
        (bind("/d", "rbind", "rro", "rsuid"), [0, 0, RDONLY, NOSUID, 0, 0, "/d", 0]),
        (bind("/d", "rbind", "rshared"), [0, 0, 0, 0, 0, SHARED, "/d", 0]),
        (bind("/d", "bind", "private"), [0, 0, 0, 0, PRIVATE, 0, "/d", 0]),
        (bind("/d", "bind", "mode=755", "size=1k"), [0, 0, 0, 0, 0, 0, "/d", 0]),
        (bind("/proc/uptime"), [0, 0, 0, 0, 0, 0, "/proc/uptime", ON_PROC]),
        (bind("/sys", "rbind"), [0, 0, 0, 0, 0, 0, "/sys", REAL]),
        (bind("/proc", "rbind"), [0, 0, 0, 0, 0, 0, "/proc", REAL | ON_PROC | SOURCE_PROC]),
    ],
)
def test_bind(item: dict[str, Any], arguments: list[object]) -> None:
    """Options set and clear what they name, whichever side opens the source; those for file systems do nothing."""
    (step,) = init_steps(config(item))
    assert step.op == "bind"
    assert shown(step) == ["/src", RECURSIVE if "rbind" in item["options"] else 0, SLAVE, *arguments]
    (step,) = init_steps(config(item, namespaces="user mount"))
    assert step.op == "mount_tree"
    *others, flags = arguments
    assert shown(step) == ["mount 0", *others, IN_ORDER | int(str(flags))]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/a/b", "/a/b"),
        ("a/../c", "/b/a/../c"),
        ("/lnk/../x", "/lnk/../x"),
        ("../c", "/b/../c"),
        (".", "/b/."),
        ("/a//b/", "/a//b/"),
    ],
)
@pytest.mark.parametrize("namespaces", ["mount", "user mount"])
def test_source_is_joined_and_never_normalised(source: str, expected: str, namespaces: str) -> None:
    """R018: absolute or relative to the bundle; what ".." means behind a link only the kernel knows."""
    who = "init" if namespaces == "mount" else "runtime"
    assert answers(bind("/d", source=source), namespaces=namespaces) == [f"{who} {expected}"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("/b/rootfs/a", "root /a"),
        ("rootfs/a/", "root /a"),
        ("./rootfs//a/./c", "root /a/c"),
        ("/b/rootfs", "root /"),
        ("/b/rootfs/a/../c", "init /b/rootfs/a/../c"),
        ("/b/rootfs2/a", "init /b/rootfs2/a"),
        ("/b/other", "init /b/other"),
    ],
)
def test_source_below_the_rootfs(source: str, expected: str) -> None:
    """It is looked up in the container's root, where the entries before have mounted and no link leads out."""
    assert answers(bind("/d", "rbind", source=source)) == [expected]


def test_rootfs_behind_dot_dot() -> None:
    """Where only the kernel knows which directory it is, no source is taken for one below it."""
    node = config(bind("/d", source="/b/rootfs/a"), bind("/e", "rbind", source="/b"))
    paths = [mount.source for mount in mounts.read(node, "/b", "/b/link/../rootfs", Host(Layout("none")))]
    assert [(source.path, source.root, source.by_runtime) for source in paths if source] == [
        ("/b/rootfs/a", "", False),
        ("/b", "", True),
    ]


@pytest.mark.parametrize(
    "source",
    [
        "/proc/self/fd/3",
        "/proc/thread-self/fd/3",
        "/dev/fd/3",
        "/dev/stdin",
        "/x/../dev/fd/3",
        "/proc/1/ns/net",
    ],
)
def test_names_of_the_caller(source: str) -> None:
    """What means another file for each process is opened by the runtime, where it means the caller's."""
    assert answers(bind("/d", source=source)) == [f"runtime {source}"]


@pytest.mark.parametrize("source", ["/proc", "/proc/", "/dev", "/dev/fdx", "/dev/null", "/processes"])
def test_names_that_are_the_same_for_everybody(source: str) -> None:
    """The file systems themselves, and names that only begin alike, are init's."""
    assert answers(bind("/d", source=source)) == [f"init {source}"]


@pytest.mark.parametrize(
    ("source", "who"), [("/", "runtime"), ("/b", "runtime"), ("/b/x", "init"), ("/bb", "init")]
)
def test_a_tree_that_holds_the_rootfs(source: str, who: str) -> None:
    """A recursive bind of it would show, and double, what the entries before have mounted: it is opened before."""
    assert answers(bind("/d", "rbind", source=source)) == [f"{who} {source}"]
    assert answers(bind("/d", "bind", source=source)) == [f"init {source}"]


def test_what_init_can_not_open() -> None:
    """In a user namespace, in a joined mount namespace, for an id-mapped mount and for the host's peer group."""
    assert answers(bind("/d"), namespaces="user mount") == ["runtime /src"]
    joined = {"mounts": [bind("/d")], "linux": {"namespaces": [{"type": "mount", "path": "/ns"}]}}
    assert [step.args["source"] for step in opened(Node(joined))] == ["/src"]
    assert answers({**bind("/d"), "uidMappings": _MAPS, "gidMappings": _MAPS}) == ["runtime /src"]
    assert answers(bind("/d", "rbind", "rshared"), rootfsPropagation="rshared") == ["runtime /src"]


@pytest.mark.parametrize(
    ("source", "option", "who"),
    [
        ("rootfs/a", "bind", "root /a"),
        ("rootfs/a/x/y", "bind", "root /a/x/y"),
        ("rootfs/ab", "rbind", "runtime /b/rootfs:/ab"),
        ("rootfs/c", "bind", "runtime /b/rootfs:/c"),
        ("rootfs/c", "rbind", "root /c"),
        ("rootfs", "rbind", "root /"),
    ],
)
def test_order_holds_in_a_user_namespace(source: str, option: str, who: str) -> None:
    """Init opens what entries before have changed, in the root; all else the runtime, with the caller's right."""
    before = (entry("/a"), entry("/c/d"), entry("/ab", "tmpfs", "remount"))
    assert answers(*before, bind("/e", option, source=source), namespaces="user mount") == [who]
    inside = source.removeprefix("rootfs") or "/"
    assert answers(bind("/e", option, source=source), *before, namespaces="user mount") == [
        f"runtime /b/rootfs:{inside}"
    ]


def test_an_id_mapped_bind_of_a_mount_of_the_container() -> None:
    """The runtime would map the directory underneath: refused by name."""
    item = {**bind("/e", source="rootfs/a/b"), "uidMappings": _MAPS, "gidMappings": _MAPS}
    assert answers(item, entry("/a")) == ["runtime /b/rootfs:/a/b"]
    with pytest.raises(
        NotSupported, match="/mounts/1/source: an id-mapped bind of one of the container's own mounts"
    ):
        read(config(entry("/a"), item))


@pytest.mark.parametrize(
    ("value", "options", "propagation"),
    [
        (None, "rbind", SLAVE),
        (None, "rbind rshared", SLAVE),
        ("rslave", "rbind", SLAVE),
        ("private", "rbind", PRIVATE),
        ("private", "rbind slave", SLAVE),
        ("rprivate", "bind rslave", SLAVE),
        ("unbindable", "rbind rslave", SLAVE),
        ("private", "rbind rshared", PRIVATE),
        ("runbindable", "rbind", PRIVATE),
        ("shared", "rbind", SLAVE),
        ("rshared", "rbind rprivate", SLAVE),
        ("rshared", "rbind rshared", 0),
        ("shared", "rbind shared", 0),
    ],
)
def test_tree_is_cut_off_from_the_host(value: str | None, options: str, propagation: int) -> None:
    """Invariant 16: a slave or private before it is attached, unless rootfs and entry are shared.

    rootfsPropagation is about the rootfs: an entry that says slave itself is one.
    """
    more = {"rootfsPropagation": value} if value else {}
    (step,) = opened(config(bind("/d", *options.split()), namespaces="user mount", **more))
    assert step.args["propagation"] == propagation
    if propagation:
        (made,) = init_steps(config(bind("/d", *options.split()), **more))
        assert shown(made)[2] == propagation


def test_entries_keep_their_order_and_number() -> None:
    """R014: steps come in the order of the entries, each with the pointer and the slot of its own."""
    entries = (bind("/a"), entry("/b"), bind("/c"))
    node = config(*entries, namespaces="user mount")
    assert [(step.op, step.pointer) for step in init_steps(node)] == [
        ("mount_tree", "/mounts/0"),
        ("mount_fs", "/mounts/1"),
        ("mount_tree", "/mounts/2"),
    ]
    assert [step.args["slot"] for step in opened(node)] == ["mount 0", "mount 2"]
    assert shown(init_steps(node)[2])[0] == "mount 2"
    assert [(step.op, step.pointer) for step in init_steps(config(*entries))] == [
        ("bind", "/mounts/0"),
        ("mount_fs", "/mounts/1"),
        ("bind", "/mounts/2"),
    ]


def test_a_bind_is_what_its_options_say() -> None:
    """R019: with bind the type means nothing."""
    item = {**bind("/d"), "type": "tmpfs"}
    assert [step.op for step in init_steps(config(item))] == ["bind"]
    assert [step.name for step in opened(config(item, namespaces="user mount"))] == ["open bind source"]


def test_a_missing_source_is_named(tmp_path: Any) -> None:
    """A bind's source that does not exist gives ENOENT with its path, its place and the entry's pointer."""
    (step,) = opened(config(bind("/d", source=f"{tmp_path}/gone"), namespaces="user mount"))
    context = new_context()
    with pytest.raises(StepFailed) as failure:
        mounts.apply(step, context)
    expected = f"/mounts/0: open bind source: {tmp_path}/gone on /d: ENOENT (no such file or directory)"
    assert str(failure.value).startswith(expected)
    assert failure.value.hint == "the source of a bind mount must exist"
    assert not context.slots


class TreeLog:
    """Stands for the C library: notes the system calls and gives a descriptor as the tree."""

    def __init__(self, failure: int = 0) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.failure = failure
        self.tree = -1

    def shim_open_tree(self, *arguments: object) -> int:
        self.calls.append(arguments)
        self.tree = os.open("/dev/null", os.O_RDONLY)
        return self.tree

    def shim_mount_setattr(self, *arguments: object) -> int:
        self.calls.append(arguments[1:])
        return -self.failure


@pytest.mark.parametrize(("option", "recursive"), [("bind", 0), ("rbind", 0x8000)])
def test_apply_opens_a_detached_tree(monkeypatch: pytest.MonkeyPatch, option: str, recursive: int) -> None:
    """The tree is a clone of the source, deep for rbind, and recursively a slave before init gets it."""
    log = TreeLog()
    monkeypatch.setattr("ociruntime.native._shim.lib", log)
    (step,) = opened(config(bind("/d", option), namespaces="user mount"))
    context = new_context()
    mounts.apply(step, context)
    assert context.slots == {"mount 0": log.tree}
    context.close_slots()
    assert log.calls == [
        (-100, b"/src", 1 | os.O_CLOEXEC | recursive),
        (b"", 0x1000 | 0x8000, 0, 0, SLAVE, -1),
    ]


def test_apply_leaves_no_descriptor_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the tree can't be cut off from the host, it is closed and the step fails."""
    log = TreeLog(failure=1)
    monkeypatch.setattr("ociruntime.native._shim.lib", log)
    (step,) = opened(config(bind("/d"), namespaces="user mount"))
    context = new_context()
    with pytest.raises(StepFailed, match="EPERM") as failure:
        mounts.apply(step, context)
    del context, failure
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(log.tree)
