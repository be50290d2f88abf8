# SPDX-License-Identifier: Apache-2.0
"""The update operation: other limits for a container that exists, all of them or none.

What it sets is kept in state.json, because a later update needs to know it; the kept config.json stays as
create read it (R207). This module must not import a verb.
"""

from __future__ import annotations

import os

from ociruntime import host
from ociruntime.check import schema
from ociruntime.config import Node
from ociruntime.container import ALLOWED, SPEC_VERSION
from ociruntime.errors import InvalidConfig, NoSuchContainer, RuntimeFailure, StepFailed, WrongState
from ociruntime.linux.cgroups import devices, setting, update
from ociruntime.linux.cgroups.placement import Placement
from ociruntime.operations.recover import context_of
from ociruntime.ops import module_of
from ociruntime.statedir import StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ociruntime.container import Container
    from ociruntime.launch.context import Context
    from ociruntime.statedir import Record
    from ociruntime.step import HostStep


def change(container: Container, resources: object, schemata: dict[str, str] | None = None) -> list[str]:
    """Set these limits; see api.Container.update. Returns warnings."""
    config = Node({"ociVersion": SPEC_VERSION, "root": {"path": "/"}, "linux": {"resources": resources}})
    if not schema.fast_valid(config.value):
        raise InvalidConfig(schema.explain(config.value))
    if container.unfinished == "delete":
        raise WrongState(
            "cannot update a container that is being deleted", hint="; ".join(container.warnings)
        )
    if container.status() not in ALLOWED["update"]:
        raise WrongState("container not running")
    # An object of its own, so that its lock ends with it: the caller keeps its container, whatever exception comes.
    directory = StateDir(os.path.dirname(container.directory.path), container.id)
    if not directory.lock(wait=True, create=directory.has("state.json")):
        raise NoSuchContainer(container.id)
    try:
        record = directory.read_state()
        if record is None:
            raise NoSuchContainer(container.id)
        container.record = record
        return _change(container, config.at("linux", "resources"), schemata or {})
    finally:
        directory.unlock()


def ignored(resources: object) -> list[str]:
    """What a resources object names and an update leaves out: device rules, and names that no specification has.

    The shim of a snapshot, which has no schema, only tells of device rules: engines write no unknown names.
    """
    document = Node({"linux": {"resources": resources}})
    rules = document.at("linux", "resources", "devices")
    told = [f"{rules.pointer}: ignored: an update leaves the device rules as they are"] if len(rules) else []
    from ociruntime.native import full_python

    if full_python.form == "snapshot":
        return told
    from ociruntime.check.unknown import unknown_names

    return told + [f"{found.pointer}: ignored: {found.reason}" for found in unknown_names(document)]


def _change(container: Container, resources: Node, schemata: dict[str, str]) -> list[str]:
    record = container.record
    container.cgroup_paths()  # refuses one that has none
    held = Node(record.resources) or container.directory.config().at("linux", "resources")
    found = list(update.check(resources, held))
    wrong = [violation for violation in found if violation.severity == "error"]
    if wrong:
        raise InvalidConfig(wrong)
    machine = host.probe(Node({"linux": {"intelRdt": {}}}) if schemata else None)
    after = update.overlaid(held.value, resources.value)
    placement = Placement(machine.cgroups, record.cgroup_paths)
    steps = list(update.plan(resources, held, placement))
    if record.unit:
        rules = devices.rules(container.directory.config())
        steps = after_checks(steps, _plan_unit(record, placement, [held, Node(after)], rules))
    if schemata:
        from ociruntime.linux import intelrdt

        steps += intelrdt.plan_update(record.facts, machine.resctrl, schemata)
    context = context_of(container.directory, record, needs_config=False)
    context.warnings += [f"{violation.pointer}: {violation.reason}" for violation in found]
    values: list[list[str]] = []
    try:
        _carry_out(steps, context, values)
        record.set_resources(after)
        container.directory.write_state(record)
    except RuntimeFailure as failure:
        failure.and_then([*_restore_unit(steps), *setting.restore(values)])
        raise
    return context.warnings


def _plan_unit(
    record: Record, placement: Placement, resources: list[Node], rules: list[devices.Rule]
) -> Iterable[HostStep]:
    """What systemd hears of the new limits before they are set, because it may set what it knows at any time."""
    from ociruntime.linux.cgroups.planner import settings_of
    from ociruntime.linux.cgroups.systemd import names, steps

    placement.unit = names.Unit(record.unit, "", "")
    layout = placement.layout
    before, after = (list(settings_of(one, layout)) for one in resources)
    return steps.plan_update(placement, before, after, rules)


def after_checks(steps: list[HostStep], of_unit: Iterable[HostStep]) -> list[HostStep]:
    """The unit's steps before all others but the checks: under a limit that systemd has set the kernel already kills."""
    checks = [step for step in steps if step.op == "check_memory_in_use"]
    return [*checks, *of_unit, *(step for step in steps if step not in checks)]


def _restore_unit(steps: Iterable[HostStep]) -> list[str]:
    problems: list[str] = []
    for step in steps:
        if step.op == "set_unit_properties" and step.args["before"]:
            from ociruntime.linux.cgroups.systemd import scope

            problems += scope.restore(step.args)
    return problems


def _carry_out(steps: list[HostStep], context: Context, values: list[list[str]]) -> None:
    """Do the steps; `values` is filled with what the files had before."""
    files: set[str] = set()
    first = next((step for step in steps if step.op == "set_unit_properties"), None)
    for step in steps:
        try:
            if step is first:  # systemd writes the same files
                for later in steps:
                    _hold(later, files, values)
            elif first is None:
                _hold(step, files, values)
            module_of(step.op).apply(step, context)
        except StepFailed as failure:
            failure.pointer = failure.pointer or step.pointer
            failure.step = step.describe() if step is not first else step.name
            raise
        except OSError as failure:
            from ociruntime.launch.launch import step_failed

            raise step_failed(step, failure) from None


def _hold(step: HostStep, files: set[str], values: list[list[str]]) -> None:
    """Note what the files of a step have."""
    if step.op != "set_cgroup":
        return
    for file, value in setting.held(step.args):
        # if a file is written twice, the first is the old value; lines for devices add up
        if file not in files or "unset" in step.args:
            values.append([file, value])
            files.add(file)
