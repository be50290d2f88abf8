# SPDX-License-Identifier: Apache-2.0
"""What linux/seccomp.py refuses and plans, and what the compiler makes of it: the program is interpreted here."""

from __future__ import annotations

import errno
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from ociruntime.bundle import Bundle
from ociruntime.check import check as spine
from ociruntime.config import Node
from ociruntime.errors import StepFailed
from ociruntime.host import Host
from ociruntime.jsontext import compact
from ociruntime.linux import seccomp, seccomp_cache, seccomp_compiler
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.plan import order
from ociruntime.step import HostStep, InitStep, SyncStep

_X86_64, _I386, _AARCH64 = 0xC000003E, 0x40000003, 0xC00000B7
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0
NOTIFY = {"names": ["openat"], "action": "SCMP_ACT_NOTIFY"}


def config(filter_: dict[str, Any], **process: Any) -> Node:
    """A config with this filter."""
    return Node({"process": process, "linux": {"seccomp": filter_}})


def rule(*names: str, action: str = "SCMP_ACT_ERRNO", **more: Any) -> dict[str, Any]:
    """One entry of syscalls."""
    return {"names": list(names), "action": action, **more}


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"defaultAction": "SCMP_ACT_ALLOW"}, []),
        ({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s"}, [("defaultAction", "R177")]),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [NOTIFY]}, [("syscalls/0/action", "R181")]),
        ({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s", "syscalls": [NOTIFY]}, []),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": "/s",
                "syscalls": [rule("read", "write", action="SCMP_ACT_NOTIFY")],
            },
            [("syscalls/0/names", "R189")],
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [rule("a", args=[{"index": 5}, {"index": 6}])],
            },
            [("syscalls/0/args/1/index", "R189")],
        ),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4094}, []),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4095}, [("defaultErrnoRet", "R178")]),
        ({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65535}, []),
        ({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 65536}, [("defaultErrnoRet", "R178")]),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("a", errnoRet=5000)]},
            [("syscalls/0/errnoRet", "R190")],
        ),
    ],
)
def test_check(filter_: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """What no filter can be made of is an error at the value."""
    found = [(one.pointer, one.rule) for one in seccomp.check(config(filter_))]
    assert found == [(f"/linux/seccomp/{place}", number) for place, number in expected]


def test_tables_are_the_schemas() -> None:
    """Each action, operator, architecture and flag that the schema lets through has its number, and no other."""
    schema = json.loads((Path(__file__).parents[2] / "specs/config.schema.json").read_text())
    properties = schema["properties"]["linux"]["properties"]["seccomp"]["properties"]
    entry = schema["$defs"]["syscall"]["properties"]
    assert list(seccomp.ACTIONS) == properties["defaultAction"]["enum"] == entry["action"]["enum"]
    assert list(seccomp.ARCHITECTURES) == properties["architectures"]["items"]["enum"]
    assert list(seccomp.FLAGS) == properties["flags"]["items"]["enum"]
    condition = schema["$defs"][entry["args"]["items"]["$ref"].rpartition("/")[2]]["properties"]
    assert set(seccomp.OPERATORS) == set(condition["op"]["enum"])


def steps(filter_: dict[str, Any] | None, **process: Any) -> list[Any]:
    """The whole plan of a container with this filter."""
    document = {
        "ociVersion": "1.3.0",
        "process": {"user": {"uid": 1, "gid": 1}, "cwd": "/", "args": ["/x"], **process},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}], **({"seccomp": filter_} if filter_ else {})},
    }
    bundle = Bundle("/bundle", "/bundle/config.json", compact(document).encode())
    assert spine.require(bundle.config) == []
    return order.make(bundle, Host(Layout("none")), order.Options("id", cgroup_manager="disabled")).steps


def test_plan_without_a_filter() -> None:
    """No property, no step."""
    assert [step for step in steps(None) if "seccomp" in step.name] == []


def test_plan() -> None:
    """Compiled before the clone, loaded right before exec."""
    made = steps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule("read", action="SCMP_ACT_ALLOW")]})
    names = [step.name for step in made]
    assert names.index("compile seccomp filter") < names.index("clone init")
    assert names[-2:] == ["load seccomp filter", "exec"]
    compiled = made[names.index("compile seccomp filter")]
    assert (compiled.text, compiled.pointer, compiled.undoable) == (
        "SCMP_ACT_ERRNO and 1 rule",
        "/linux/seccomp",
        False,
    )
    assert compiled.args == {"failUnknown": False}


