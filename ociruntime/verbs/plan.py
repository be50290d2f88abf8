# SPDX-License-Identifier: Apache-2.0
"""`plan`: print what create and start would do on this machine, step by step, with the property behind each step.

Nothing is done, so neither root nor the root filesystem is needed. docs/internals/plan.md describes both formats.
"""

from __future__ import annotations

from ociruntime import bundle
from ociruntime.check import check
from ociruntime.cli.log import emit
from ociruntime.errors import printable
from ociruntime.host import probe_for
from ociruntime.jsontext import indented
from ociruntime.linux import namespace_entries
from ociruntime.plan import order
from ociruntime.step import InitStep, shown
from ociruntime.verbs import config_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.step import Plan, Step
    from ociruntime.verbs import Settings

FORMAT_VERSION = 1
PLACEHOLDER = "ID"  # for the container's id, which is a part of some names

_INTRODUCTION = """\
# {path}: {count} steps
# host: done by the runtime, outside. init: done by the container's first process, inside its new namespaces.
# sync: init waits here until the host's steps that follow are done. <- the property of config.json that causes the step.
"""


def run(settings: Settings, given: Arguments) -> int:
    """Check the config, make the plan, print it."""
    directory, path = config_of(given.words)
    loaded = bundle.load(directory, path)
    for warning in check.require(loaded.config):
        settings.log.tell_warning(f"plan: {warning}")
    options = order.Options(
        container_id=PLACEHOLDER, cgroup_manager=settings.cgroup_manager, rootless=settings.rootless
    )
    machine = probe_for(loaded.config, options)
    if machine.uid != 0 and not namespace_entries.has(loaded.config, "user"):
        # Only root can run it: the plan is the one that root would carry out, with all capabilities.
        machine.rootless, machine.groups, machine.capabilities = False, machine.cgroups, -1
    if options.cgroup_manager != "disabled" and machine.cgroups.kind == "none":
        options.cgroup_manager = "disabled"
        settings.log.tell_warning(
            "plan: no cgroup hierarchy is mounted: this is the plan of --cgroup-manager disabled"
        )
    made = order.make(loaded, machine, options)
    for warning in made.warnings:
        settings.log.tell_warning(f"plan: {warning}")
    if given.text("format") == "json":
        emit(indented(as_document(path, made)) + "\n")
    elif given.text("format") == "html":
        from ociruntime.plan.page import page

        emit(page(path, made))
    else:
        emit(as_text(path, made))
    return 0


def as_document(path: str, made: Plan) -> dict[str, object]:
    """The plan as docs/internals/plan.md describes it."""
    steps = [
        {"index": index, **step.as_dict(), **_arguments(step)} for index, step in enumerate(made.steps, 1)
    ]
    return {"planVersion": FORMAT_VERSION, "config": path, "cloneFlags": made.clone_flags, "steps": steps}


def _arguments(step: Step) -> dict[str, object]:
    """An init step's arguments with their names, which are in the C part."""
    if not isinstance(step, InitStep):
        return {}
    from ociruntime.native.encode import named

    return {"arguments": {name: shown(argument) for name, argument in named(step).items()}}


def as_text(path: str, made: Plan) -> str:
    """The plan for people: number, side, what is done, and why."""
    digits = len(str(len(made.steps)))
    lines = []
    for index, step in enumerate(made.steps, 1):
        reason = f"  <- {step.pointer}" if step.pointer else ""
        done = step.text if step.where == "sync" else step.describe()
        lines.append(f"{index:{digits}}  {step.where:4}  {printable(done + reason)}\n")
    return _INTRODUCTION.format(path=printable(path), count=len(made.steps)) + "".join(lines)
