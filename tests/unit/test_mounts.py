# SPDX-License-Identifier: Apache-2.0
"""ociruntime/linux/mounts.py and cgroup_mounts.py: from mount entries to steps, and what is refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.config import Node
from ociruntime.errors import StepFailed
from ociruntime.host import Host
from ociruntime.linux import mounts
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.run import Run

if TYPE_CHECKING:
    from ociruntime.step import HostStep, InitStep

RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
ATIME, STRICTATIME = 0x70, 0x20
REAL, ON_PROC, COPY_UP, KEEP_MODE, IN_ORDER = 2, 4, 8, 32, 64
PRIVATE, SLAVE, SHARED = 1 << 18, 1 << 19, 1 << 20

V2 = Layout("v2", v2="/sys/fs/cgroup")
V1 = Layout(
    "hybrid",
    {
        "cpu": "/cg/cpu,cpuacct",
        "cpuacct": "/cg/cpu,cpuacct",
        "pids": "/cg/pids",
        "name=systemd": "/cg/systemd",
    },
    v2="/cg/unified",
)
PATHS = {"cpu": "/cg/cpu,cpuacct/x", "cpuacct": "/cg/cpu,cpuacct/x", "pids": "/cg/pids/x"}


def config(*entries: dict[str, Any], namespaces: str = "mount", **linux: Any) -> Node:
    """A config with these mounts."""
    linux["namespaces"] = [{"type": name} for name in namespaces.split()]
    return Node({"mounts": list(entries), "linux": linux})


def entry(destination: str, kind: str = "tmpfs", *options: str, **more: Any) -> dict[str, Any]:
    """One mount entry."""
    return {"destination": destination, "type": kind, "options": list(options), **more}


def bind(destination: str, *options: str, source: str = "/src") -> dict[str, Any]:
    """One bind entry."""
    return {"destination": destination, "source": source, "options": list(options or ("bind",))}


def init_steps(node: Node, layout: Layout = V2, paths: dict[str, str] | None = None) -> list[InitStep]:
    """What init does for these mounts."""
    return list(mounts.plan(node, Host(layout), paths or {}))


def sources(node: Node, layout: Layout = V2, paths: dict[str, str] | None = None) -> list[HostStep]:
    """What is opened before the clone."""
    return list(mounts.plan_sources(node, Host(layout), "/b", paths or {}))


def shown(step: InitStep) -> list[object]:
    """A step's arguments with slots as their keys."""
    arguments = step.as_dict()["args"]
    assert isinstance(arguments, list)
    return arguments


def new_run(directory: str = "/d") -> Run:
    """A container that is being made."""
    return Run("id", "/b", directory, Node({}), Host(Layout("none")))


@pytest.mark.parametrize(
    ("item", "arguments"),
    [
        (entry("/proc", "proc", source="proc"), ["proc", "proc", [], 0, 0, 0, 0, "/proc", REAL | ON_PROC]),
        (
            entry("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro", source="sysfs"),
            ["sysfs", "sysfs", ["ro"], RDONLY | NOSUID | NODEV | NOEXEC, 0, 0, 0, "/sys", REAL],
        ),
        (
            entry("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=64k", source="tmpfs"),
            ["tmpfs", "tmpfs", ["mode=755", "size=64k"], NOSUID | STRICTATIME, ATIME, 0, 0, "/dev", 0],
        ),
        (
            entry("/dev/pts", "devpts", "newinstance", "gid=5"),
            ["devpts", None, ["newinstance", "gid=5"], 0, 0, 0, 0, "/dev/pts", 0],
        ),
        (entry("/t", "tmpfs"), ["tmpfs", None, [], 0, 0, 0, 0, "/t", KEEP_MODE]),
        (entry("/t", "tmpfs", "tmpcopyup"), ["tmpfs", None, [], 0, 0, 0, 0, "/t", KEEP_MODE | COPY_UP]),
        (entry("/q", "mqueue", "tmpcopyup"), ["mqueue", None, [], 0, 0, 0, 0, "/q", 0]),
        (
            entry("/t", "tmpfs", "mode=0700", "rprivate", "shared"),
            ["tmpfs", None, ["mode=0700"], 0, 0, SHARED, PRIVATE, "/t", 0],
        ),
        (entry("/m", "proc", "rro"), ["proc", None, [], RDONLY, 0, 0, 0, "/m", 0]),
        (entry("/m", "ext4", "sync", "rw"), ["ext4", None, ["sync", "rw"], 0, RDONLY, 0, 0, "/m", 0]),
    ],
)
def test_file_system(item: dict[str, Any], arguments: list[object]) -> None:
    """Type, source, options, attributes, propagation, place and flags of a new file system."""
    (step,) = init_steps(config(item))
    assert step.op == "mount_fs"
    assert step.name == "mount"
    assert step.pointer == "/mounts/0"
    assert shown(step) == arguments
    assert sources(config(item)) == []