def test_plan_with_an_agent() -> None:
    """Between load and exec init waits until the agent has the descriptor."""
    made = steps({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent", "syscalls": [NOTIFY]})
    load, sync, send, end = made[-4:]
    assert isinstance(load, InitStep)
    assert load.args[0] == 1 << 3 | 1 << 2
    assert isinstance(sync, SyncStep)
    assert sync.point == "listener"
    assert isinstance(send, HostStep)
    assert send.args == {"path": "/run/agent", "metadata": ""}
    assert end.name == "exec"


@pytest.mark.parametrize(
    ("flags", "notify", "bits"),
    [
        (None, False, 4),
        ([], False, 0),
        (["LOG"], False, 2),
        (["TSYNC", "LOG", "SPEC_ALLOW"], False, 7),
        (["WAIT_KILLABLE_RECV"], False, 0),  # EINVAL without a listener
        ([], True, 8),
        (["WAIT_KILLABLE_RECV"], True, 32 | 8),
        (["TSYNC"], True, 1 | 8 | 16),  # EINVAL for both without TSYNC_ESRCH
    ],
)
def test_flags(flags: list[str] | None, notify: bool, bits: int) -> None:
    """The flags of seccomp(2) for those of the config."""
    filter_: dict[str, Any] = {"defaultAction": "SCMP_ACT_ALLOW"}
    if flags is not None:
        filter_["flags"] = [f"SECCOMP_FILTER_FLAG_{name}" for name in flags]
    if notify:
        filter_ |= {"listenerPath": "/a", "syscalls": [NOTIFY]}
    load = next(iter(seccomp.plan_load(config(filter_))))
    assert isinstance(load, InitStep)
    assert load.args[0] == bits


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_capability_for_loading(no_new_privileges: bool) -> None:
    """Without noNewPrivileges init keeps CAP_SYS_ADMIN, effective and permitted, and nothing else."""
    made = steps({"defaultAction": "SCMP_ACT_ALLOW"}, noNewPrivileges=no_new_privileges)
    (sets,) = [step for step in made if step.name == "capabilities"]
    kept = 0 if no_new_privileges else 1 << 21
    assert sets.args == (kept, 0, kept, 0, 0, 0, 0, 0)
    assert ("CAP_SYS_ADMIN until exec" in sets.text) != no_new_privileges


def answer(program: bytes, architecture: int, number: int, *arguments: int) -> int:
    """What a filter answers to a call: an interpreter of the part of BPF that filters use."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(*arguments, *(0,) * (6 - len(arguments))))
    code = list(struct.iter_unpack("<HBBI", program))
    place = value = 0
    while True:
        operation, yes, no, operand = code[place]
        place += 1
        if operation == 0x20:
            (value,) = struct.unpack_from("<I", data, operand)
        elif operation == 0x54:
            value &= operand
        elif operation == 0x05:
            place += operand
        elif operation == 0x06:
            return int(operand)
        else:
            tests = {0x15: value == operand, 0x25: value > operand, 0x35: value >= operand}
            place += yes if tests[operation] else no


def program_of(filter_: dict[str, Any], fail_unknown: bool = False) -> tuple[bytes, list[str]]:
    """The program and the warnings."""
    request = seccomp.request(config(filter_), fail_unknown)
    return seccomp_compiler.compile_filter(seccomp_compiler.load_library(), request)


BOTH = ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64", "SCMP_ARCH_X86"]


def test_compiled_program() -> None:
    """Rules, conditions, default and unknown architectures, for architectures that this machine may not be."""
    program, warnings = program_of(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": BOTH,
            "syscalls": [
                rule("read", "execve", action="SCMP_ACT_ALLOW"),
                rule("write", action="SCMP_ACT_ALLOW", args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}]),
            ],
        }
    )
    assert warnings == []
    for architecture, read, write in ((_X86_64, 0, 1), (_AARCH64, 63, 64), (_I386, 3, 4)):
        assert answer(program, architecture, read) == _ALLOW
        assert answer(program, architecture, write, 1) == _ALLOW
        assert answer(program, architecture, write, 2) == _ERRNO | errno.EPERM
    assert answer(program, 0x12345678, 0) == _KILL


def default_answer(filter_: dict[str, Any]) -> int:
    """What the default action answers."""
    request = seccomp.request(config(filter_), fail_unknown=False)
    assert isinstance(request["default"], int)
    return request["default"]


@pytest.mark.parametrize(
    ("default", "unknown"),
    [
        ({"defaultAction": "SCMP_ACT_ERRNO"}, _ERRNO | errno.ENOSYS),
        ({"defaultAction": "SCMP_ACT_KILL_PROCESS"}, _ERRNO | errno.ENOSYS),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": errno.ENOSYS}, _ERRNO | errno.ENOSYS),
        ({"defaultAction": "SCMP_ACT_ALLOW"}, _ALLOW),
        ({"defaultAction": "SCMP_ACT_LOG"}, 0x7FFC0000),
        ({"defaultAction": "SCMP_ACT_TRACE", "defaultErrnoRet": 7}, 0x7FF00007),
    ],
)
def test_numbers_above_the_profile(default: dict[str, Any], unknown: int) -> None:
    """Above the largest number that is named: ENOSYS, for each architecture by itself, or what lets through."""
    rules = [rule("execve", "clone3", action="SCMP_ACT_KILL_THREAD")]
    architectures = ["SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_X86_64"]
    program, _ = program_of({**default, "architectures": architectures, "syscalls": rules})
    for architecture in (_X86_64, _I386, _AARCH64):
        assert answer(program, architecture, 435) == _KILL
        assert answer(program, architecture, 434) == default_answer(default)
        for number in (436, 5000):
            assert answer(program, architecture, number) == unknown
    assert answer(program, _X86_64, 0x40000000 + 435) == _KILL
    assert answer(program, _X86_64, 0x40000000 + 900) == unknown
    assert answer(program, 0x12345678, 5000) == _KILL


def test_largest_number_is_the_architectures_own() -> None:
    """Mkdirat is 258 on x86_64, 296 on i386 and 34 on aarch64: each has its own border."""
    program, _ = program_of(
        {"defaultAction": "SCMP_ACT_TRAP", "architectures": BOTH, "syscalls": [rule("mkdirat")]}
    )
    for architecture, number in ((_X86_64, 258), (_I386, 296), (_AARCH64, 34)):
        assert answer(program, architecture, number) == _ERRNO | errno.EPERM
        assert answer(program, architecture, number - 1) == 0x30000
        assert answer(program, architecture, number + 1) == _ERRNO | errno.ENOSYS


def test_every_architecture_is_taken() -> None:
    """All 23 at once: those that this library or machine has no calls of are named in one warning."""
    program, warnings = program_of(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": list(seccomp.ARCHITECTURES),
            "syscalls": [rule("chroot")],
        }
    )
    (warning,) = warnings
    assert "SCMP_ARCH_S390X" in warning or "SCMP_ARCH_X86_64" in warning
    assert answer(program, _X86_64, 161) == _ERRNO | errno.EPERM


def test_unknown_names() -> None:
    """Skipped, or refused with the annotation; a name that no C string can hold is not a system call's."""
    for name in ("no_such_call", "read\0x", "\udcff"):
        filter_ = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(name, "chroot")]}
        program, _ = program_of(filter_)
        assert answer(program, _X86_64, 161) == _ERRNO | errno.EPERM
        assert answer(program, _X86_64, 0) == _ALLOW
        with pytest.raises(StepFailed) as caught:
            program_of(filter_, fail_unknown=True)
        assert caught.value.pointer == "/linux/seccomp/syscalls/0/names/0"


