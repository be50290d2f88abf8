# SPDX-License-Identifier: Apache-2.0
"""Carry out the steps of planner.py: make the cgroup and write its limits.

Must not import planner, resources or devices: the steps say what to do.
"""

from __future__ import annotations

import os

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups.v1 import inherit_cpuset, read, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ociruntime.launch.context import Context
    from ociruntime.step import HostStep

_MKDIR_TRIES = 5


def apply(step: HostStep, context: Context) -> None:
    """Do one step. OSError names the cgroup's file; StepFailed says why the cgroup is unfit."""
    try:
        _apply(step, context)
    except StepFailed as failure:
        failure.pointer, failure.step = step.pointer, step.name
        raise


def _apply(step: HostStep, context: Context) -> None:
    args: dict[str, Any] = step.args
    if step.op == "check_cgroup":
        _check(args)
    elif step.op == "make_cgroup":
        _make(args, context)
    elif step.op == "set_cgroup":
        from ociruntime.linux.cgroups.setting import set_limit

        set_limit(args, context.warnings)
    elif step.op == "set_device_rules":
        write_devices(args["directory"], args["lines"])
    elif step.op == "load_device_program":
        from ociruntime.linux.cgroups.ebpf import attach

        attach(args["directory"], args["rules"])
    elif step.op == "check_memory_in_use":
        from ociruntime.linux.cgroups.update import check_use

        check_use(args)
    elif step.op == "enable_controllers":
        from ociruntime.linux.cgroups.v2 import enable

        enable(args["directory"], args["mount"], args["controllers"])
    elif step.op == "delegate_cgroup":
        from ociruntime.linux.cgroups.delegation import give

        give(args["directory"], args["uid"])
    else:
        raise AssertionError(f"unknown step {step.op}")


def _check(args: dict[str, Any]) -> None:
    """Is the cgroup fit for a new container (R123), and which directories have to be made?"""
    made: list[str] = []
    for controller, directory in args["paths"].items():
        mount = args["mounts"][controller]
        missing = []
        place = directory
        while place != mount and not os.path.isdir(place):
            missing.append(place)
            place = place[: place.rindex("/")]
        if not missing:
            _require_empty(directory)
        if place != mount and is_frozen(controller, place):
            raise StepFailed(f"the cgroup {place} is frozen: nothing could run in it")
        made += [path for path in reversed(missing) if path not in made]
    args["made"][:] = made


def _require_empty(directory: str) -> None:
    from ociruntime.linux.cgroups.remove import processes

    found = processes({"": directory})
    if found:
        shown = ", ".join(str(pid) for pid in found[:5])
        raise StepFailed(
            f"the cgroup {directory} is not empty: {len(found)} processes are in it ({shown})",
            hint="choose another cgroupsPath, or end those processes",
        )


def is_frozen(controller: str, directory: str) -> bool:
    """Would a process in it stop at once? `controller` is "freezer", or "" for v2; others can't freeze."""
    if controller == "freezer":
        return read(f"{directory}/freezer.state").strip() != b"THAWED"
    if controller == "":
        return b"frozen 1" in read(f"{directory}/cgroup.events")
    return False


def _make(args: dict[str, Any], context: Context) -> None:
    paths = args["paths"]
    context.facts["cgroups"] = {"kind": args["kind"], "paths": paths}
    for directory in args["made"]:
        make_directory(directory)
    if "cpuset" in paths:
        inherit_cpuset(paths["cpuset"], args["mounts"]["cpuset"])
    if args["kind"] == "v2":
        from ociruntime.linux.cgroups.v2 import enable

        enable(paths[""], args["mounts"][""], args["controllers"])


def make_directory(directory: str) -> None:
    """Make a directory and those above it, which others may be making, or removing, at the same time."""
    for _ in range(_MKDIR_TRIES):
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            return
        except FileNotFoundError:
            make_directory(directory[: directory.rindex("/")])
        else:
            return
    os.mkdir(directory, 0o755)


def write_devices(directory: str, lines: list[list[str]]) -> None:
    """Write each line to its file, in order, with as few opens as the order allows."""
    index = 0
    while index < len(lines):
        file = lines[index][0]
        end = index
        while end < len(lines) and lines[end][0] == file:
            end += 1
        path = f"{directory}/{file}"
        try:
            write(path, *(line.encode() for _, line in lines[index:end]))
        except OSError as failure:
            if failure.filename2 is None:
                raise
            from ociruntime.linux.refusals.cgroups import remedy

            number = failure.errno or 0
            what = f"{file.rpartition('.')[2]} {failure.filename2}: {path}"
            raise StepFailed(what, errno=number, hint=str(remedy(number, path) or "")) from None
        index = end
