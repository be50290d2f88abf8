# SPDX-License-Identifier: Apache-2.0
"""ociruntime/linux/mounts.py and cgroup_mounts.py: from mount entries to steps, and what is refused.

Binds are in test_bind_sources.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.host import Host
from ociruntime.linux import mounts
from ociruntime.linux.cgroups.layout import Layout
from tests.unit.mount_entries import (
    ATIME,
    COPY_UP,
    KEEP_MODE,
    NODEV,
    NOEXEC,
    NOSUID,
    ON_PROC,
    PATHS,
    PRIVATE,
    RDONLY,
    REAL,
    SHARED,
    SLAVE,
    STRICTATIME,
    V1,
    V2,
    bind,
    config,
    entry,
    init_steps,
    opened,
    read,
    shown,
)

if TYPE_CHECKING:
    from ociruntime.config import Node


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
    assert opened(config(item)) == []


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
    assert opened(node) == []


def test_remount_of_a_bind_changes_the_attributes() -> None:
    """With bind it is about the mount's own flags, which plain words may also take away."""
    node = config(entry("/t", "none", "remount", "bind", "rw", "noexec", "rslave"))
    (step,) = init_steps(node)
    assert (step.op, shown(step)) == ("mount_attributes", ["/t", NOEXEC, RDONLY, 0, 0, 0, SLAVE])
    assert opened(node) == []


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
    late = [(step.op, shown(step), step.pointer) for step in mounts.plan_read_only(read(node))]
    assert late == [
        ("mount_attributes", ["/dev", RDONLY, 0, 0, 0, 0, 0], "/mounts/0"),
        ("mount_attributes", ["/t", RDONLY, 0, 0, 0, 0, 0], "/mounts/1"),
        ("mount_attributes", ["/w", RDONLY, 0, 0, 0, 0, 0], "/mounts/4"),
    ]


def test_a_covered_tmpfs_is_not_made_read_only() -> None:
    """If a later entry covers the place, the attribute would go to the wrong mount."""
    node = config(entry("/t", "tmpfs", "ro"), bind("/t"))
    assert list(mounts.plan_read_only(read(node))) == []


def test_only_new_file_systems_become_read_only_late() -> None:
    """A remount and a bind are read-only at once, whatever type their entry names."""
    node = config(
        entry("/a", "tmpfs", "remount", "ro"),
        entry("/b", "tmpfs", "bind", "ro", source="/src"),
        entry("/dev", "tmpfs", "rbind", "ro", source="/dev"),
        entry("/d", "tmpfs"),
    )
    assert list(mounts.plan_read_only(read(node))) == []


def test_only_cgroup_entries_open_cgroups() -> None:
    """On a v1 machine other file systems, and remounts of cgroup entries, open nothing."""
    node = config(entry("/t"), entry("/c", "cgroup", "remount", "ro"))
    assert opened(node, V1, PATHS) == []


def test_cgroup_on_v2() -> None:
    """On a v2 machine an entry of type cgroup is the cgroup2 file system."""
    node = config(entry("/sys/fs/cgroup", "cgroup", "ro", "nosuid"))
    (step,) = init_steps(node)
    assert shown(step) == ["cgroup2", "cgroup2", [], RDONLY | NOSUID, 0, 0, 0, "/sys/fs/cgroup", 0]
    assert opened(node) == []


def test_cgroup_on_v2_in_a_user_namespace() -> None:
    """Its root may mount cgroup2 only in a cgroup namespace of its own: otherwise the host's mount is bound."""
    node = config(entry("/sys/fs/cgroup", "cgroup", "ro", "nosuid"), namespaces="user mount")
    (source,) = opened(node)
    assert (source.args["source"], source.args["slot"]) == ("/sys/fs/cgroup", "mount 0")
    (step,) = init_steps(node)
    assert (step.op, shown(step)[:2], shown(step)[-2:]) == (
        "mount_tree",
        ["mount 0", RDONLY | NOSUID],
        ["/sys/fs/cgroup", 0],
    )
    own = config(entry("/sys/fs/cgroup", "cgroup"), namespaces="user mount cgroup")
    assert [step.op for step in init_steps(own)] == ["mount_fs"]
    assert opened(own) == []