@pytest.mark.parametrize(
    ("item", "arguments"),
    [
        (bind("/d"), [0, 0, 0, 0, 0, 0, "/d", 0]),
        (bind("/d", "rbind", "ro", "nosuid"), [RDONLY | NOSUID, 0, 0, 0, 0, 0, "/d", 0]),
        (bind("/d", "bind", "rw", "suid", "dev", "exec"), [0, 0, 0, 0, 0, 0, "/d", 0]),
        (bind("/d", "bind", "noatime"), [0x10, ATIME, 0, 0, 0, 0, "/d", 0]),
        (bind("/d", "rbind", "rro", "rsuid"), [0, 0, RDONLY, NOSUID, 0, 0, "/d", 0]),
        (bind("/d", "rbind", "rshared"), [0, 0, 0, 0, 0, SHARED, "/d", 0]),
        (bind("/d", "bind", "private"), [0, 0, 0, 0, PRIVATE, 0, "/d", 0]),
        (bind("/d", "bind", "mode=755", "size=1k"), [0, 0, 0, 0, 0, 0, "/d", 0]),
        (bind("/proc/uptime"), [0, 0, 0, 0, 0, 0, "/proc/uptime", ON_PROC]),
        (bind("/sys", "rbind"), [0, 0, 0, 0, 0, 0, "/sys", REAL]),
    ],
)
def test_bind(item: dict[str, Any], arguments: list[object]) -> None:
    """A bind attaches the opened tree; options for file systems and plain "take away" words do nothing."""
    (step,) = init_steps(config(item))
    assert step.op == "mount_tree"
    *others, flags = arguments
    assert shown(step) == ["mount 0", *others, IN_ORDER | int(str(flags))]


def test_a_bind_is_what_its_options_say() -> None:
    """R019: with bind the type means nothing."""
    item = {**bind("/d"), "type": "tmpfs"}
    assert [step.op for step in init_steps(config(item))] == ["mount_tree"]
    assert [step.name for step in sources(config(item))] == ["open bind source"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [("/a/b", "/a/b"), ("a/../c", "/b/c"), ("../c", "/c"), (".", "/b"), ("/a//b/", "/a/b")],
)
def test_source_is_relative_to_the_bundle(source: str, expected: str) -> None:
    """R018: a bind's source is absolute or relative to the bundle."""
    (step,) = sources(config(bind("/d", "rbind", source=source)))
    assert step.args == {
        "source": expected,
        "destination": "/d",
        "recursive": True,
        "propagation": SLAVE,
        "slot": "mount 0",
    }


@pytest.mark.parametrize(
    ("value", "options", "propagation"),
    [
        (None, "rbind", SLAVE),
        (None, "rbind rshared", SLAVE),
        ("rslave", "rbind", SLAVE),
        ("private", "rbind", PRIVATE),
        ("runbindable", "rbind", PRIVATE),
        ("shared", "rbind", SLAVE),
        ("rshared", "rbind rprivate", SLAVE),
        ("rshared", "rbind rshared", 0),
        ("shared", "rbind shared", 0),
    ],
)
def test_tree_is_cut_off_from_the_host(value: str | None, options: str, propagation: int) -> None:
    """Invariant 16: a tree is a slave or private before init has it, unless rootfs and entry are shared."""
    more = {"rootfsPropagation": value} if value else {}
    (step,) = sources(config(bind("/d", *options.split()), **more))
    assert step.args["propagation"] == propagation


