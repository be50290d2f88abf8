# SPDX-License-Identifier: Apache-2.0
"""Which share of caches and memory bandwidth does the container get? (config-linux.md, "IntelRdt"; kernel: resctrl)

A group is a directory of the resctrl file system; a process is put into it by its file `tasks`.

    closID   schemata   the group exists    it doesn't
    ------   --------   ----------------    ----------
    none     any        refused             made, named after the container; removed with it (R167, R171)
    given    none       used                refused (R170)
    given    some       compared (R169)     made and written; stays when the container is deleted (R168, R172)

Must not import another subject.
"""

from __future__ import annotations

import errno
import os

from ociruntime.descriptors import Descriptors
from ociruntime.errors import StepFailed, Violation
from ociruntime.step import HostStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.launch.context import Context

KEYS = (
    "/linux/intelRdt",
    "/linux/intelRdt/closID",
    "/linux/intelRdt/schemata",
    "/linux/intelRdt/l3CacheSchema",
    "/linux/intelRdt/memBwSchema",
    "/linux/intelRdt/enableMonitoring",
)

# Directories of resctrl that are not groups.
_RESERVED = ("info", "mon_groups", "mon_data")
_DEFAULT = "/"


def check(config: Node) -> Iterator[Violation]:
    """Yield group names that lead elsewhere in resctrl, and malformed lines."""
    rdt = config.at("linux", "intelRdt")
    group = rdt.at("closID")
    # "/" alone is the default group (R159)
    if group.text() in (".", "..", *_RESERVED) or ("/" in group.text() and group.text() != _DEFAULT):
        yield Violation(
            group.pointer, f"closID is / or the name of a group's directory, not {group.text()!r}", "R159"
        )
    cache = rdt.at("l3CacheSchema")
    if "\n" in cache.text():
        yield Violation(cache.pointer, f"l3CacheSchema must be one line, not {cache.text()!r}", "R160")
    elif cache.text() and not cache.text().startswith("L3:"):
        yield Violation(
            cache.pointer, f"l3CacheSchema should begin with L3:, not {cache.text()!r}", "R160", "warning"
        )


def features(takes: Callable[..., bool]) -> dict[str, object]:
    """Its part of the features document; `takes` says whether check() accepts a config."""
    rdt = {
        "enabled": takes(linux={"intelRdt": {"closID": "x"}}),
        "schemata": takes(linux={"intelRdt": {"schemata": ["L3:0=f"]}}),
        "monitoring": takes(linux={"intelRdt": {"enableMonitoring": True}}),
    }
    return {"linux": {"intelRdt": rdt}}


def plan_make(config: Node, host: Host, container_id: str) -> Iterator[HostStep]:
    """Before the clone: the group, its schemata, and the monitoring group. Pure; without intelRdt nothing (R158)."""
    rdt = config.at("linux", "intelRdt")
    if not rdt:
        return
    name = rdt.at("closID").text()
    group, monitor = _places(config, host, container_id)
    made: list[str] = []  # filled in by the check, written to the journal by what follows
    args: dict[str, object] = {
        "root": host.resctrl,
        "group": group,
        "monitor": monitor,
        "named": bool(name),
        "lines": _lines(rdt),
        "made": made,
    }
    text = name or container_id
    yield HostStep("check_resctrl_group", args, pointer=rdt.pointer, text=text)
    yield HostStep("make_resctrl_group", args, pointer=rdt.pointer, text=text, undoable=True)
    if monitor:
        yield HostStep(
            "make_monitoring_group",
            {"monitor": monitor},
            pointer=rdt.at("enableMonitoring").pointer,
            text=monitor,
            undoable=True,
        )


def plan_join(config: Node, host: Host, container_id: str) -> Iterator[HostStep]:
    """As soon as the pid of init, or of a process that `exec` makes, is known: put it into the group (R156). Pure."""
    rdt = config.at("linux", "intelRdt")
    if rdt:
        yield _join([place for place in _places(config, host, container_id) if place], rdt.pointer)


def plan_update(facts: dict[str, object], root: str, lines: dict[str, str]) -> Iterator[HostStep]:
    """Change the shares of an existing container. Pure.

    facts   from the container's state
    lines   the flag or pointer that asks -> the new line of schemata
    Raises StepFailed if it has no group.
    """
    groups = facts.get("intelrdt")
    asking = " and ".join(lines)
    if not isinstance(groups, list):
        raise StepFailed(
            "the container is not in a resctrl group",
            pointer=asking,
            hint="a container's share can be changed only if its config has intelRdt",
        )
    args: dict[str, object] = {"root": root, "group": str(groups[0]), "lines": list(lines.values())}
    yield HostStep("set_schemata", args, pointer=asking, text=", ".join(lines.values()))


def _join(groups: list[str], pointer: str) -> HostStep:
    return HostStep("join_resctrl_group", {"groups": groups}, pointer=pointer, text=" and ".join(groups))


def _places(config: Node, host: Host, container_id: str) -> tuple[str, str]:
    """Directory of the group, and of the monitoring group or ""."""
    rdt = config.at("linux", "intelRdt")
    name = rdt.at("closID").text() or container_id
    group = host.resctrl if name == _DEFAULT else f"{host.resctrl}/{name}"
    return group, f"{group}/mon_groups/{container_id}" if rdt.at("enableMonitoring").flag() else ""


