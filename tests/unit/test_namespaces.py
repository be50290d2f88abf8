# SPDX-License-Identifier: Apache-2.0
"""ociruntime/linux/namespaces.py and network.py: what is new, what is joined, what is refused."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.errors import StepFailed
from ociruntime.host import Host
from ociruntime.launch.context import Context
from ociruntime.linux import namespaces, network
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.step import HostStep, Slot

ROOT = Host(Layout("none"))
NEW = [{"type": name} for name in ("pid", "network", "ipc", "uts", "mount", "cgroup")]


def config(entries: list[dict[str, str]], **linux: Any) -> Node:
    """A config with these namespaces and more properties of /linux."""
    return Node({"linux": {"namespaces": entries, **linux}})


def found(module: Any, node: Node) -> list[tuple[str, str, str]]:
    """What a subject finds wrong: pointer, rule and severity."""
    return [(v.pointer, v.rule, v.severity) for v in module.check(node)]


def test_clone_flags_are_those_of_the_new_namespaces_but_not_cgroup() -> None:
    """The clone makes every new namespace except cgroup, which must wait for the cgroup to be joined."""
    assert (
        namespaces.clone_flags(config(NEW)) == 0x20000000 | 0x40000000 | 0x08000000 | 0x04000000 | 0x00020000
    )
    assert namespaces.clone_flags(config([{"type": "cgroup"}])) == 0
    assert namespaces.clone_flags(config([{"type": "uts", "path": "/x"}, {"type": "ipc"}])) == 0x08000000
    assert namespaces.clone_flags(Node({})) == 0


def test_unshared_cgroup_namespace_is_a_step_of_init() -> None:
    """A new cgroup namespace is unshared by init; a joined one and none give no such step."""
    (step,) = namespaces.plan_cgroup(config(NEW))
    assert (step.op, step.args, step.pointer) == ("unshare", (0x02000000,), "/linux/namespaces/5")
    assert list(namespaces.plan_cgroup(config([{"type": "cgroup", "path": "/x"}]))) == []


def test_no_path_gives_no_join_and_no_helper() -> None:
    """Without paths nothing is opened, joined or forked: the clone itself does it all."""
    assert list(namespaces.plan_paths(config(NEW))) == []
    assert list(namespaces.plan_join(config(NEW), ROOT)) == []
    assert not namespaces.forks(config(NEW))


def test_join_order_does_not_follow_the_config() -> None:
    """The mount namespace is joined last, and init is forked into the new ones after all joins."""
    paths = [
        {"type": name, "path": f"/ns/{name}"} for name in ("mount", "pid", "cgroup", "uts", "ipc", "network")
    ]
    steps = list(namespaces.plan_join(config([*paths]), ROOT))
    joined = [step.args[0].key for step in steps[:-1] if isinstance(step.args[0], Slot)]
    assert joined == [f"namespace {name}" for name in ("network", "ipc", "uts", "cgroup", "pid", "mount")]
    assert [step.args[1] for step in steps[:-1]] == [
        0x40000000,
        0x08000000,
        0x04000000,
        0x02000000,
        0x20000000,
        0x00020000,
    ]
    assert (steps[-1].op, steps[-1].args) == ("fork", (0,))


def test_fork_has_the_flags_of_what_is_new() -> None:
    """With one namespace joined, the others are made by the helper's fork."""
    node = config([{"type": "network", "path": "/ns/net"}, {"type": "pid"}, {"type": "mount"}])
    join, fork = namespaces.plan_join(node, ROOT)
    assert (join.op, join.pointer) == ("join", "/linux/namespaces/0/path")
    assert (fork.op, fork.args) == ("fork", (0x20000000 | 0x00020000,))
    assert namespaces.forks(node)
    (opened,) = namespaces.plan_paths(node)
    assert opened.args == {
        "path": "/ns/net",
        "type": "network",
        "slot": "namespace network",
        "changed": False,
    }


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (config(NEW), []),
        (config([*NEW, {"type": "pid"}]), [("/linux/namespaces/6", "R101", "error")]),
        (config([{"type": "pid", "path": "a/b"}]), [("/linux/namespaces/0/path", "R096", "error")]),
        (config([{"type": "user"}, {"type": "time"}]), []),
        (config(NEW, timeOffsets={"monotonic": {"secs": 1}}), [("/linux/timeOffsets", "R104", "error")]),
        (config(NEW, timeOffsets={}), []),
        (config([{"type": "time"}], timeOffsets={"monotonic": {"secs": 1}}), []),
        (
            config([{"type": "time", "path": "/x"}], timeOffsets={"boottime": {"secs": 1}}),
            [("/linux/timeOffsets", "R104", "error")],
        ),
        (
            config([{"type": "time"}], timeOffsets={"boottime": {"nanosecs": 1_000_000_000}}),
            [("/linux/timeOffsets/boottime/nanosecs", "R104", "error")],
        ),
    ],
)
def test_namespaces_check(node: Node, expected: list[tuple[str, str, str]]) -> None:
    """Each broken rule is found at its place, and nothing else."""
    assert found(namespaces, node) == expected


