# SPDX-License-Identifier: Apache-2.0
"""Which steps change the limits of an existing container? Those for the limits that are named, and no others.

What an update does not name stays as it is, device rules included, as with runc. It is all or nothing: if a limit is
refused, those that were set before it get their old values again. Must not import config or another subject.
"""

from __future__ import annotations

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups.planner import enabled, require_controllers, settings_of
from ociruntime.linux.cgroups.v1 import read
from ociruntime.step import HostStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ociruntime.config import Node
    from ociruntime.errors import Violation
    from ociruntime.linux.cgroups.placement import Placement

# Where 0 is a value; elsewhere it is "not set" (resources.py).
_ZERO_COUNTS = (("cpu", "idle"), ("cpu", "burst"), ("memory", "swappiness"))


def check(resources: Node, held: Node) -> Iterator[Violation]:
    """The rules between what is to be set and what is in force."""
    from ociruntime.linux.cgroups import resources as limits

    yield from limits.check(resources, held)


def plan(resources: Node, held: Node, placement: Placement) -> Iterator[HostStep]:
    """The steps for the resources, a tree as in the config; `held` are those in force. Pure.

    Raises StepFailed if the container has no cgroup for a limit, NotSupported if v1 or v2 has no equivalent.
    """
    layout = placement.layout
    settings = list(settings_of(resources, layout, held))
    require_controllers(layout, settings)
    v2 = layout.kind == "v2"
    for setting in settings:
        if not v2 and setting.controller not in placement.paths and not setting.optional:
            raise StepFailed(
                f"the container has no cgroup of the controller {setting.controller!r}",
                pointer=setting.pointer,
                hint="it was not mounted when the container was created",
            )
    memory = resources.at("memory")
    wish = memory.at("checkBeforeUpdate") or held.at("memory", "checkBeforeUpdate")
    if v2 and wish.flag():  # on v1 the kernel itself refuses a limit below what is in use
        yield from _plan_check(memory, placement.paths[""])
    controllers = enabled(layout, settings) if v2 else []
    if controllers:
        yield HostStep(
            "enable_controllers",
            {"directory": placement.paths[""], "mount": layout.v2, "controllers": controllers},
            pointer=next(one.pointer for one in settings if one.controller in controllers),
            text=", ".join(controllers),
        )
    for setting in settings:
        if v2 or setting.controller in placement.paths:
            yield setting.step(placement.directory(setting.controller))


def _plan_check(memory: Node, directory: str) -> Iterator[HostStep]:
    for name, files in (("limit", ["memory.current"]), ("swap", ["memory.current", "memory.swap.current"])):
        node = memory.at(name)
        if node.number() > 0:
            yield HostStep(
                "check_memory_in_use",
                {"files": [f"{directory}/{file}" for file in files], "limit": node.number()},
                pointer=node.pointer,
                text=f"below {node.number()}",
            )


def check_use(args: dict[str, Any]) -> None:
    """The step "check memory in use". Raises StepFailed if more is used than the new limit allows (R143)."""
    used = 0
    for file in args["files"]:
        try:
            used += int(read(file))
        except FileNotFoundError:
            continue  # no swap accounting
    if used > args["limit"]:
        raise StepFailed(f"{used} bytes are in use, and the new limit is {args['limit']}")


def overlaid(held: object, resources: object) -> dict[str, object]:
    """The resources that hold after an update: `resources` over `held`, both as in the config."""
    result = dict(held) if isinstance(held, dict) else {}
    for name, value in resources.items() if isinstance(resources, dict) else ():
        if name == "devices":
            continue  # an update leaves the rules as they are
        old = result.get(name)
        if isinstance(value, dict):
            kept = dict(old) if isinstance(old, dict) else {}
            kept.update((key, new) for key, new in value.items() if _says_something(name, key, new))
            if name == "memory" and kept.get("limit") == -1 and not value.get("swap"):
                kept["swap"] = -1  # it was set with the limit (resources.py)
            result[name] = kept
        elif value:
            result[name] = value
    return result


def _says_something(group: str, name: str, value: object) -> bool:
    if value == 0 and value is not False:
        return (group, name) in _ZERO_COUNTS
    if isinstance(value, str):
        return bool(value.strip())
    return value not in (None, [], {})