def _lines(rdt: Node) -> list[str]:
    """What goes into the file schemata: the L3 line, the bandwidth line, the others (R163-R166)."""
    lines = [rdt.at("l3CacheSchema").text(), rdt.at("memBwSchema").text(), *rdt.at("schemata").texts()]
    return [line for line in lines if line]


def apply(step: HostStep, context: Context) -> None:
    """Do one step. OSError names the file; StepFailed says what is wrong with the group."""
    args: dict[str, Any] = step.args
    if step.op == "check_resctrl_group":
        _check(args)
    elif step.op == "make_resctrl_group":
        context.facts["intelrdt"] = [place for place in (args["group"], args["monitor"]) if place]
        for place in args["made"]:
            os.mkdir(place, 0o755)
            if args["lines"]:
                _write_schemata(args)
    elif step.op == "make_monitoring_group":
        os.mkdir(args["monitor"], 0o755)
    elif step.op == "set_schemata":
        _write_schemata(args)
    else:
        for group in args["groups"]:
            _write(f"{group}/tasks", str(context.pid))


def undo(op: str, args: dict[str, object], context: Context) -> None:
    """Remove the groups that were made for this container. Raises OSError if one doesn't go away.

    A group that the config names may have other users: it stays (R172), unless create failed and no process has
    joined the group meanwhile.
    """
    if op == "make_monitoring_group":
        _remove(str(args["monitor"]))
        return
    made = args["made"]
    assert isinstance(made, list)
    for place in made:
        if not args["named"] or not (_was_created(context) or _has_tasks(place)):
            _remove(place)


def _was_created(context: Context) -> bool:
    return any(os.path.exists(f"{context.directory}/{name}") for name in ("state.json", "deleted.json"))


def _check(args: dict[str, Any]) -> None:
    """Is resctrl there, and is the group what the config says it is? What has to be made goes into `made`."""
    if not args["root"]:
        raise StepFailed(
            "resctrl is not mounted",
            hint="mount -t resctrl resctrl /sys/fs/resctrl; the kernel and the CPU must support Intel RDT or AMD QoS",
        )
    group, monitor, lines = args["group"], args["monitor"], args["lines"]
    exists = os.path.isdir(group)
    if exists and not args["named"]:
        raise StepFailed(f"{group} already exists, and is not this container's")
    if exists and lines:
        _compare(f"{group}/schemata", lines)
    if not exists and args["named"] and not lines:
        raise StepFailed(f"{group}: no such group", hint="closID without a schema needs a group that exists")
    if monitor and os.path.isdir(monitor):
        raise StepFailed(f"{monitor} already exists, and is not this container's")
    args["made"][:] = [] if exists else [group]


def _compare(path: str, lines: list[str]) -> None:
    """Would writing the lines change anything? (R169)"""
    with open(path, "rb", buffering=0) as file:
        current = {}
        for line in file.read(1 << 16).decode("ascii", "replace").splitlines():
            resource, shares = _parse(line)
            current[resource] = shares
    for line in lines:
        resource, shares = _parse(line)
        if resource not in current or any(
            current[resource].get(domain) != share for domain, share in shares.items()
        ):
            raise StepFailed(f"{path} has a value other than {line}")


def _parse(line: str) -> tuple[str, dict[str, str]]:
    """`  L3:0=00ff;1=0f` as ("L3", {"0": "ff", "1": "f"}): spaces, case and leading zeros don't count."""
    resource, _, shares = line.partition(":")
    found = {}
    for share in shares.split(";"):
        domain, _, value = share.partition("=")
        plain = value.strip().lower().removeprefix("0x").lstrip("0") or "0"
        if domain.strip():
            found[domain.strip()] = plain
    return resource.strip(), found


def _write_schemata(args: dict[str, Any]) -> None:
    """All lines in one write, so that the kernel takes all of them or none."""
    path = f"{args['group']}/schemata"
    try:
        _write(path, "".join(f"{line}\n" for line in args["lines"]))
    except OSError as failure:
        try:
            with open(f"{args['root']}/info/last_cmd_status", "rb", buffering=0) as file:
                words = file.read(4096).decode("utf-8", "replace").strip()
        except OSError:
            raise failure from None
        raise StepFailed(f"{path}: {words}", errno=failure.errno or 0) from None


def _write(path: str, value: str) -> None:
    try:
        with Descriptors() as opened:
            opened["file"] = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            os.write(opened["file"], value.encode())
    except OSError as failure:
        raise OSError(failure.errno, failure.strerror, path) from None


def _has_tasks(group: str) -> bool:
    """True if processes are in the group: the kernel would remove it nevertheless, and they would lose their share."""
    try:
        with open(f"{group}/tasks", "rb", buffering=0) as file:
            return file.read(1) != b""
    except FileNotFoundError:
        return False


def _remove(group: str) -> None:
    try:
        os.rmdir(group)
    except OSError as failure:
        if failure.errno != errno.ENOENT:  # it was never made, or is removed already
            raise OSError(failure.errno, failure.strerror, group) from None
