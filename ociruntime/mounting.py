# SPDX-License-Identifier: Apache-2.0
"""Mounts in a container that exists: `mounts add` and `mounts remove`, as in crun.

    runtime                                 a process of ours
    sources of binds, pidfd of init
    clone ------------------------------->  enters the namespaces: one setns; opens the container's root
              <----------- mounted -------  mounts one entry, or takes one away
    notes it ------------- continue ----->  ... the next one
    ends the process

A source is a path of the host, which the runtime opens first. A destination is resolved in the container's root by
descriptor, with the same ops as in create. No program of the container is run. Only mounts that were added can be removed:
those that create made protect the container, or belong to it. If one entry fails, those before it are unmounted again.
After kill -9 they stay until the container ends. This module must not import a verb, creation or starting.
"""

from __future__ import annotations

import errno
import os

from ociruntime import host, joining, schema
from ociruntime.bundle import load_config
from ociruntime.config import Node
from ociruntime.errors import (
    InvalidConfig,
    NoSuchContainer,
    NotSupported,
    RuntimeFailure,
    StepFailed,
    Violation,
    WrongState,
)
from ociruntime.execution import target_of
from ociruntime.launch import Launch
from ociruntime.linux import mounts, namespaces
from ociruntime.linux.cgroups.layout import Layout
from ociruntime.linux.mount_options import is_id_mapped, parse as options_of
from ociruntime.naming import named
from ociruntime.process_order import has_label
from ociruntime.run import Run
from ociruntime.step import HostStep, InitStep, Plan, SyncStep
from ociruntime.trace import Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ociruntime.container import Container
    from ociruntime.joining import Target
    from ociruntime.step import Step

_SUBJECT = "mounting"
# What they show depends on the process that mounts them: its pid namespace, its cgroups.
_OF_CREATE = ("proc", "cgroup")
_REFUSALS = ("stopped", "creating")


def add(container: Container, entries: object) -> None:
    """Mount these entries of config.json's `mounts` in a container that is created, running or paused.

    Raises InvalidConfig, NotSupported, WrongState, StepFailed; then nothing has been mounted.
    """
    _locked(container, lambda: _add(container, entries))


def remove(container: Container, entries: object) -> None:
    """Unmount what `add` mounted; of each entry only the destination counts.

    Raises InvalidConfig, WrongState, StepFailed; the entries before the failing one have been unmounted.
    """
    _locked(container, lambda: _remove(container, entries))


def apply(step: HostStep, run: Run) -> None:
    """Note what has been done so far, for undo and for state.json."""
    done = run.facts.setdefault("done", [])
    assert isinstance(done, list)
    done.append(str(step.args["destination"]))


def _locked(container: Container, act: Callable[[], None]) -> None:
    """Nobody deletes the container, or changes its mounts, meanwhile."""
    directory = container.directory
    if container.status() in _REFUSALS:
        raise WrongState("container not running")
    if not directory.lock(wait=True, create=os.path.exists(directory.file("state.json"))):
        raise NoSuchContainer(container.id)
    try:
        stored = directory.read_state()
        if stored is None:
            raise NoSuchContainer(container.id)
        container.stored = stored
        act()
    finally:
        directory.unlock()


def _add(container: Container, entries: object) -> None:
    kept = load_config(container.directory.file("config.json"))
    config = _with(kept, entries)
    _require(config)
    run = _run(container, config)
    try:
        _carry_out(container, run, lambda machine, target: plan_add(config, machine, run.bundle, target))
    except BaseException as failure:
        _take_back(container, kept, _done(run), failure)
        raise
    _added(container).extend(_done(run))
    container.directory.write_state(container.stored)


def _take_back(container: Container, kept: Node, done: list[str], failure: BaseException) -> None:
    """After a failure: unmount what was mounted, last first."""
    if not done:
        return
    config = _with(kept, [{"destination": place} for place in reversed(done)])
    try:
        _carry_out(container, _run(container, config), lambda _, target: plan_remove(config, target))
    except RuntimeFailure as second:
        if isinstance(failure, RuntimeFailure):
            failure.reason += f"; and then: {second}"


def _remove(container: Container, entries: object) -> None:
    config = _with(load_config(container.directory.file("config.json")), entries)
    held = _added(container)
    left = list(held)
    for entry in config.at("mounts"):
        place = mounts.destination_of(entry)
        if place not in left:
            pointer = entry.at("destination").pointer
            reason = f"nothing that `mounts add` has mounted is on {place}"
            raise InvalidConfig([Violation(pointer, reason)], all_shown=True)
        left.remove(place)
    run = _run(container, config)
    try:
        _carry_out(container, run, lambda _, target: plan_remove(config, target))
    except StepFailed as failure:
        if failure.errno == errno.EINVAL:
            failure.hint = "nothing is mounted there any more"
        raise
    finally:
        for place in _done(run):
            held.remove(place)
        container.directory.write_state(container.stored)


