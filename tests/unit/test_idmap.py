# SPDX-License-Identifier: Apache-2.0
"""ociruntime/linux/idmap.py and id_ranges.py: whose ids are whose, what is refused, and what a plan makes of it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.errors import StepFailed
from ociruntime.launch.context import Context
from ociruntime.linux import devices, id_ranges, idmap, mount_options, mounts
from ociruntime.plan import order
from ociruntime.step import HostStep, InitStep
from tests.unit.golden import MACHINES, load

MOUNT, USER = {"type": "mount"}, {"type": "user"}


def ranges(*triples: tuple[int, int, int]) -> list[dict[str, int]]:
    """Mappings as config.json has them."""
    return [{"containerID": first, "hostID": host, "size": size} for first, host, size in triples]


MAPS = {name: ranges((0, 100000, 65536)) for name in ("uidMappings", "gidMappings")}


def config(namespaces: list[dict[str, str]], *, top: dict[str, Any] | None = None, **linux: Any) -> Node:
    """A config with these namespaces."""
    return Node({**(top or {}), "linux": {"namespaces": namespaces, **linux}})


def found(node: Node) -> list[tuple[str, str, str]]:
    """What the subject finds wrong."""
    return [(violation.pointer, violation.rule, violation.severity) for violation in idmap.check(node)]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (config([MOUNT, USER], **MAPS), []),
        (config([MOUNT], **MAPS), [(f"/linux/{name}", "R102", "error") for name in MAPS]),
        (config([MOUNT, USER]), [(f"/linux/{name}", "R102", "error") for name in MAPS]),
        (config([MOUNT, {"type": "user", "path": "/x"}]), []),
        (config([MOUNT, {"type": "user", "path": "/x"}], **MAPS), []),
        (config([USER], **MAPS), [("/linux/namespaces/0", "R095", "unsupported")]),
        (config([MOUNT], uidMappings=[], gidMappings=[]), []),
    ],
)
def test_mappings_go_with_a_user_namespace(node: Node, expected: list[tuple[str, str, str]]) -> None:
    """A new one needs both kinds, and a mount namespace; a joined one has its own; without one they are an error."""
    assert found(node) == expected


@pytest.mark.parametrize(
    ("triples", "expected"),
    [
        ([(0, 0, 4294967295)], []),
        ([(0, 5, 10), (10, 15, 10)], []),
        ([(5, 100, 10), (0, 50, 5)], []),
        ([(0, 5, 0)], ["/m/0/size"]),
        ([(0, 1, 4294967295)], ["/m/0"]),
        ([(4294967294, 1, 2)], ["/m/0"]),
        ([(0, 5, 10), (9, 15, 10)], ["/m/1"]),
        ([(0, 5, 10), (10, 14, 10)], ["/m/1"]),
        ([(7, 100, 10), (0, 50, 8)], ["/m/0"]),
    ],
)
def test_ranges_that_the_kernel_refuses(triples: list[tuple[int, int, int]], expected: list[str]) -> None:
    """Empty, past the last id, or overlapping on either side; what only touches is fine."""
    node = Node(ranges(*triples), "/m")
    assert [violation.pointer for violation in id_ranges.check(node, "R102")] == expected


def test_ids_are_found_through_all_ranges() -> None:
    """The host's id, or None; the texts for the kernel and for people."""
    several = id_ranges.read(Node(ranges((0, 1000, 10), (20, 5, 1))))
    assert [id_ranges.find(several, number) for number in (0, 9, 10, 20, 21)] == [1000, 1009, None, 5, None]
    assert id_ranges.lines(several) == "0 1000 10\n20 5 1\n"
    assert id_ranges.words(several) == "0-9 is 1000-1009, 20 is 5"


@pytest.mark.parametrize(
    ("maps", "user", "expected"),
    [
        ([(0, 1000, 10)], {"uid": 5, "gid": 6}, (0, 0)),
        ([(1, 1000, 10)], {"uid": 5, "gid": 6}, (5, 6)),
        ([(3, 1000, 2), (0, 7, 1)], {"uid": 3, "gid": 4}, (0, 0)),
    ],
)
def test_who_makes_the_container(
    maps: list[tuple[int, int, int]], user: dict[str, int], expected: tuple[int, int]
) -> None:
    """The namespace's root; where none is mapped, the program's user. The caller's groups go first."""
    both = {"uidMappings": ranges(*maps), "gidMappings": ranges(*maps)}
    node = config([MOUNT, USER], top={"process": {"user": user}}, **both)
    groups, become = idmap.plan_root(node, MACHINES["plan.txt"])
    assert (groups.op, groups.args) == ("groups", ([],))
    assert (become.op, become.args) == ("user", expected)
    joined = idmap.plan_root(config([{"type": "user", "path": "/x"}]), MACHINES["plan.txt"])
    assert [step.args for step in joined] == [([],), (0, 0)]


def mapped(*options: str, **more: Any) -> dict[str, Any]:
    """A bind of /s."""
    return {"destination": "/d", "source": "/s", "options": ["bind", *options], **more}


