# SPDX-License-Identifier: Apache-2.0
"""How does a test let a step fail for which no config.json can be the cause? The command with an edited plan.

    edited_plan.py EDIT global-flags verb ...      the command, with one step of its plan changed or added

A program of its own, because it changes what plan.make answers. Must not import the harness.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from errno import EIO, EMFILE, EPERM, EROFS
from typing import TYPE_CHECKING

from ociruntime import cli
from ociruntime.native.encode import named
from ociruntime.plan import order
from ociruntime.step import HostStep, InitStep, SyncStep

if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.bundle import Bundle
    from ociruntime.host import Host
    from ociruntime.step import Argument, Step

POINTER = "/forced"
_ALL = 0xFFFFFFFF


def _place(steps: list[Step], name: str) -> int:
    """Number of the first step with this op, sync point or name."""
    for index, step in enumerate(steps):
        known = {step.name, getattr(step, "op", ""), getattr(step, "point", "")}
        if name in known:
            return index
    raise SystemExit(f"the plan has no step {name}")


def _add(op: str, *args: Argument, before: str = "", after: str = "") -> Callable[[list[Step]], None]:
    """An init step is added before or after another one."""

    def edit(steps: list[Step]) -> None:
        place = _place(steps, before or after) + (1 if after else 0)
        steps.insert(place, InitStep(op, *args, name=f"forced {op}", pointer=POINTER))

    return edit


def _change(op: str, **values: Argument) -> Callable[[list[Step]], None]:
    """Arguments of an init step are replaced, by their names in plan.h."""

    def edit(steps: list[Step]) -> None:
        step = steps[_place(steps, op)]
        assert isinstance(step, InitStep)
        args = named(step)
        assert args.keys() >= values.keys()
        step.args = tuple({**args, **values}.values())
        step.name, step.pointer = f"forced {op}", POINTER

    return edit


def _change_host(op: str, **values: object) -> Callable[[list[Step]], None]:
    """Arguments of a host step are replaced."""

    def edit(steps: list[Step]) -> None:
        step = steps[_place(steps, op)]
        assert isinstance(step, HostStep)
        step.args = {**step.args, **values}
        step.pointer = POINTER

    return edit


def _add_host(op: str, args: dict[str, object], before: str) -> Callable[[list[Step]], None]:
    def edit(steps: list[Step]) -> None:
        steps.insert(_place(steps, before), HostStep(op, args, pointer=POINTER))

    return edit


def _join_a_mount(steps: list[Step]) -> None:
    """The descriptor of a mount in place of a cgroup's file."""
    slot = next(step.args[0] for step in steps if isinstance(step, InitStep) and step.op == "mount_tree")
    _add("join_cgroup", slot, before="setsid")(steps)


def _refuse(*numbers: int, first: int, error: int = EPERM) -> Callable[[list[Step]], None]:
    """No change of the plan: this process, and so init, may not do these system calls with that first argument."""

    def edit(_steps: list[Step]) -> None:
        for number in numbers:
            load_filter(number, first, error)

    return edit