def _with(kept: Node, entries: object) -> Node:
    """The container's config with these mounts in the place of its own."""
    assert isinstance(kept.value, dict)
    config = Node({**kept.value, "mounts": entries})
    if not schema.fast_valid(config.value):
        wrong = [one for one in schema.explain(config.value) if one.pointer.startswith("/mounts")]
        raise InvalidConfig([named(config, one) for one in wrong], all_shown=True)
    return config


def _require(config: Node) -> None:
    """Refuse what can't be added to a container that exists, and what create would refuse."""
    wrong = [one for one in mounts.check(config) if one.severity == "error"]
    if wrong:
        raise InvalidConfig([named(config, one) for one in wrong], all_shown=True)
    if not namespaces.has(config, "mount"):
        raise NotSupported("the container has no mount namespace of its own: not supported yet")
    for entry in config.at("mounts"):
        what = ""
        if is_id_mapped(entry):
            what = "an id-mapped mount"
        elif entry.at("type").text() in _OF_CREATE:
            what = f"a mount of type {entry.at('type').text()}"
        elif options_of(entry.at("options").texts()).remount:
            what = "a remount"
        if what:
            place = mounts.destination_of(entry)
            reason = f"mount on {place}: {what} in a container that exists is not supported yet"
            raise NotSupported(reason, pointer=entry.pointer)


def plan_add(config: Node, machine: host.Host, bundle: str, target: Target) -> Plan:
    """Mount the entries of a checked config, one after the other; pure."""
    body: list[Step] = []
    entries = mounts.read(config, bundle, "", by_runtime=True)
    for step in mounts.plan(config, machine, entries, {}):
        first = not any(before.pointer == step.pointer for before in body)
        body.append(step)
        if first:
            body += _noted(_destination(config, step.pointer), step.pointer)
    body += mounts.plan_read_only(entries)
    sources = mounts.plan_sources(config, machine, entries, {})
    steps = [*sources, *_inside(config, target, body)]
    if has_label(config):
        from ociruntime.linux import lsm

        steps = [*lsm.labelled(steps, config, machine)]
    return Plan(steps, 0, [])


def plan_remove(config: Node, target: Target) -> Plan:
    """Unmount the destinations of a config's entries; pure."""
    body: list[Step] = []
    for entry in config.at("mounts"):
        place = mounts.destination_of(entry)
        body.append(InitStep("unmount", place, pointer=entry.pointer, text=place))
        body += _noted(place, entry.pointer)
    return Plan([*_inside(config, target, body)], 0, [])


def _destination(config: Node, pointer: str) -> str:
    return next(mounts.destination_of(entry) for entry in config.at("mounts") if entry.pointer == pointer)


def _noted(place: str, pointer: str) -> Iterator[Step]:
    yield SyncStep("mounted", place, pointer)
    yield HostStep(_SUBJECT, "note mount", {"destination": place}, pointer=pointer, text=place)


def _inside(config: Node, target: Target, body: Iterable[Step]) -> Iterator[Step]:
    """A process of ours in the container's namespaces; not in its cgroup, which may be frozen."""
    yield from joining.plan_open(config, target)
    users = namespaces.has(config, "user")
    # Without the fork it stays out of the pid namespace, where a container that may trace could get at the sources. With
    # a user namespace the container may not, and the process can mount its procfs in the pid namespace only.
    for step in joining.plan_enter(config):
        if users or not (isinstance(step, InitStep) and step.op == "fork"):
            yield step
    if users:
        from ociruntime.linux import idmap

        # So that mount points belong to the container's root user, not to nobody.
        yield from idmap.plan_root(config)
    yield InitStep("setsid", text="a session without a terminal")
    yield from joining.plan_root(config, target)
    yield from body
    yield SyncStep("mounted", "all of it")


def _carry_out(container: Container, run: Run, planned: Callable[[host.Host, Target], Plan]) -> None:
    target = target_of(container, [])
    target.cgroups = {}
    made = planned(host.probe(run.config, Layout("none")), target)
    launch = Launch(
        made, run, None, fd_base=3, stdio=(-1, -1, -1), commit=lambda: None, trace=Trace("", "mounts")
    )
    try:
        launch.carry_out()
    except StepFailed as failure:
        if failure.errno == errno.ESRCH:  # setns by a pidfd: init is ending, its namespaces are gone
            raise WrongState("container not running") from None
        raise
    finally:
        launch.give_up()


def _run(container: Container, config: Node) -> Run:
    return Run(container.id, str(container.stored["bundle"]), container.directory.path, config)


def _done(run: Run) -> list[str]:
    done = run.facts.get("done", [])
    assert isinstance(done, list)
    return done


def _added(container: Container) -> list[str]:
    """What was added and not yet removed, as state.json keeps it."""
    facts = container.stored["facts"]
    assert isinstance(facts, dict)
    added = facts.setdefault("mounts", [])
    assert isinstance(added, list)
    return added
