# SPDX-License-Identifier: Apache-2.0
"""Subject: which cgroup is the container in, and what may it use? (/linux/cgroupsPath, /linux/resources)

The package is one subject. create and run need planner.py and make.py; delete, kill and state need only
remove.py or freezer.py: so everything is imported by the function that needs it.
Must not import another subject, verbs, launch or statedir.
"""

from __future__ import annotations

from ociruntime.errors import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.launch.context import Context
    from ociruntime.step import HostStep, InitStep

# The key of the slot with the cgroup2 directory that init is cloned into (CLONE_INTO_CGROUP).
CLONE_SLOT = "cgroup2"

_R = "/linux/resources"
KEYS = (
    "/linux/cgroupsPath",
    _R,
    *(f"{_R}/devices{tail}" for tail in ("", "/*/allow", "/*/type", "/*/major", "/*/minor", "/*/access")),
    *(
        f"{_R}/memory{tail}"
        for tail in (
            "",
            "/limit",
            "/reservation",
            "/swap",
            "/kernel",
            "/kernelTCP",
            "/swappiness",
            "/disableOOMKiller",
            "/useHierarchy",
            "/checkBeforeUpdate",
        )
    ),
    *(
        f"{_R}/cpu{tail}"
        for tail in (
            "",
            "/shares",
            "/quota",
            "/burst",
            "/period",
            "/realtimeRuntime",
            "/realtimePeriod",
            "/cpus",
            "/mems",
            "/idle",
        )
    ),
    *(f"{_R}/pids{tail}" for tail in ("", "/limit")),
    *(f"{_R}/blockIO{tail}" for tail in ("", "/weight", "/leafWeight", "/weightDevice")),
    *(f"{_R}/blockIO/weightDevice/*/{name}" for name in ("major", "minor", "weight", "leafWeight")),
    *(
        f"{_R}/blockIO/throttle{what}Device{tail}"
        for what in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
        for tail in ("", "/*/major", "/*/minor", "/*/rate")
    ),
    *(f"{_R}/hugepageLimits{tail}" for tail in ("", "/*/pageSize", "/*/limit")),
    *(
        f"{_R}/network{tail}"
        for tail in ("", "/classID", "/priorities", "/priorities/*/name", "/priorities/*/priority")
    ),
    *(f"{_R}/rdma{tail}" for tail in ("", "/*", "/*/hcaHandles", "/*/hcaObjects")),
    *(f"{_R}/unified{tail}" for tail in ("", "/*")),
)


def check(config: Node) -> Iterator[Violation]:
    """Yield what is wrong with the path, in the limits and between them."""
    from ociruntime.linux.cgroups.paths import check_path
    from ociruntime.linux.cgroups.resources import check_resources

    resources = config.at("linux", "resources")
    yield from check_path(config)
    for entry in resources.at("devices"):
        if not entry.at("allow"):
            reason = "is required; false is assumed: access is denied"
            yield Violation(entry.at("allow").pointer, reason, "R139", "warning")
    yield from check_resources(resources)


def features(takes: Callable[..., bool]) -> dict[str, object]:
    """Its part of the features document; `takes` says whether check() accepts a config."""
    rdma = takes(linux={"resources": {"rdma": {"x": {"hcaHandles": 1}}}})
    cgroup = {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": rdma}
    return {"linux": {"cgroup": cgroup}}


def directories(config: Node, host: Host, container_id: str, manager: str) -> dict[str, str]:
    """The container's cgroup directory per v1 controller, "" for v2; empty if it gets none. Pure."""
    from ociruntime.linux.cgroups.planner import directories as planned

    return planned(config, host, container_id, manager)


def plan_make(config: Node, host: Host, container_id: str, manager: str) -> Iterator[HostStep]:
    """Before the clone: make the cgroup and set its limits. Raises StepFailed or NotSupported."""
    from ociruntime.linux.cgroups.planner import plan_make as planned

    return planned(config, host, container_id, manager)


def plan_late(config: Node, host: Host, container_id: str, manager: str) -> Iterator[HostStep]:
    """Once init exists, and before it goes on: limits under which it could not have been cloned."""
    from ociruntime.linux.cgroups.planner import plan_late as planned

    return planned(config, host, container_id, manager)


def plan_open(config: Node, host: Host, container_id: str, manager: str) -> Iterator[HostStep]:
    """Before the clone: open what init needs to put itself into its cgroup."""
    from ociruntime.linux.cgroups.planner import plan_open as planned

    return planned(config, host, container_id, manager)


def plan_join_self(config: Node, host: Host, container_id: str, manager: str) -> Iterator[InitStep]:
    """Init's own part of joining: the v1 hierarchies; it is cloned into the cgroup2 one."""
    from ociruntime.linux.cgroups.planner import plan_join_self as planned

    return planned(config, host, container_id, manager)


def apply(step: HostStep, context: Context) -> None:
    """Carry out one of our steps. Raises OSError (with the cgroup's file) or StepFailed."""
    from ociruntime.linux.cgroups.make import apply as carry_out

    carry_out(step, context)


def undo(op: str, args: dict[str, object], context: Context) -> None:
    """Remove what make_cgroup made. Raises OSError if something in it doesn't go away."""
    if op == "make_cgroup":
        from ociruntime.linux.cgroups.remove import remove

        remove(args["paths"], args["made"], context.deadline)  # type: ignore[arg-type]
