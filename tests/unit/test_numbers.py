# SPDX-License-Identifier: Apache-2.0
"""Has each number that stands in Python and in C the same value on both sides? The C compiler says what C's are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ociruntime import progress
from ociruntime.linux import bind_sources, devices, mounts, namespace_entries, rootfs, uapi
from ociruntime.native import encode, spawn
from ociruntime.step import SyncStep

if TYPE_CHECKING:
    from types import ModuleType

_NATIVE = Path(__file__).parents[2] / "ociruntime" / "native"
_INCLUDES = ("stddef.h", "fcntl.h", "linux/if.h", "linux/mount.h", "linux/sched.h", "stdio.h")

# Flags of an op: each is declared by the subject that plans it.
_FLAGS = {"BIND": bind_sources, "MKNOD": devices, "SYMLINK": devices, "MOUNT": mounts, "ROOT": rootfs}


def _values(expressions: list[str], directory: Path) -> dict[str, int]:
    """Each C expression with its value."""
    source, program = directory / "numbers.c", directory / "numbers"
    lines = [f'  printf("%lld\\n", (long long)({expression}));' for expression in expressions]
    includes = [f"#include <{name}>" for name in _INCLUDES]
    source.write_text(
        "\n".join(
            [
                "#define _GNU_SOURCE",
                *includes,
                '#include "kernel.h"',
                '#include "plan.h"',
                "int main(void) {",
                *lines,
                "}",
            ]
        )
    )
    compiler = shutil.which("gcc") or shutil.which("clang")
    assert compiler, "no C compiler: apt-get install gcc"
    subprocess.run([compiler, f"-I{_NATIVE}", str(source), "-o", str(program)], check=True)
    told = subprocess.run([str(program)], capture_output=True, text=True, check=True).stdout.split()
    return dict(zip(expressions, map(int, told), strict=True))


def _named(module: ModuleType, pattern: str) -> dict[str, int]:
    """The numbers of a module whose names fit."""
    found = {name: value for name, value in vars(module).items() if re.fullmatch(pattern, name)}
    assert found
    assert all(type(value) is int for value in found.values())
    return found


def _handshake() -> dict[str, int]:
    """What progress.py has, as C calls it."""
    phases = ("CREATING", "CREATED", "STARTING", "EXECUTING")
    syncs = _named(progress, "SYNC_[A-Z]+(?<!POINTS)")
    return {
        **{f"PHASE_{name.lower()}": getattr(progress, name) for name in phases},
        **{f"SYNC_{name.removeprefix('SYNC_').lower()}": value for name, value in syncs.items()},
        **{f"SYNC_{name}": value for name, value in progress.SYNC_POINTS.items()},
        **_named(progress, "MESSAGE_(SYNC|ERROR)"),
        "REPLY_CONTINUE": progress.CONTINUE[0],
        "REPLY_GO": progress.GO[0],
        "sizeof(struct plan_message)": progress.MESSAGE_SIZE,
        "offsetof(struct plan_message, pid)": progress.PID_OFFSET,
        "offsetof(struct plan_progress, forked)": progress.FORKED_OFFSET,
        "offsetof(struct plan_progress, phase)": progress.PHASE_OFFSET,
        "offsetof(struct plan_progress, count)": progress.COUNT_OFFSET,
        "offsetof(struct plan_progress, error)": progress.ERROR_OFFSET,
        "offsetof(struct plan_progress, stamps)": progress.STAMPS_OFFSET,
    }


def test_the_handshake(tmp_path: Path) -> None:
    """Phases, sync points, kinds, replies, sizes and offsets are those of handshake.h."""
    expected = _handshake()
    assert len(expected) > 20
    assert _values(list(expected), tmp_path) == expected
    assert spawn.MESSAGE.size == progress.MESSAGE_SIZE
    page = progress.progress_size(0)
    assert page == os.sysconf("SC_PAGE_SIZE")
    records = (page - progress.STAMPS_OFFSET) // 8 - 1
    assert (progress.progress_size(records), progress.progress_size(records + 1)) == (page, 2 * page)


def test_nothing_of_the_handshake_is_missing() -> None:
    """Every sync point and phase of handshake.h has its number in Python."""
    header = (_NATIVE / "handshake.h").read_text()
    syncs = {f"SYNC_{name}" for name in re.findall(r"SYNC\((\w+), \d+\)", header)}
    phases = set(re.findall(r"PHASE_(?!none)\w+", header))
    assert syncs | phases <= set(_handshake())


def test_the_plan(tmp_path: Path) -> None:
    """The header and the records have the sizes of plan.h."""
    one, two = (
        len(encode.encode(list(enumerate([SyncStep("mounted", "")] * count)), [], 3)) for count in (1, 2)
    )
    sizes = {
        "sizeof(struct plan_header)": one - (two - one),
        "sizeof(struct plan_record)": two - one,
        "PLAN_ARGS": encode._ARGUMENTS,
        "PLAN_MAGIC": encode.MAGIC,
    }
    assert _values(list(sizes), tmp_path) == sizes


@pytest.mark.parametrize("prefix", _FLAGS)
def test_flags_of_ops(prefix: str, tmp_path: Path) -> None:
    """A subject that plans an op has each flag of plan.h, by its name, and no other."""
    expected = _named(_FLAGS[prefix], rf"{prefix}_(?!ATTR_)[A-Z_]+")
    declared = re.findall(rf"^  ({prefix}_\w+) = \d+,", (_NATIVE / "plan.h").read_text(), re.MULTILINE)
    assert sorted(expected) == sorted(declared)
    assert _values(list(expected), tmp_path) == expected


@pytest.mark.parametrize("module", [uapi, namespace_entries], ids=lambda module: module.__name__)
def test_the_kernel_s(module: ModuleType, tmp_path: Path) -> None:
    """Constants of the kernel have the values of its headers."""
    expected = _named(module, r"(MS|MOUNT_ATTR|AT|OPEN_TREE|CLONE)_[A-Z_]+|IFNAMSIZ")
    assert _values(list(expected), tmp_path) == expected


def test_flags_stand_once() -> None:
    """No other module of the package has a constant of the same name."""
    package = _NATIVE.parent
    names = {name for module in (progress, uapi, *_FLAGS.values()) for name in vars(module) if name.isupper()}
    shared = {
        name for name in names if re.match(r"(MS|MOUNT|AT|OPEN_TREE|BIND|ROOT|SYMLINK|MKNOD|SYNC)_", name)
    }
    assert len(shared) > 40
    places: dict[str, list[str]] = {}
    for path in sorted(package.rglob("*.py")):
        for targets in re.findall(r"^([A-Z_, ]+) = ", path.read_text(), re.MULTILINE):
            for name in targets.split(", "):
                places.setdefault(name.lstrip("_"), []).append(path.name)
    assert {name: places[name] for name in shared if len(places[name]) > 1} == {}
