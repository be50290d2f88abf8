# SPDX-License-Identifier: Apache-2.0
"""Subject: which cgroup is the container in, and what may it use? (/linux/cgroupsPath, /linux/resources)

The package is one subject. Here is only its front: what `check` asks, and how its host steps are done and undone. It
loads nothing, because many verbs come through here for one file: delete, kill and ps for remove.py, pause for
freezer.py, exec for membership.py. What create and run need starts in placement.py and planner.py. The folder systemd/
is the driver for units; its steps don't come through here.
Must not import another subject, verbs, launch or statedir.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.config import Node
    from ociruntime.errors import Violation
    from ociruntime.launch.context import Context
    from ociruntime.step import HostStep


def check(config: Node) -> Iterator[Violation]:
    """Yield what is wrong with the path, in the limits and between them."""
    from ociruntime.linux.cgroups import devices, placement, resources

    yield from placement.check(config)
    yield from devices.check(config)
    yield from resources.check(config.at("linux", "resources"))


def features(takes: Callable[..., bool]) -> dict[str, object]:
    """Its part of the features document; `takes` says whether check() accepts a config."""
    rdma = takes(linux={"resources": {"rdma": {"x": {"hcaHandles": 1}}}})
    cgroup = {"v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": rdma}
    return {"linux": {"cgroup": cgroup}}


def apply(step: HostStep, context: Context) -> None:
    """Carry out one of our steps. Raises OSError (with the cgroup's file) or StepFailed."""
    if step.op == "open_cgroup":  # all that exec needs
        from ociruntime.linux.cgroups.membership import open_files

        open_files(step, context)
    else:
        from ociruntime.linux.cgroups.make import apply as carry_out

        carry_out(step, context)


def undo(op: str, args: dict[str, object], context: Context) -> None:
    """Remove what make_cgroup made. Raises OSError if something in it doesn't go away."""
    if op == "make_cgroup":
        from ociruntime.linux.cgroups.remove import remove

        remove(args["paths"], args["made"], context.deadline)  # type: ignore[arg-type]
