# SPDX-License-Identifier: Apache-2.0
"""Probes: which cgroup hierarchies are there, can a cgroup be made and joined, and are the controllers there that limits need?

They leave nothing behind; `remove` is for the parent, in case that one was killed.
"""

from __future__ import annotations

import os

from ociruntime.errors import RuntimeFailure
from ociruntime.inspect.doctor.answers import Answer, Case, Lacking, lacking, restricted, works
from ociruntime.linux.cgroups import devices
from ociruntime.linux.cgroups.placement import container_paths
from ociruntime.linux.cgroups.planner import require_controllers, settings_of
from ociruntime.linux.cgroups.v1 import inherit_cpuset, write
from ociruntime.linux.refusals import Remedy, cgroups as refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.linux.cgroups.layout import Layout

# Controllers whose limits engines set with their default settings.
_USUAL = ("cpu", "cpuset", "memory", "pids")


def hierarchies(case: Case) -> Answer:
    """The version, and where it is mounted."""
    layout = case.layout
    if layout.kind == "none":
        raise lacking(refusals.no_hierarchy())
    if layout.kind == "v2":
        return works(f"v2 at {layout.v2}")
    v1 = f"v1 in {len(layout.hierarchies())} hierarchies"
    return works(f"hybrid: {v1}, and v2 at {layout.v2}" if layout.v2 else v1)


def controllers(case: Case) -> Answer:
    """Those that the config's limits need, or that engines use."""
    layout = case.layout
    if layout.kind == "none":
        raise lacking(refusals.no_hierarchy())
    there = _there(layout)
    limits = list(settings_of(case.config.at("linux", "resources"), layout))
    try:
        require_controllers(layout, limits)
    except RuntimeFailure as failure:
        names = [
            one.controller
            for one in limits
            if one.controller and not one.optional and one.controller not in there
        ]
        remedy = (
            refusals.no_controller(layout.kind, names[0]) if names else Remedy(failure.reason, failure.hint)
        )
        raise lacking(remedy) from None
    absent = [name for name in _USUAL if name not in there]
    if absent:
        return restricted(
            refusals.no_controller(layout.kind, absent[0]),
            f"{', '.join(there) or 'none'}; not {', '.join(absent)}",
        )
    return works(", ".join(there))


def _there(layout: Layout) -> list[str]:
    if layout.kind != "v2":
        return sorted(name for name in layout.controllers if not name.startswith("name="))
    own = layout.own.get("", "/")
    above = "/".join(["", *[name for name in own.split("/") if name][:-1]])
    try:
        with open(f"{layout.v2}{above}/cgroup.controllers", encoding="ascii") as file:
            return sorted(file.read().split())
    except OSError:
        return sorted(layout.v2_controllers)


def make(case: Case) -> Answer:
    """A cgroup of the doctor's in each hierarchy, with a process in it, as the cgroupfs driver makes one."""
    if case.layout.kind == "none":
        raise lacking(refusals.no_hierarchy())
    try:
        for place in _places(case):
            os.mkdir(place)
        if "cpuset" in case.layout.controllers:
            inherit_cpuset(_paths(case)["cpuset"], case.layout.mounts()["cpuset"])
        _join(case)
    except OSError as failure:
        number, path = failure.errno or 0, os.fsdecode(failure.filename or "")
        raise Lacking(path, number, refusals.remedy(number, path)) from None
    finally:
        _remove(_places(case))
    places = _places(case)
    return works(f"in {os.path.dirname(places[0])}" if len(places) == 1 else f"in {len(places)} hierarchies")


def device_rules(case: Case) -> Answer:
    """The config's device rules on such a cgroup: a list on v1, an eBPF program on v2."""
    if case.layout.kind == "none":
        raise lacking(refusals.no_hierarchy())
    place = _place_of_rules(case)
    if not place:
        raise lacking(refusals.no_controller(case.layout.kind, "devices"))
    rules = devices.rules(case.config)
    try:
        os.mkdir(place)
        if "devices" in case.layout.controllers:
            for _, lines in devices.writes_v1(rules):
                for file, line in lines:
                    write(f"{place}/{file}", line.encode())
            return works("the controller devices of cgroup v1")
        from ociruntime.linux.cgroups.ebpf import attach

        attach(place, [rule.as_list() for rule in rules])
        return works("an eBPF program on cgroup v2")
    except OSError as failure:
        number, path = failure.errno or 0, os.fsdecode(failure.filename or "bpf")
        raise Lacking(path, number, refusals.remedy(number, path)) from None
    finally:
        _remove([place])


def remove(case: Case) -> None:
    """The cgroups of all probes, if they are there: a probe that has been killed could not do it."""
    rules = _place_of_rules(case)
    _remove([*_places(case), *([rules] if rules else [])])


def _remove(places: list[str]) -> None:
    """Those that are there; where a process has been killed a moment ago, that takes as long as its end."""
    from ociruntime.linux.cgroups.remove import remove as remove_cgroup

    for place in places:
        if os.path.isdir(place):
            remove_cgroup({"": place}, [place])


def _place_of_rules(case: Case) -> str:
    """A directory that no other probe uses, or "" if there is no hierarchy for device rules."""
    paths = _paths(case)
    place = paths.get("devices") or paths.get("")
    return f"{place}-rules" if place else ""


def _paths(case: Case) -> dict[str, str]:
    return container_paths(case.layout, "", case.name)


def _places(case: Case) -> list[str]:
    """Each directory once; without those that no limit needs, as the hierarchy of systemd."""
    return list(dict.fromkeys(_paths(case).values()))


def _join(case: Case) -> None:
    """A process that does nothing else goes into all of them, and ends."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(writing)
            os.read(reading, 1)
        finally:
            os._exit(0)
    os.close(reading)
    try:
        for place in _places(case):
            write(f"{place}/cgroup.procs", str(pid).encode())
    finally:
        os.close(writing)
        os.waitpid(pid, 0)