def load_filter(number: int, first: int, error: int = EPERM) -> None:
    """Refuse system call `number` if the low half of its first argument is `first`. seccomp(2)"""
    load, equal, answer = 0x20, 0x15, 0x06
    words = [
        (load, 0, 0, 0),  # the number
        (equal, 0, 3, number),
        (load, 0, 0, 16),  # the first argument, low half
        (equal, 0, 1, first),
        (answer, 0, 0, 0x00050000 | error),  # SECCOMP_RET_ERRNO
        (answer, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *word) for word in words))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(words), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(22, 2, ctypes.byref(program), 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


_PERSONALITY, _PRCTL, _CLOSE_RANGE, _FCHOWN, _FSTAT, _NEWFSTATAT = 135, 157, 436, 93, 5, 262  # x86_64
_PRLIMIT, _ACCEPT4 = 302, 288
_PR_SET_NO_NEW_PRIVS = 38
_MS_SHARED_AND_PRIVATE = 1 << 20 | 1 << 18

EDITS: dict[str, Callable[[list[Step]], None]] = {
    "none": lambda _steps: None,
    "join_cgroup": _join_a_mount,
    "join": _change("join", types=0x04000000),  # CLONE_NEWUTS, but the descriptor is a network namespace
    "fork": _change("fork", flags=0x00000800),  # CLONE_SIGHAND without CLONE_VM
    "unshare": _add("unshare", 0x00000001, before="setsid"),
    "setsid": _add("setsid", after="setsid"),
    "keyring_permissions": _change("keyring_permissions", permissions=_ALL),
    "session_keyring": _add("session_keyring", ".reserved", after="setsid"),
    "hostname": _change("hostname", name="x" * 65),
    "domainname": _add("domainname", "x" * 65, after="hostname"),
    "loopback": _add("loopback", before="ready"),
    "propagation": _change("propagation", flags=_MS_SHARED_AND_PRIVATE),
    "root": _change("root", path="/no/such/rootfs"),
    "mount_attributes": _change("mount_attributes", destination="/no/such/place"),
    "terminal": _add("terminal", 0, 0, before="pivot_root"),
    "terminal_owner": _add("terminal_owner", 1, before="ready"),  # without CAP_CHOWN, of /dev/null
    "console": _add("console", "/etc/passwd/console", before="pivot_root"),
    "symlink": _add("symlink", "/etc/passwd/link", "target", 0, before="pivot_root"),
    "mkdir": _add("mkdir", "/etc/passwd/directory", 0o755, before="pivot_root"),
    "pivot_root": _add("pivot_root", after="pivot_root"),
    "move_root": _add("move_root", after="pivot_root"),
    "chroot": _add("chroot", before="ready"),
    "root_attributes": _change("root_attributes", set=1 << 30),
    "xattr": _add("xattr", "/etc", "nonsense", "x", before="pivot_root"),
    "xattr: bind": _add("xattr", "/mnt", "user.x", "x", before="pivot_root"),
    "affinity": _change("affinity", cpus=[0, 0]),
    "personality": _refuse(_PERSONALITY, first=8),
    "attribute": _add("attribute", "no-such", "x", before="bounding"),
    "groups": _add("groups", ["1"], before="ready"),
    "bounding": _add("bounding", 0, 0, before="ready"),
    "stream_owner": _refuse(_FCHOWN, first=1, error=EIO),
    "stream_owner: fstat": _refuse(_FSTAT, _NEWFSTATAT, first=1, error=EIO),  # libc may use either
    "stream_owner: ignored": _refuse(_FCHOWN, first=1, error=EROFS),
    "user": _add("user", 1, 1, before="ready"),
    "capabilities": _add("capabilities", _ALL, _ALL, _ALL, _ALL, 0, 0, 0, 0, before="ready"),
    "no_new_privs": _refuse(_PRCTL, first=_PR_SET_NO_NEW_PRIVS),
    "rlimit": _refuse(_PRLIMIT, first=0),  # its own
    "wait_start": _refuse(_ACCEPT4, first=3, error=EMFILE),
    "close_from": _refuse(_CLOSE_RANGE, first=3),
    "seccomp": _change("seccomp", flags=1 << 31),  # no such flag
    "set device rules": _add_host(
        "set_device_rules",
        {"directory": "/no/such/cgroup", "lines": [["devices.deny", "a"]]},
        "clone_init",
    ),
    "set device rules: line": _change_host(
        "set_device_rules", lines=[["devices.allow", "c 1:3 rwm"], ["devices.deny", "z"]]
    ),
    "load device program": _add_host(
        "load_device_program", {"directory": "/no/such/cgroup", "rules": []}, "clone_init"
    ),
    "delegate cgroup": _add_host("delegate_cgroup", {"directory": "/no/such/cgroup", "uid": 1}, "clone_init"),
    "enable controllers": _add_host(
        "enable_controllers",
        {"directory": "/no/such/cgroup", "mount": "/no/such", "controllers": []},
        "clone_init",
    ),
    "check memory in use": _add_host(
        "check_memory_in_use", {"files": ["/no/such/file"], "limit": -1}, "clone_init"
    ),
    "set schemata": _add_host(
        "set_schemata",
        {"root": "/no/such", "group": "/no/such/resctrl", "lines": ["L3:0=f"]},
        "clone_init",
    ),
    "open cgroup": _add_host("open_cgroup", {"slots": {"cgroup": "/no/such/cgroup"}}, "clone_init"),
    "set I/O priority": _change_host("set_io_priority", priority=5 << 13),
    "make resctrl group": _add_host(
        "make_resctrl_group",
        {"group": "", "monitor": "", "made": ["/no/such/resctrl/x"], "lines": []},
        "clone_init",
    ),
    "make monitoring group": _add_host(
        "make_monitoring_group",
        {"monitor": "/no/such/resctrl/mon_groups/x"},
        "clone_init",
    ),
    "join resctrl group": _add_host("join_resctrl_group", {"groups": ["/no/such/resctrl/x"]}, "clone_init"),
    "make notify directory": _add_host(
        "make_notify_directory", {"path": "/no/such/directory/notify"}, "clone_init"
    ),
    "raise descriptor limit": _add_host("raise_descriptor_limit", {"count": 1 << 30}, "clone_init"),
    "give descriptor limit": _add_host("give_descriptor_limit", {}, "clone_init"),
    "set oom_score_adj": _change_host("set_oom_score_adj", value=5000),
}


def main(name: str, argv: list[str]) -> int:
    """The command with the plan that the edit makes of its own."""
    make = order.make

    def edited(bundle: Bundle, host: Host, options: order.Options) -> order.Plan:
        made = make(bundle, host, options)
        steps = list(made.steps)
        EDITS[name](steps)
        assert any(isinstance(step, SyncStep) for step in steps)
        return order.Plan(steps, made.clone_flags, made.warnings)

    order.make = edited
    return cli.main(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