@pytest.mark.parametrize(
    ("destination", "place"),
    [
        ("data", "/data"),
        ("./a/../b/", "/b"),
        ("/../../x", "/x"),
        ("//a//b", "/a/b"),
        ("/a/./b/..", "/a"),
        ("../etc", "/etc"),
    ],
)
def test_destination(destination: str, place: str) -> None:
    """R017: relative to "/"; no name of the config leads out of it."""
    (step,) = init_steps(config(bind(destination)))
    assert shown(step)[-2] == place


def test_entries_keep_their_order_and_number() -> None:
    """R014: steps come in the order of the entries, each with the pointer and the slot of its own."""
    node = config(bind("/a"), entry("/b"), bind("/c"))
    assert [(step.op, step.pointer) for step in init_steps(node)] == [
        ("mount_tree", "/mounts/0"),
        ("mount_fs", "/mounts/1"),
        ("mount_tree", "/mounts/2"),
    ]
    assert [step.args["slot"] for step in sources(node)] == ["mount 0", "mount 2"]
    assert shown(init_steps(node)[2])[0] == "mount 2"


def test_text_for_people() -> None:
    """A step says what is mounted where and how."""
    item = entry("/dev/shm", "tmpfs", "nosuid", "mode=1777", "size=65536k")
    assert init_steps(config(item))[0].describe() == "mount tmpfs on /dev/shm (nosuid,mode=1777,size=65536k)"
    item = entry("/run", "tmpfs", "nosuid")
    assert init_steps(config(item))[0].describe() == "mount tmpfs on /run (nosuid) with the directory's mode"
    assert init_steps(config(bind("/d", "bind", "ro")))[0].describe() == "mount bind of /src on /d (bind,ro)"


def test_remount_changes_the_file_system() -> None:
    """A remount without bind goes to mount(2), data included, and opens nothing."""
    node = config(entry("/t", "tmpfs", "remount", "ro", "nosuid", "size=2k", "nr_inodes=9"))
    (step,) = init_steps(node)
    assert (step.op, shown(step)) == ("remount", ["/t", 32 | 1 | 2, "size=2k,nr_inodes=9"])
    assert sources(node) == []


def test_remount_of_a_bind_changes_the_attributes() -> None:
    """With bind it is about the mount's own flags, which plain words may also take away."""
    node = config(entry("/t", "none", "remount", "bind", "rw", "noexec", "rslave"))
    (step,) = init_steps(node)
    assert (step.op, shown(step)) == ("mount_attributes", ["/t", NOEXEC, RDONLY, 0, 0, 0, SLAVE])
    assert sources(node) == []


def test_iversion_takes_a_second_step() -> None:
    """The flag that fsconfig(2) has no word for is set by a remount that keeps the other flags."""
    mount, remount = init_steps(config(entry("/t", "ext4", "iversion", "nosuid")))
    assert shown(mount)[2:4] == [[], NOSUID]
    assert (remount.op, shown(remount)) == ("remount", ["/t", 32 | 2 | 1 << 23, None])


def test_tmpfs_and_dev_become_read_only_late() -> None:
    """What must be filled first (mount points, devices) is made read-only at the end, the rest at once."""
    node = config(
        entry("/dev", "devtmpfs", "ro"),
        entry("/t", "tmpfs", "ro", "mode=700"),
        entry("/sys", "sysfs", "ro"),
        bind("/b", "bind", "ro"),
        entry("/w", "tmpfs", "rro"),
    )
    steps = {shown(step)[7]: shown(step) for step in init_steps(node)}
    assert steps["/dev"][2:4] == [[], 0]
    assert steps["/t"][2:4] == [["mode=700"], 0]
    assert steps["/w"][2:4] == [[], 0]
    assert steps["/sys"][2:4] == [["ro"], RDONLY]
    late = [(step.op, shown(step), step.pointer) for step in mounts.plan_read_only(node)]
    assert late == [
        ("mount_attributes", ["/dev", RDONLY, 0, 0, 0, 0, 0], "/mounts/0"),
        ("mount_attributes", ["/t", RDONLY, 0, 0, 0, 0, 0], "/mounts/1"),
        ("mount_attributes", ["/w", RDONLY, 0, 0, 0, 0, 0], "/mounts/4"),
    ]