def test_conflicting_rules_are_named() -> None:
    """What libseccomp refuses names the rule."""
    same = [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}]
    with pytest.raises(StepFailed) as caught:
        program_of(
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [rule("chroot", args=same), rule("chroot", args=same, errnoRet=2)],
            }
        )
    assert caught.value.pointer == "/linux/seccomp/syscalls/1/names/0"
    assert caught.value.errno == errno.EEXIST


def test_program_that_is_too_long() -> None:
    """The kernel takes 4096 instructions."""
    rules = [
        rule("read", errnoRet=number % 4000, args=[{"index": 0, "op": "SCMP_CMP_EQ", "value": number}])
        for number in range(2000)
    ]
    with pytest.raises(StepFailed, match="the kernel takes up to 4096"):
        program_of({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules})


def test_cache(tmp_path: Path) -> None:
    """The second time the program is found; not by another request, nor when a bit of it is wrong."""
    wanted = seccomp.request(config({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule("chroot")]}), False)
    other = seccomp.request(config({"defaultAction": "SCMP_ACT_LOG", "syscalls": [rule("chroot")]}), False)
    root = str(tmp_path)
    program, how, warnings = seccomp_cache.find_or_compile(root, wanted)
    assert how.startswith("compiled by libseccomp 2.")
    assert warnings == []
    assert seccomp_cache.find_or_compile(root, wanted) == (program, "from the cache", [])
    assert seccomp_cache.find_or_compile(root, other)[0] != program
    for path in (tmp_path / seccomp_cache.DIRECTORY).iterdir():
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    again, how, _ = seccomp_cache.find_or_compile(root, wanted)
    assert again == program
    assert how.startswith("compiled")


def test_cache_that_cannot_be_kept(tmp_path: Path) -> None:
    """Without a directory for it the filter is compiled anyway, with a warning."""
    wanted = seccomp.request(config({"defaultAction": "SCMP_ACT_ALLOW"}), False)
    program, how, warnings = seccomp_cache.find_or_compile(str(tmp_path / "missing"), wanted)
    assert answer(program, _X86_64, 161) == _ALLOW
    assert how.startswith("compiled")
    assert len(warnings) == 1
    assert "are not cached" in warnings[0]