def test_mounts_with_the_same_mappings_share_one_namespace() -> None:
    """One step holds it, before the sources are opened and mapped; the container's own and a joined one are others."""
    other = {name: ranges((0, 7, 1)) for name in MAPS}
    entries = [mapped("idmap", **MAPS), mapped("ridmap", **MAPS), mapped("idmap"), mapped("idmap", **other)]
    node = config([MOUNT, USER], top={"mounts": entries}, **MAPS)
    held = [step for step in idmap.plan_host(node) if step.name == "hold id maps"]
    assert len(held) == 3
    by_slot = {step.args["slot"]: step.args["uid"] for step in held}
    machine = MACHINES["plan.txt"]
    steps = [
        step
        for step in mounts.plan_sources(
            node, machine, mounts.read(node, "/", "/rootfs", MACHINES["plan.txt"]), {}
        )
        if step.name == "id-map bind source"
    ]
    assert [by_slot[step.args["maps"]] for step in steps] == [
        [[0, 100000, 65536]],
        [[0, 100000, 65536]],
        [[0, 100000, 65536]],
        [[0, 7, 1]],
    ]
    assert [step.args["recursive"] for step in steps] == [False, True, False, False]
    joined = config([MOUNT, {"type": "user", "path": "/u"}], top={"mounts": [mapped("idmap")]})
    assert [step.name for step in idmap.plan_host(joined)] == ["note id maps"]
    (step,) = [
        one
        for one in mounts.plan_sources(
            joined, machine, mounts.read(joined, "/", "/rootfs", MACHINES["plan.txt"]), {}
        )
        if one.name == "id-map bind source"
    ]
    assert step.args["maps"] == "namespace user"


def test_the_kernel_is_never_given_the_option() -> None:
    """R028: idmap and ridmap are neither data for a file system nor a flag."""
    node = config([MOUNT], top={"mounts": [mapped("ridmap", **MAPS)]})
    (step,) = mounts.plan(
        node, MACHINES["plan.txt"], mounts.read(node, "/", "/rootfs", MACHINES["plan.txt"]), {}
    )
    assert step.op == "mount_tree"
    assert step.args[1:7] == (0, 0, 0, 0, 0, 0)
    options = mount_options.parse(["bind", "idmap", "ridmap"])
    assert (options.data, options.superblock, options.flags) == ([], [], 0)


def test_devices_are_made_by_the_runtime() -> None:
    """In a user namespace no device can be made: each has a node of the runtime's; a FIFO needs none."""
    listed = [
        {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "uid": 5, "fileMode": 0o600},
        {"path": "/dev/pipe", "type": "p"},
    ]
    node = config([MOUNT, USER], devices=listed, **MAPS)
    host = list(devices.plan_nodes(node, MACHINES["plan.txt"]))
    init = list(devices.plan(node, MACHINES["plan.txt"]))
    assert [step.op for step in init] == ["device", "mknod", *["device"] * 6]
    assert len(host) == 7
    assert host[0].args["mode"] == 0o020600
    assert (host[0].args["uid"], host[0].args["gid"]) == (5, 0)
    assert len({step.args["file"] for step in host}) == 7
    assert [step.args["slot"] for step in host] == [
        step.args[0].key for step in init if step.op == "device" and hasattr(step.args[0], "key")
    ]
    assert list(devices.plan_nodes(config([MOUNT], devices=listed), MACHINES["plan.txt"])) == []


def test_the_order_of_a_container_in_a_user_namespace() -> None:
    """Mappings before anything is made in it; the rootfs is opened as the host's root, the rest made as the new one."""
    steps = order.make(load("userns"), MACHINES["plan.txt"], order.Options("x")).steps
    names = [step.name for step in steps]
    wanted = [
        "note id maps",
        "make device node",
        "clone init",
        "fork",
        "sync",
        "write id map",
        "open rootfs",
        "leave groups",
        "become root of the user namespace",
        "unshare",
        "setsid",
        "join session keyring",
        "loopback",
        "mount",
        "mount device",
        "pivot_root",
    ]
    assert [name for name in dict.fromkeys(names) if name in wanted] == wanted
    clone = next(step for step in steps if step.name == "clone init")
    assert isinstance(clone, HostStep)
    assert order.make(load("userns"), MACHINES["plan.txt"], order.Options("x")).clone_flags == 0
    fork = next(step for step in steps if isinstance(step, InitStep) and step.op == "fork")
    assert isinstance(fork.args[0], int)
    assert fork.args[0] & idmap.CLONE_NEWUSER


def test_facts_are_those_of_the_config() -> None:
    """The mappings of a new user namespace are noted for the devices' owners."""
    context = Context("x", "/b", "/s", Node({}))
    (step,) = idmap.plan_host(config([MOUNT, USER], **MAPS))
    idmap.apply(step, context)
    assert context.facts["idmap"] == {"uid": [[0, 100000, 65536]], "gid": [[0, 100000, 65536]]}


def test_mappings_that_are_too_long_are_refused_with_the_limit() -> None:
    """70 kB in one write (CVE-2021-43784): the kernel's answer with its reason, and nothing is cut off."""
    many = [[number, 100000 + number, 1] for number in range(4000)]
    step = HostStep("write_id_map", {"file": "uid_map", "ranges": many}, pointer="/p")
    context = Context("x", "/b", "/s", Node({}))
    context.pid = os.getpid()
    assert len(id_ranges.lines(many)) > 50_000
    with pytest.raises(StepFailed) as caught:
        idmap.apply(step, context)
    assert caught.value.pointer == "/p"
    assert caught.value.errno != 0