def test_a_covered_tmpfs_is_not_made_read_only() -> None:
    """If a later entry covers the place, the attribute would go to the wrong mount."""
    node = config(entry("/t", "tmpfs", "ro"), bind("/t"))
    assert list(mounts.plan_read_only(node)) == []


def test_only_new_file_systems_become_read_only_late() -> None:
    """A remount and a bind are read-only at once, whatever type their entry names."""
    node = config(
        entry("/a", "tmpfs", "remount", "ro"),
        entry("/b", "tmpfs", "bind", "ro", source="/src"),
        entry("/dev", "tmpfs", "rbind", "ro", source="/dev"),
        entry("/d", "tmpfs"),
    )
    assert list(mounts.plan_read_only(node)) == []


def test_only_cgroup_entries_open_cgroups() -> None:
    """On a v1 machine other file systems, and remounts of cgroup entries, open nothing."""
    node = config(entry("/t"), entry("/c", "cgroup", "remount", "ro"))
    assert sources(node, V1, PATHS) == []


def test_cgroup_on_v2() -> None:
    """On a v2 machine an entry of type cgroup is the cgroup2 file system."""
    node = config(entry("/sys/fs/cgroup", "cgroup", "ro", "nosuid"))
    (step,) = init_steps(node)
    assert shown(step) == ["cgroup2", "cgroup2", [], RDONLY | NOSUID, 0, 0, 0, "/sys/fs/cgroup", 0]
    assert sources(node) == []


def test_cgroup_on_v2_in_a_user_namespace() -> None:
    """Its root may mount cgroup2 only in a cgroup namespace of its own: otherwise the host's mount is bound."""
    node = config(entry("/sys/fs/cgroup", "cgroup", "ro", "nosuid"), namespaces="user mount")
    (source,) = sources(node)
    assert (source.args["source"], source.args["slot"]) == ("/sys/fs/cgroup", "mount 0")
    (step,) = init_steps(node)
    assert (step.op, shown(step)[:2], shown(step)[-2:]) == (
        "mount_tree",
        ["mount 0", RDONLY | NOSUID],
        ["/sys/fs/cgroup", 0],
    )
    own = config(entry("/sys/fs/cgroup", "cgroup"), namespaces="user mount cgroup")
    assert [step.op for step in init_steps(own)] == ["mount_fs"]
    assert sources(own) == []


def test_cgroup_on_v1_shows_the_own_cgroups() -> None:
    """Without a cgroup namespace: binds of the container's directories, where it has one; links; read-only."""
    node = config(entry("/sys/fs/cgroup", "cgroup", "ro", "nosuid"))
    opened = [
        (step.args["source"], step.args["slot"], step.args["propagation"])
        for step in sources(node, V1, PATHS)
    ]
    assert opened == [
        ("/cg/cpu,cpuacct/x", "mount 0 cpu,cpuacct", SLAVE),
        ("/cg/pids/x", "mount 0 pids", SLAVE),
    ]
    steps = [(step.op, shown(step)) for step in init_steps(node, V1, PATHS)]
    root = "/sys/fs/cgroup"
    assert steps == [
        ("mount_fs", ["tmpfs", "tmpfs", ["mode=755"], NOSUID | NODEV | NOEXEC, 0, 0, 0, root, 0]),
        ("mount_tree", ["mount 0 cpu,cpuacct", RDONLY | NOSUID, 0, 0, 0, 0, 0, f"{root}/cpu,cpuacct", 0]),
        ("symlink", [f"{root}/cpu", "cpu,cpuacct", 0]),
        ("symlink", [f"{root}/cpuacct", "cpu,cpuacct", 0]),
        ("mount_tree", ["mount 0 pids", RDONLY | NOSUID, 0, 0, 0, 0, 0, f"{root}/pids", 0]),
        ("mount_attributes", [root, RDONLY, 0, 0, 0, 0, 0]),
    ]


