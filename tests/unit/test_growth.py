# SPDX-License-Identifier: Apache-2.0
"""Does the work grow with a config, and not with its square? Check, plan and encode of n and of 4n entries of each list.

The work is counted, not timed: lines, calls and calls of C functions. What a C function does inside is not seen.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.bundle import Bundle
from ociruntime.check import check
from ociruntime.host import Host
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.native.encode import encode
from ociruntime.plan import order

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

SCHEMA = Path(__file__).parents[2] / "specs" / "config.schema.json"
FEW = 48
GROWTH = 4
TOLERANCE = 4.5

_V1 = {
    name: f"/sys/fs/cgroup/{name}"
    for name in ("blkio", "cpu", "devices", "hugetlb", "net_prio", "pids", "rdma")
}
_V2_CONTROLLERS = ["cpu", "hugetlb", "io", "memory", "pids", "rdma"]
_HOSTS = {
    "v1": Host(Layout("v1", dict(_V1), own=dict.fromkeys(_V1, "/"))),
    "v2": Host(Layout("v2", v2="/sys/fs/cgroup", own={"": "/"}, v2_controllers=_V2_CONTROLLERS)),
}

_START: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"args": ["true"], "cwd": "/", "user": {"uid": 0, "gid": 0}},
    "hostname": "h",
    "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
    "linux": {"namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts", "network")]},
}


def _mount(number: int) -> dict[str, Any]:
    """Every kind of entry, and some on the same place."""
    kinds: list[dict[str, Any]] = [
        {"type": "bind", "source": "/etc", "options": ["rbind", "ro"]},
        {"type": "tmpfs", "source": "tmpfs", "options": ["ro", "mode=755"]},
        {"type": "none", "source": "none", "options": ["bind", "remount", "ro"]},
        {"type": "bind", "source": "rootfs/m/1", "options": ["bind", "rw"]},
    ]
    return {"destination": f"/m/{number // 2}", **kinds[number % 4]}


def _ids(number: int) -> dict[str, int]:
    return {"containerID": 2 * number, "hostID": 100_000 + 2 * number, "size": 1}


def _hook(_number: int) -> dict[str, Any]:
    return {"path": "/bin/true", "args": ["true"], "env": ["A=B"]}


def _device(number: int) -> dict[str, Any]:
    return {"path": f"/dev/x{number}", "type": "c", "major": 1, "minor": number}


def _block(number: int) -> dict[str, int]:
    return {"major": 8, "minor": number, "rate": 1000}


def _syscall(number: int) -> dict[str, Any]:
    return {"names": [f"call{number}"], "action": "SCMP_ACT_ALLOW"}


_EACH_HOOK = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
_CAPABILITIES = ("bounding", "effective", "inheritable", "permitted", "ambient")
_SECCOMP: dict[str, Any] = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [_syscall(0)]}

# The lists and maps of the schema -> an entry by its number; of a map (name, value).
ENTRIES: dict[str, Callable[[int], Any]] = {
    "/annotations": lambda number: (f"a.{number}", "x"),
    "/hooks/*": _hook,
    "/hooks/*/*/args": str,
    "/hooks/*/*/env": lambda number: f"A{number}=x",
    "/linux/devices": _device,
    "/linux/gidMappings": _ids,
    "/linux/intelRdt/schemata": lambda number: f"L3:{number}=f",
    "/linux/maskedPaths": lambda number: f"/masked/{number}",
    "/linux/memoryPolicy/flags": lambda _: "MPOL_F_STATIC_NODES",
    "/linux/namespaces": lambda number: {"type": ("mount", "pid", "uts", "ipc")[number % 4]},
    "/linux/netDevices": lambda number: (f"eth{number}", {"name": f"net{number}"}),
    "/linux/personality/flags": lambda number: f"FLAG{number}",
    "/linux/readonlyPaths": lambda number: f"/read/{number}",
    "/linux/resources/blockIO/throttleReadBpsDevice": _block,
    "/linux/resources/blockIO/throttleReadIOPSDevice": _block,
    "/linux/resources/blockIO/throttleWriteBpsDevice": _block,
    "/linux/resources/blockIO/throttleWriteIOPSDevice": _block,
    "/linux/resources/blockIO/weightDevice": lambda number: {"major": 8, "minor": number, "weight": 10},
    "/linux/resources/devices": lambda number: {
        "allow": number % 2 == 0, "type": "c", "major": 1, "minor": number, "access": "rw",
    },
    "/linux/resources/hugepageLimits": lambda number: {"pageSize": f"{number + 1}MB", "limit": 0},
    "/linux/resources/network/priorities": lambda number: {"name": f"eth{number}", "priority": 1},
    "/linux/resources/rdma": lambda number: (f"mlx{number}", {"hcaHandles": 1}),
    "/linux/resources/unified": lambda number: (f"memory.x{number}", "1"),
    "/linux/seccomp/architectures": lambda _: "SCMP_ARCH_X86_64",
    "/linux/seccomp/flags": lambda _: "SECCOMP_FILTER_FLAG_LOG",
    "/linux/seccomp/syscalls": _syscall,
    "/linux/seccomp/syscalls/*/args": lambda number: {"index": number % 6, "value": number, "op": "SCMP_CMP_EQ"},
    "/linux/seccomp/syscalls/*/names": lambda number: f"call{number}",
    "/linux/sysctl": lambda number: (f"net.ipv4.x{number}", "1"),
    "/linux/uidMappings": _ids,
    "/mounts": _mount,
    "/mounts/*/gidMappings": _ids,
    "/mounts/*/options": lambda number: ("ro", "nosuid", "size=1k", "noatime", "sync")[number % 5],
    "/mounts/*/uidMappings": _ids,
    "/process/args": str,
    "/process/capabilities/*": lambda number: f"CAP_{number}",
    "/process/env": lambda number: f"A{number}=x",
    "/process/rlimits": lambda number: {"type": ("RLIMIT_CPU", "RLIMIT_AS")[number % 2], "soft": 1, "hard": 1},
    "/process/scheduler/flags": lambda _: "SCHED_FLAG_RECLAIM",
    "/process/user/additionalGids": int,
}  # fmt: skip

# What one of the two kinds of machine refuses.
_ONLY_ON = {"/linux/resources/unified": ("v2",), "/linux/resources/network/priorities": ("v1",)}

# What else a config needs for a list to be there: the holder of the list, before it is filled.
_HOLDERS: dict[str, dict[str, Any]] = {
    "/hooks/*/*": {"path": "/bin/true"},
    "/linux/memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"},
    "/linux/personality": {"domain": "LINUX"},
    "/linux/seccomp": _SECCOMP,
    "/linux/seccomp/syscalls/*": {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
    "/mounts/*": {"destination": "/m", "type": "bind", "source": "/etc", "options": ["bind"]},
    "/process/scheduler": {"policy": "SCHED_OTHER"},
}


def lists() -> Iterator[tuple[str, bool]]:
    """(pointer, whether it is a map) of each array and map in the schema, `*` for an element."""
    schema = json.loads(SCHEMA.read_text())

    def walk(node: dict[str, Any], pointer: str) -> Iterator[tuple[str, bool]]:
        if "$ref" in node:
            yield from walk(schema["$defs"][node["$ref"].rpartition("/")[2]], pointer)
        for part in (*node.get("allOf", ()), *node.get("anyOf", ()), *node.get("oneOf", ())):
            yield from walk(part, pointer)
        if "items" in node:
            yield pointer, False
            yield from walk(node["items"], f"{pointer}/*")
        for name, value in node.get("properties", {}).items():
            yield from walk(value, f"{pointer}/{name}")
        others = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
        for value in others:
            if isinstance(value, dict):
                yield pointer, True
                yield from walk(value, f"{pointer}/*")

    yield from walk(schema, "")


def _row(pointer: str) -> str:
    """The key in ENTRIES of a list: hooks of all kinds, and sets of capabilities, share one."""
    for holder, kinds in (("/hooks/", _EACH_HOOK), ("/process/capabilities/", _CAPABILITIES)):
        for kind in kinds:
            if f"{pointer}/".startswith(f"{holder}{kind}/"):
                return f"{holder}*{pointer[len(holder) + len(kind) :]}"
    return pointer


LISTS = dict(lists())


def config(pointer: str, is_map: bool, count: int) -> dict[str, Any]:
    """A config whose list at `pointer` has so many entries."""
    value = copy.deepcopy(_START)
    if pointer in ("/linux/uidMappings", "/linux/gidMappings"):
        value["linux"]["namespaces"].append({"type": "user"})
        value["linux"].update(uidMappings=[_ids(0)], gidMappings=[_ids(0)])
    names, place = pointer.split("/")[1:], value
    for depth, name in enumerate(names[:-1]):
        below = copy.deepcopy(_HOLDERS.get(_row("/" + "/".join(names[: depth + 1])), {}))
        if isinstance(place, list):
            place[:] = [below]
            place = below
        else:
            place = place.setdefault(name, [] if names[depth + 1] == "*" else below)
    made = [ENTRIES[_row(pointer)](number) for number in range(count)]
    if names[-1] in ("uidMappings", "gidMappings") and names[0] == "mounts":
        place.update(uidMappings=[_ids(0)], gidMappings=[_ids(0)])
    if names[-2:] == ["*", "options"]:
        made.insert(0, "bind")
    place[names[-1]] = dict(made) if is_map else made
    return value


def carry_out(value: dict[str, Any], host: Host) -> None:
    """What create does with a config before it touches anything; invalid ones go all the way as well."""
    raw = json.dumps(value).encode()
    bundle = Bundle("/b", "/b/config.json", raw)
    check.violations(bundle.config, explain=False)
    made = order.make(bundle, host, order.Options("id"))
    encode(made.init_steps(), made.slots, 3, {"seccomp filter": bytes(8)})


def work(value: dict[str, Any], host: Host) -> int:
    """The number of lines and calls that it takes."""
    count = 0

    def trace(_frame: FrameType, _event: str, _argument: object) -> Any:
        nonlocal count
        count += 1
        return trace

    def profile(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "c_call"

    before = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        carry_out(value, host)
    finally:
        sys.settrace(before[0])
        sys.setprofile(before[1])
    return count


def test_every_list_has_a_row() -> None:
    """The table knows each array and map of the schema, and no others."""
    assert set(ENTRIES) == {_row(pointer) for pointer in LISTS}


@pytest.mark.parametrize("pointer", LISTS)
def test_work_grows_with_the_list(pointer: str) -> None:
    """Four times the entries are at most four times the work, but for what there is without any."""
    for name in _ONLY_ON.get(pointer, _HOSTS):
        host = _HOSTS[name]
        carry_out(config(pointer, LISTS[pointer], 2), host)  # what is imported late
        none, few, many = (
            work(config(pointer, LISTS[pointer], count), host) for count in (1, FEW + 1, GROWTH * FEW + 1)
        )
        assert few > none or pointer == "/linux/personality/flags", f"{name}: nobody looks at {pointer}"
        assert many - none <= TOLERANCE * (few - none), f"{name}: {none}, {few}, {many}"


@pytest.mark.parametrize("users", [False, True])
def test_work_grows_with_mounts_and_devices_together(users: bool) -> None:
    """Nor is each device compared with each mount, or each path; with and without descriptors for all of them."""

    def together(count: int) -> dict[str, Any]:
        value = config("/linux/uidMappings" if users else "/mounts", False, 1)
        value["mounts"] = [_mount(number) for number in range(count)]
        for pointer in ("/linux/devices", "/linux/maskedPaths", "/linux/readonlyPaths"):
            value["linux"][pointer.rpartition("/")[2]] = [ENTRIES[pointer](number) for number in range(count)]
        return value

    host = _HOSTS["v1"]
    carry_out(together(2), host)
    none, few, many = (work(together(count), host) for count in (1, FEW + 1, GROWTH * FEW + 1))
    assert many - none <= TOLERANCE * (few - none), (none, few, many)