def test_cgroup_on_v1_shows_the_own_cgroups() -> None:
    """Without a cgroup namespace: binds of the container's directories, where it has one; links; read-only."""
    node = config(entry("/sys/fs/cgroup", "cgroup", "ro", "nosuid"))
    assert opened(node, V1, PATHS) == []
    steps = [(step.op, shown(step)) for step in init_steps(node, V1, PATHS)]
    root = "/sys/fs/cgroup"
    assert steps == [
        ("mount_fs", ["tmpfs", "tmpfs", ["mode=755"], NOSUID | NODEV | NOEXEC, 0, 0, 0, root, 0]),
        ("bind", ["/cg/cpu,cpuacct/x", 0, SLAVE, RDONLY | NOSUID, 0, 0, 0, 0, 0, f"{root}/cpu,cpuacct", 0]),
        ("symlink", [f"{root}/cpu", "cpu,cpuacct", 0]),
        ("symlink", [f"{root}/cpuacct", "cpu,cpuacct", 0]),
        ("bind", ["/cg/pids/x", 0, SLAVE, RDONLY | NOSUID, 0, 0, 0, 0, 0, f"{root}/pids", 0]),
        ("mount_attributes", [root, RDONLY, 0, 0, 0, 0, 0]),
    ]


def test_cgroup_on_v1_with_a_namespace() -> None:
    """With a cgroup namespace: fresh mounts of each v1 hierarchy, named ones too; writable if not ro."""
    node = config(entry("/c", "cgroup"), namespaces="mount cgroup")
    assert opened(node, V1, PATHS) == []
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


def test_cgroup_directories_of_a_user_namespace() -> None:
    """The runtime opens them; what other containers mount below the own cgroup directory is not shown."""
    node = config(entry("/sys/fs/cgroup", "cgroup"), namespaces="user mount")
    assert [step.args for step in opened(node, V1, PATHS)] == [
        {"source": source, "destination": place, "recursive": False, "propagation": SLAVE, "slot": slot}
        for source, place, slot in (
            ("/cg/cpu,cpuacct/x", "/sys/fs/cgroup/cpu,cpuacct", "mount 0 cpu,cpuacct"),
            ("/cg/pids/x", "/sys/fs/cgroup/pids", "mount 0 pids"),
        )
    ]
    trees = [shown(step) for step in init_steps(node, V1, PATHS) if step.op == "mount_tree"]
    assert [tree[0] for tree in trees] == ["mount 0 cpu,cpuacct", "mount 0 pids"]


def test_words_that_clear_count_for_cgroups() -> None:
    """A cgroup entry's rw, exec, suid and dev take a flag of the host's mount away, as with any bind."""
    node = config(entry("/sys/fs/cgroup", "cgroup", "rw", "exec"))
    (first, _) = [shown(step) for step in init_steps(node, V1, PATHS) if step.op == "bind"]
    assert first[3:5] == [0, RDONLY | NOEXEC]


def _without_power(node: Node, layout: Layout, paths: dict[str, str] | None = None) -> list[Any]:
    """The steps of a runtime without power over the host: what it opens, then what init does."""
    host = Host(layout, rootless=True)
    found = mounts.read(node, "/bundle", "/bundle/rootfs", host)
    return [
        *mounts.plan_sources(node, host, found, paths or {}),
        *mounts.plan(node, host, found, paths or {}),
    ]


@pytest.mark.parametrize("namespaces", ["mount", "user mount"])
def test_cgroup_on_v2_without_power(namespaces: str) -> None:
    """Without a cgroup namespace of its own: the host's mount, which init binds; with one, a new mount."""
    node = config(entry("/c", "cgroup", "ro"), namespaces=namespaces)
    (bound,) = _without_power(node, V2)
    assert (bound.op, *shown(bound)[:5]) == ("bind", "/sys/fs/cgroup", 0, SLAVE, RDONLY, 0)
    own = config(entry("/c", "cgroup"), namespaces=f"{namespaces} cgroup")
    assert [step.op for step in _without_power(own, V2)] == ["mount_fs"]


@pytest.mark.parametrize("namespaces", ["mount", "user mount"])
def test_cgroup_on_v1_without_power(namespaces: str) -> None:
    """Its own cgroup where it has one, the caller's elsewhere; none that is outside of the caller's namespace."""
    node = config(entry("/c", "cgroup"), namespaces=namespaces)
    layout = Layout("v1", V1.controllers, own={"cpu": "/a", "pids": "/b/c", "name=systemd": "/../d"})
    steps = _without_power(node, layout, {"pids": "/cg/pids/x"})
    binds = [shown(step)[0] for step in steps if step.op == "bind"]
    assert binds == ["/cg/cpu,cpuacct/a", "/cg/pids/x"]
    assert {step.op for step in steps} == {"mount_fs", "bind", "symlink"}