def test_cgroup_on_v1_with_a_namespace() -> None:
    """With a cgroup namespace: fresh mounts of each v1 hierarchy, named ones too; writable if not ro."""
    node = config(entry("/c", "cgroup"), namespaces="mount cgroup")
    assert sources(node, V1, PATHS) == []
    steps = [(step.op, shown(step)) for step in init_steps(node, V1, PATHS)]
    assert [arguments[:3] for op, arguments in steps if op == "mount_fs"] == [
        ["tmpfs", "tmpfs", ["mode=755"]],
        ["cgroup", "cgroup", ["cpu", "cpuacct"]],
        ["cgroup", "cgroup", ["pids"]],
        ["cgroup", "cgroup", ["none", "name=systemd"]],
    ]
    assert [op for op, _ in steps] == ["mount_fs", "mount_fs", "symlink", "symlink", "mount_fs", "mount_fs"]


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (entry("/t"), []),
        (entry("/proc", "proc"), []),
        (bind("/proc", "rbind", source="/proc"), []),
        (bind("/proc/meminfo"), []),
        (entry("/proc", "proc", "remount", "ro"), []),
        (entry("t"), [("/mounts/0/destination", "R016", "warning")]),
        (entry("/"), [("/mounts/0/destination", "R015", "error")]),
        (entry("/a/.."), [("/mounts/0/destination", "R015", "error")]),
        (entry("/proc", "tmpfs"), [("/mounts/0/destination", "CVE-2019-16884", "error")]),
        (entry("/a/../proc/self/attr"), [("/mounts/0/destination", "CVE-2019-16884", "error")]),
        (bind("/proc/sys/kernel"), [("/mounts/0/destination", "CVE-2019-16884", "error")]),
        (bind("/proc/1/attr/exec"), [("/mounts/0/destination", "CVE-2019-16884", "error")]),
        (bind("/d", source=""), [("/mounts/0/source", "R018", "error")]),
        ({"destination": "/d"}, [("/mounts/0/type", "R019", "error")]),
        (entry("/d", "bind", "ro"), [("/mounts/0/type", "R019", "error")]),
        (entry("/d", "tmpfs", uidMappings=[{}]), [("/mounts/0", "R035", "error")]),
        (entry("/d", "tmpfs", gidMappings=[{}]), [("/mounts/0", "R035", "error")]),
        (
            entry("/d", "tmpfs", "idmap", uidMappings=[{}], gidMappings=[{}]),
            [("/mounts/0/uidMappings", "R026", "unsupported")],
        ),
        (bind("/d", "bind", "size=1m", "ro"), [("/mounts/0/options/1", "R034", "warning")]),
        (
            bind("/d", "ro", "a", "bind", "b=1"),
            [(f"/mounts/0/options/{n}", "R034", "warning") for n in (1, 3)],
        ),
        (bind("/d", "bind", "remount", "size=1m"), []),
        (bind("/d", "bind", "nofail", "x-a=b", "comment=c", "sync", "iversion", ""), []),
        (entry("/d", "tmpfs", "size=1m", "no-such-word"), []),
        (entry("/d", "tmpfs", "tmpcopyup"), []),
        (entry("/d", "proc", "tmpcopyup"), [("/mounts/0/options/0", "R025", "warning")]),
        (bind("/d", "bind", "tmpcopyup"), [("/mounts/0/options/1", "R025", "warning")]),
        (bind("/d", "bind", "src-nofollow"), [("/mounts/0/options/1", "R020", "unsupported")]),
        (bind("/d", "bind", "dest-nofollow"), [("/mounts/0/options/1", "R020", "unsupported")]),
        (bind("/d", "bind", "copy-symlink"), [("/mounts/0/options/1", "R020", "unsupported")]),
        (bind("/d", "bind", "idmap"), [("/mounts/0/options", "R031", "error")]),
        (bind("/d", "rbind", "ridmap"), [("/mounts/0/options", "R031", "error")]),
    ],
)
def test_check(item: dict[str, Any], expected: list[tuple[str, str, str]]) -> None:
    """Each broken rule is found at its place, and nothing else."""
    found = [
        (violation.pointer, violation.rule, violation.severity) for violation in mounts.check(config(item))
    ]
    assert found == expected