def test_a_user_namespace_is_entered_last_and_made_by_a_fork() -> None:
    """A process in it has no rights in what others own; a new one, and its ipc namespace's owner, is init's."""
    node = config([{"type": "user", "path": "/u"}, {"type": "mount", "path": "/m"}, {"type": "ipc"}])
    steps = list(namespaces.plan_join(node, ROOT))
    assert [step.op for step in steps] == ["join", "join", "fork"]
    assert [step.args[0].key for step in steps[:-1] if isinstance(step.args[0], Slot)] == [
        "namespace mount",
        "namespace user",
    ]
    assert steps[-1].args == (0,)
    (ipc,) = namespaces.plan_ipc(node)
    assert (ipc.op, ipc.args, ipc.pointer) == ("unshare", (0x08000000,), "/linux/namespaces/2")
    (fork,) = namespaces.plan_join(config([*NEW, {"type": "user"}]), ROOT)
    assert fork.args == (0x10000000 | 0x20000000 | 0x40000000 | 0x04000000 | 0x00020000,)
    assert list(namespaces.plan_ipc(config([{"type": "ipc", "path": "/i"}]))) == []


def test_a_time_namespace_is_made_and_set_before_anybody_is_in_it() -> None:
    """unshare, the offsets of both clocks in the kernel's order, then the joins and the fork that enters it (R104)."""
    offsets = {"boottime": {"secs": -5}, "monotonic": {"secs": 7, "nanosecs": 9}}
    node = config([{"type": "uts", "path": "/u"}, {"type": "time"}], timeOffsets=offsets)
    steps = list(namespaces.plan_join(node, ROOT))
    assert [step.op for step in steps] == ["unshare", "time_offsets", "join", "fork"]
    assert steps[0].args == (0x00000080,)
    assert steps[1].args == ("monotonic 7 9\nboottime -5 0",)
    assert [step.op for step in namespaces.plan_join(config([{"type": "time"}]), ROOT)] == ["unshare", "fork"]


def test_loopback_only_in_a_new_network_namespace() -> None:
    """A joined or inherited network is left alone."""
    assert [step.op for step in network.plan(config(NEW))] == ["loopback"]
    assert list(network.plan(config([{"type": "network", "path": "/x"}]))) == []
    assert list(network.plan(Node({}))) == []


def new_context(directory: str = "/d") -> Context:
    """A container that is being made."""
    return Context("id", "/b", directory, Node({}), Host(Layout("none")))


def open_step(path: str, kind: str) -> HostStep:
    """The step that opens this path as a namespace of this type."""
    (step,) = namespaces.plan_paths(config([{"type": kind, "path": path}]))
    return step


def test_apply_opens_a_namespace_of_the_right_type() -> None:
    """The descriptor lands in the slot that the join step names, and is closed on exec."""
    context = new_context()
    namespaces.apply(open_step("/proc/self/ns/uts", "uts"), context)
    descriptor = context.slots["namespace uts"]
    try:
        assert os.fstat(descriptor).st_ino == os.stat("/proc/self/ns/uts").st_ino
        assert not os.get_inheritable(descriptor)
    finally:
        context.close_slots()


