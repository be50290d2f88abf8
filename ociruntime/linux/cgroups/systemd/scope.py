# SPDX-License-Identifier: Apache-2.0
"""How is the container's unit started, changed, stopped? The steps of steps.py.

A unit is known to be this container's by its description, which names the state directory: a unit of the same name that
somebody else has made is never stopped. Must not import properties.py or another module that plans.
"""

from __future__ import annotations

import errno
import os

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups.layout import own_paths
from ociruntime.linux.cgroups.systemd import holder
from ociruntime.linux.cgroups.systemd.bus import Refusal, connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ociruntime.launch.context import Context
    from ociruntime.linux.cgroups.systemd.bus import Bus
    from ociruntime.step import HostStep

_FAIL, _REPLACE = "fail", "replace"  # what happens to a job for the unit that waits already
_TAKEN, _NOT_LOADED = "UnitExists", "NoSuchUnit"
# The controllers of cgroup v1 that systemd does not use (systemd.resource-control(5)).
_LEFT_ALONE = ("cpuset", "freezer", "hugetlb", "misc", "net_cls", "net_prio", "perf_event", "rdma")


def apply(step: HostStep, context: Context) -> None:
    """Do one step. Raises StepFailed with the unit, the property and systemd's words; OSError with a cgroup's file."""
    if step.op == "start_scope":
        _start(step.args, context)
    elif step.op == "release_scope":
        holder.release(context)
    elif step.op == "set_unit_properties":
        _set(step.args, context.warnings)
    else:
        raise AssertionError(f"unknown step {step.op}")


def undo(op: str, args: dict[str, Any], context: Context) -> None:
    """Stop the unit and remove what is left of it. Raises StepFailed, or OSError if something does not go away."""
    holder.release(context)
    if op == "start_scope":
        _stop(args, context)


def _start(args: dict[str, Any], context: Context) -> None:
    unit = args["unit"]
    context.facts["cgroups"] = {
        "kind": args["kind"],
        "paths": args["paths"],
        "manager": "systemd",
        "unit": unit,
        "slice": args["slice"],
        "user": args["user"],
        "path": args["path"],
        "mounts": args["mounts"],
    }
    with connect(args["user"]) as bus:
        pid = holder.hold(context)
        try:
            properties = [
                ["Description", ["s", _description(context)]],
                ["Slice", ["s", args["slice"]]],
                ["PIDs", ["au", [pid]]],
                *_told(bus, args["properties"], context.warnings),
            ]
            job = _start_unit(bus, unit, properties)
            result = bus.wait_for_job(job)
        except Refusal as refusal:
            raise _refused(unit, args["properties"], refusal) from None
        except OSError as failure:
            raise _unanswered(unit, "start", failure) from None
        if result != "done":
            raise StepFailed(
                f"unit {unit}: systemd's job to start it ended as {result!r}", hint=f"journalctl -u {unit}"
            )
    _verify(args, pid)
    _make_rest(args)