def test_idmap_without_mappings_takes_those_of_the_user_namespace() -> None:
    """R030: the container's mappings, if it has some (R031); own ones need no option (R036 is for authors)."""
    assert list(mounts.check(config(bind("/d", "bind", "idmap"), namespaces="mount user"))) == []
    (violation,) = mounts.check(config(bind("/d", "bind", "idmap"), namespaces="mount"))
    assert (violation.pointer, violation.rule) == ("/mounts/0/options", "R031")
    maps = [{"containerID": 0, "hostID": 1, "size": 1}]
    entry = {**bind("/d", "bind"), "uidMappings": maps, "gidMappings": maps}
    assert list(mounts.check(config(entry, namespaces="mount"))) == []
    (violation,) = mounts.check(
        config({**entry, "options": ["bind", "remount", "idmap"]}, namespaces="mount")
    )
    assert (violation.rule, violation.severity) == ("R026", "unsupported")


def test_a_bind_on_proc_must_be_procfs(tmp_path: Any) -> None:
    """CVE-2019-16884: only procfs may be bound on /proc; that is seen before anything is made."""
    (step,) = sources(config(bind("/proc", source=str(tmp_path))))
    with pytest.raises(StepFailed) as failure:
        mounts.apply(step, new_run())
    assert failure.value.reason == f"{tmp_path} can't be mounted on /proc: not a proc file system"
    assert failure.value.pointer == "/mounts/0"


@pytest.mark.parametrize("kind", ["/proc", ""])
def test_a_missing_source_is_named(tmp_path: Any, kind: str) -> None:
    """A bind's source that does not exist gives ENOENT with its path and the entry's pointer."""
    (step,) = sources(config(bind(kind or "/d", source=f"{tmp_path}/gone")))
    run = new_run()
    with pytest.raises(StepFailed) as failure:
        mounts.apply(step, run)
    expected = (
        f"/mounts/0: open bind source: {tmp_path}/gone for the mount on {kind or '/d'}: "
        "ENOENT (no such file or directory)"
    )
    assert str(failure.value).startswith(expected)
    assert not run.slots


class TreeLog:
    """Stands for the C library: notes the system calls and gives a descriptor of `shows` as the tree."""

    def __init__(self, failure: int = 0, shows: str = "/dev/null") -> None:
        self.shows = shows
        self.calls: list[tuple[object, ...]] = []
        self.failure = failure
        self.tree = -1

    def shim_open_tree(self, *arguments: object) -> int:
        self.calls.append(arguments)
        self.tree = os.open(self.shows, os.O_RDONLY)
        return self.tree

    def shim_mount_setattr(self, *arguments: object) -> int:
        self.calls.append(arguments[1:])
        return -self.failure


@pytest.mark.parametrize(("option", "recursive"), [("bind", 0), ("rbind", 0x8000)])
def test_apply_opens_a_detached_tree(monkeypatch: pytest.MonkeyPatch, option: str, recursive: int) -> None:
    """The tree is a clone of the source, deep for rbind, and recursively a slave before init gets it."""
    log = TreeLog()
    monkeypatch.setattr("ociruntime.native._shim.lib", log)
    (step,) = sources(config(bind("/d", option)))
    run = new_run()
    mounts.apply(step, run)
    assert run.slots == {"mount 0": log.tree}
    run.close_slots()
    assert log.calls == [
        (-100, b"/src", 1 | os.O_CLOEXEC | recursive),
        (b"", 0x1000 | 0x8000, 0, 0, SLAVE, -1),
    ]


def test_apply_leaves_no_descriptor_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the tree can't be cut off from the host, it is closed and the step fails."""
    log = TreeLog(failure=1)
    monkeypatch.setattr("ociruntime.native._shim.lib", log)
    (step,) = sources(config(bind("/d")))
    run = new_run()
    with pytest.raises(StepFailed, match="EPERM"):
        mounts.apply(step, run)
    assert not run.slots
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(log.tree)


def test_a_bind_of_procfs_on_proc_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Engines that share the host's pid namespace bind its /proc."""
    log = TreeLog(shows="/proc")
    monkeypatch.setattr("ociruntime.native._shim.lib", log)
    (step,) = sources(config(bind("/proc", "rbind", source="/proc")))
    run = new_run()
    mounts.apply(step, run)
    run.close_slots()
    assert log.calls[0][1] == b"/proc"


def test_cgroup_directories_are_bound_alone() -> None:
    """What other containers mount below the own cgroup directory is not shown."""
    node = config(entry("/sys/fs/cgroup", "cgroup"))
    assert [step.args["recursive"] for step in sources(node, V1, PATHS)] == [False, False]