@pytest.mark.parametrize(
    ("path", "kind", "reason"),
    [
        ("/proc/self/ns/uts", "ipc", "/proc/self/ns/uts is a uts namespace, but the config says ipc"),
        ("/proc/self/ns/net", "mount", "/proc/self/ns/net is a network namespace, but the config says mount"),
        ("/proc/self/status", "pid", "/proc/self/status is not a namespace"),
        ("/dev/null", "pid", "/dev/null is not a namespace"),
        ("/", "pid", "/ is not a namespace"),
    ],
)
def test_apply_refuses_another_type(path: str, kind: str, reason: str) -> None:
    """R098: a path of another type is an error that says what it is; no descriptor is left open."""
    context = new_context()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(StepFailed) as failure:
        namespaces.apply(open_step(path, kind), context)
    assert failure.value.reason == reason
    assert failure.value.pointer == "/linux/namespaces/0/path"
    del context, failure
    assert os.listdir("/proc/self/fd") == before


def test_apply_names_a_missing_path(tmp_path: Any) -> None:
    """A namespace path that does not exist gives the kernel's error number and the path."""
    with pytest.raises(StepFailed) as failure:
        namespaces.apply(open_step(f"{tmp_path}/gone", "pid"), new_context())
    assert "ENOENT" in str(failure.value)
    assert f"{tmp_path}/gone" in str(failure.value)


def test_apply_does_not_wait_for_a_fifo(tmp_path: Any) -> None:
    """Opening a FIFO returns at once instead of waiting for a writer."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(StepFailed, match="is not a namespace"):
        namespaces.apply(open_step(f"{tmp_path}/fifo", "pid"), new_context())


def test_an_ordinary_user_joins_the_user_namespace_first() -> None:
    """Before that it has no right to enter the others."""
    node = config([{"type": kind, "path": f"/proc/7/ns/{kind}"} for kind in ("pid", "ipc", "user")])
    for host, order in (
        (ROOT, ["ipc", "pid", "user"]),
        (Host(Layout("none"), rootless=True, uid=7), ["user", "ipc", "pid"]),
    ):
        joins = [step.text.split()[0] for step in namespaces.plan_join(node, host) if step.op == "join"]
        assert joins == order


USER = Host(Layout("none"), rootless=True, uid=7)


def test_an_ordinary_user_makes_a_time_namespace_with_its_user_namespace() -> None:
    """In one call, so that it has CAP_SYS_TIME there; and the helper's file in /proc is its own only while it is dumpable."""
    kinds = [{"type": "user"}, {"type": "time"}, {"type": "pid"}]
    node = config(kinds, timeOffsets={"boottime": {"secs": 5}})
    steps = list(namespaces.plan_join(node, USER))
    assert [(step.op, step.args) for step in steps] == [
        ("unshare", (0x10000000 | 0x00000080,)),
        ("dumpable", (1,)),
        ("time_offsets", ("boottime 5 0",)),
        ("dumpable", (0,)),
        ("fork", (0x20000000,)),
    ]
    assert steps[0].text == "new user namespace, and its time namespace"
    assert [step.op for step in namespaces.plan_join(config(kinds), USER)] == ["unshare", "fork"]
    # Root's right to join other namespaces would be lost in a new user namespace: that comes last.
    unshare, _, fork = namespaces.plan_join(node, ROOT)
    assert (unshare.args, fork.args) == ((0x00000080,), (0x10000000 | 0x20000000,))


def test_an_ordinary_user_makes_a_time_namespace_in_the_user_namespace_that_it_joins() -> None:
    """It has no right to it before, and needs the host's procfs: so it is made before other namespaces are joined."""
    kinds = [{"type": "mount", "path": "/m"}, {"type": "user", "path": "/u"}, {"type": "time"}]
    steps = list(namespaces.plan_join(config(kinds), USER))
    assert [step.text for step in steps] == ["user /u", "new time namespace", "mount /m", "init"]
    assert steps[1].args == (0x00000080,)