def _start_unit(bus: Bus, unit: str, properties: list[list[object]]) -> str:
    """Start it; one that has failed before is forgotten first. Returns the job. Raises Refusal or OSError."""
    try:
        return bus.begin_job("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, _FAIL, properties, [])
    except Refusal as refusal:
        if refusal.name != _TAKEN or bus.of_unit(unit, "Unit", "ActiveState") not in ("failed", "inactive"):
            if refusal.name == _TAKEN:
                refusal.words += f" ({_about(bus, unit)})"
            raise
    _forget(bus, unit)
    return bus.begin_job("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, _FAIL, properties, [])


def _about(bus: Bus, unit: str) -> str:
    state, words = bus.of_unit(unit, "Unit", "ActiveState"), bus.of_unit(unit, "Unit", "Description")
    return f"{state}: {words}"


def _description(context: Context) -> str:
    """What `systemctl` shows of the unit, and how it is known again."""
    place = os.fsencode(os.path.realpath(context.directory)).decode(errors="backslashreplace")
    return f"container {context.container_id} ({place})"


def _told(bus: Bus, properties: list[list[Any]], warnings: list[str]) -> list[list[Any]]:
    """The properties that this systemd has, as D-Bus takes them."""
    least = max((since for *_, since in properties), default=0)
    version = bus.version() if least else 0
    told: list[list[Any]] = []
    for name, signature, value, pointer, since in properties:
        if since > version:
            warnings.append(
                f"{pointer}: systemd {version} has no {name} for it, so only the cgroup's file has it"
            )
        else:
            told.append([name, [signature, value]])
    return told


def _refused(unit: str, properties: list[list[Any]], refusal: Refusal) -> StepFailed:
    """The failure in systemd's own words; which property they are about, if they say so."""
    if refusal.name == _TAKEN:
        hint = "choose another cgroupsPath, or stop that unit"
        return StepFailed(f"unit {unit}: the name is taken: {refusal.words}", hint=hint)
    for name, _, value, pointer, _ in properties:
        if _is_about(refusal.words, name):
            reason = f"unit {unit}: property {name} = {str(value)[:80]}: {refusal.words}"
            return StepFailed(reason, pointer=pointer)
    return StepFailed(f"unit {unit}: {refusal.words} ({refusal.name})")


def _is_about(words: str, name: str) -> bool:
    return name in words.replace("'", " ").replace(",", " ").replace(":", " ").replace("=", " ").split()


def _unanswered(unit: str, what: str, failure: OSError) -> StepFailed:
    if isinstance(failure, TimeoutError):
        reason = f"unit {unit}: systemd has not finished to {what} it in time"
        return StepFailed(reason, hint="systemctl list-jobs shows what it is waiting for")
    if failure.errno == errno.EBADMSG:
        return StepFailed(f"unit {unit}: what systemd says can't be understood: {failure.strerror}")
    return StepFailed(f"unit {unit}: the connection to systemd is lost", errno=failure.errno or 0)


def _verify(args: dict[str, Any], pid: int) -> None:
    """Is the unit's cgroup where the plan has it? Else limits would be set elsewhere."""
    with open(f"/proc/{pid}/cgroup", "rb", buffering=0) as file:
        found = own_paths(file.read(65536))
    place = found.get("", found.get("name=systemd", ""))
    if "name=systemd" in args["mounts"] and not place.endswith(f"/{args['unit']}"):
        place = found.get(
            "name=systemd", ""
        )  # a systemd that only uses v1 leaves the cgroup2 hierarchy alone
    if place != args["path"]:
        raise StepFailed(
            f"unit {args['unit']}: systemd has put it into the cgroup {place}, and not into {args['path']}",
            hint="is this systemd that of another machine or container?",
        )


def _make_rest(args: dict[str, Any]) -> None:
    """What systemd does not make: the v1 hierarchies that it leaves alone, and the cgroup below the unit's."""
    from ociruntime.linux.cgroups.make import is_frozen, make_directory
    from ociruntime.linux.cgroups.v1 import inherit_cpuset

    paths: dict[str, str] = args["paths"]
    for controller, directory in paths.items():
        make_directory(directory)
        if is_frozen(controller, directory):
            raise StepFailed(
                f"the cgroup {directory} is frozen: nothing could run in it", hint="is its slice frozen?"
            )
    if "cpuset" in paths:
        inherit_cpuset(paths["cpuset"], args["mounts"]["cpuset"])
    if args["kind"] == "v2" and not paths[""].endswith(args["path"]):
        from ociruntime.linux.cgroups.v2 import enable

        _give_way(f"{args['mounts']['']}{args['path']}", paths[""])
        enable(paths[""], args["mounts"][""], args["controllers"])


def _give_way(directory: str, below: str) -> None:
    """A cgroup with processes can't share out its controllers: the holder goes to where init will be."""
    from ociruntime.linux.cgroups.remove import processes
    from ociruntime.linux.cgroups.v1 import write

    for pid in processes({"": directory}):
        write(f"{below}/cgroup.procs", str(pid).encode())


def _stop(args: dict[str, Any], context: Context) -> None:
    """End what runs in it, let systemd stop and forget it, remove what is left in its cgroups."""
    from ociruntime.linux.cgroups.remove import remove

    unit = args["unit"]
    try:
        reached = connect(args["user"])
    except StepFailed:
        if any(map(os.path.isdir, _made(args))):
            raise
        return  # it was never started, or nothing is left of it
    with reached as bus:
        try:
            if bus.of_unit(unit, "Unit", "Description") == _description(context):
                # Before systemd does it, which asks politely and waits for a minute and a half.
                remove(args["paths"], [], context.deadline)
                _end(bus, unit)
            elif bus.of_unit(unit, "Unit", "LoadState") != "not-found":
                return  # somebody else's, by now or from the beginning
        except Refusal as refusal:
            raise StepFailed(f"unit {unit}: {refusal.words} ({refusal.name})") from None
        except OSError as failure:
            if failure.filename != bus.address:
                raise
            raise _unanswered(unit, "stop", failure) from None
    remove(args["paths"], _made(args), context.deadline)
    _remove_slices(args)


def _remove_slices(args: dict[str, Any]) -> None:
    """In the v1 hierarchies that systemd leaves alone nobody else would; a directory that is in use stays.

    One that stays for good keeps a hierarchy alive that is mounted nowhere any more, and then other runtimes make ordinary
    directories below /sys/fs/cgroup for it.
    """
    for controller in _LEFT_ALONE:
        mount = args["mounts"].get(controller)
        place = os.path.dirname(f"{mount}{args['path']}")
        while mount and place != mount and place.startswith(f"{mount}/"):
            try:
                os.rmdir(place)
            except OSError:
                break
            place = os.path.dirname(place)


def _end(bus: Bus, unit: str) -> None:
    """Stop the unit, and forget one that has failed. Raises Refusal or OSError."""
    try:
        bus.wait_for_job(bus.begin_job("StopUnit", "ss", unit, _REPLACE))
    except Refusal as refusal:
        if refusal.name != _NOT_LOADED:
            raise
    _forget(bus, unit)


def _forget(bus: Bus, unit: str) -> None:
    try:
        bus.ask("ResetFailedUnit", "s", unit)
    except Refusal as refusal:
        if refusal.name != _NOT_LOADED:
            raise


def _made(args: dict[str, Any]) -> list[str]:
    """The unit's cgroup in each hierarchy, and the container's below it; parents first. Slices are systemd's."""
    found: dict[str, None] = {}
    for controller, directory in args["paths"].items():
        found[f"{args['mounts'][controller]}{args['path']}"] = None
        found[directory] = None
    return sorted(found)


def _set(args: dict[str, Any], warnings: list[str]) -> None:
    unit = args["unit"]
    with connect(args["user"]) as bus:
        try:
            told = _told(bus, args["properties"], warnings)
            for name, signature in ((str(one[0]), one[1][0]) for one in told):
                args["before"].append([name, [signature, bus.of_unit(unit, "Scope", name)]])
            _tell(bus, args, told)
        except Refusal as refusal:
            raise _refused(unit, args["properties"], refusal) from None
        except OSError as failure:
            if failure.filename != bus.address:
                raise
            raise _unanswered(unit, "change", failure) from None


def restore(args: dict[str, Any]) -> list[str]:
    """Give the unit the properties back that it had before a step; returns what could not be done, in words."""
    unit = args["unit"]
    try:
        with connect(args["user"]) as bus:
            _tell(bus, args, args["before"])
    except (Refusal, OSError, StepFailed) as failure:
        return [f"unit {unit} is not reset: {failure}"]
    return []


def _tell(bus: Bus, args: dict[str, Any], told: list[list[Any]]) -> None:
    """Change the properties. On v1 systemd then denies all devices and allows the unit's again.

    So that no program sees a device denied, or one that only the exact rules deny, they stand still meanwhile.
    """
    devices = args.get("devices")
    if not devices:
        bus.ask("SetUnitProperties", "sba(sv)", args["unit"], True, told)
        return
    from ociruntime.linux.cgroups.freezer import frozen_for
    from ociruntime.linux.cgroups.make import write_devices

    with frozen_for({"freezer": devices["freezer"]} if devices["freezer"] else {}):
        try:
            bus.ask("SetUnitProperties", "sba(sv)", args["unit"], True, told)
        finally:
            write_devices(devices["directory"], devices["lines"])
