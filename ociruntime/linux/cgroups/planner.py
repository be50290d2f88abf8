# SPDX-License-Identifier: Apache-2.0
"""Which steps make the container's cgroup and set its limits? Pure. (How init gets into it: membership.py.)

The limits are set before init joins, so that nothing of the container ever runs without them; only a
pids.max of 0 or 1 on cgroup2 is set later, while init waits.
With the manager "disabled" nothing is planned, limits included: that is what the flag asks for.
"""

from __future__ import annotations

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups import delegation, devices
from ociruntime.linux.cgroups.resources import settings_v1, settings_v2
from ociruntime.step import HostStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.linux.cgroups.layout import Layout
    from ociruntime.linux.cgroups.placement import Placement
    from ociruntime.linux.cgroups.setting import Setting


def plan_make(config: Node, placement: Placement) -> Iterator[HostStep]:
    """Check that the cgroup can be used, make it, set its limits and device rules.

    Raises StepFailed if the machine lacks a controller that a limit needs, NotSupported if this cgroup
    version can't express a value.
    """
    if placement.manager == "disabled":
        return
    layout, paths = placement.layout, placement.paths
    if layout.kind == "none":
        _refuse_without_mount(config, layout)
        return
    settings = list(settings_of(config.at("linux", "resources"), layout))
    require_controllers(layout, settings)

    # One object for both steps: the first notes in `made` which directories do not exist yet, and so the
    # journal entry of the second says what may be removed later, and what was there before us (R238).
    args: dict[str, object] = {
        "kind": layout.kind,
        "paths": paths,
        "mounts": layout.mounts(),
        "made": [],
        "controllers": enabled(layout, settings) if layout.kind == "v2" else [],
    }
    if placement.manager == "systemd":
        from ociruntime.linux.cgroups.systemd import steps

        needed = enabled(layout, settings) if layout.kind == "v2" else []
        yield from steps.plan_start(config, placement, settings, devices.rules(config), needed)
    else:
        text = _where(placement)
        yield HostStep("check_cgroup", args, pointer=placement.pointer, text=text)
        yield HostStep("make_cgroup", args, pointer=placement.pointer, text=text, undoable=True)
    for setting in settings:
        if not _is_late(placement, setting):
            yield setting.step(placement.directory(setting.controller))
    yield from _plan_devices(config, placement)
    if layout.kind == "v2" and config.at("mounts"):
        yield from delegation.plan(config, layout, paths[""])


def plan_late(config: Node, placement: Placement) -> Iterator[HostStep]:
    """Once init exists, and before it goes on: limits under which it could not have been cloned."""
    layout = placement.layout
    if not placement.paths or layout.kind == "none":
        return
    settings = list(settings_of(config.at("linux", "resources"), layout))
    if placement.manager == "systemd":
        from ociruntime.linux.cgroups.systemd import steps

        yield from steps.plan_tasks(placement, settings)
    for setting in settings:
        if _is_late(placement, setting):
            yield setting.step(placement.directory(setting.controller))


def plan_release(placement: Placement, *, joins_itself: bool) -> Iterator[HostStep]:
    """Once init is in its cgroup: on v2 by the clone, on v1 when it has joined by itself."""
    if placement.manager == "systemd" and joins_itself == (placement.layout.kind != "v2"):
        from ociruntime.linux.cgroups.systemd import steps

        yield from steps.plan_release(placement)


def _is_late(placement: Placement, setting: Setting) -> bool:
    """A clone into a cgroup2 directory counts as a fork there: init itself, a helper before it, and what holds a scope."""
    late = ("0", "1", "2") if placement.manager == "systemd" else ("0", "1")
    return placement.layout.kind == "v2" and setting.file == "pids.max" and setting.value in late


def settings_of(resources: Node, layout: Layout, held: Node | None = None) -> Iterator[Setting]:
    """The limits for this machine's cgroup version; for an update, `held` are those in force.

    Raises NotSupported if this cgroup version can't express a value.
    """
    return settings_v2(resources, held) if layout.kind == "v2" else settings_v1(resources, held)


def _plan_devices(config: Node, placement: Placement) -> Iterator[HostStep]:
    layout, paths = placement.layout, placement.paths
    if layout.rootless:
        return  # only the host's root may set them, as in runc
    rules = devices.rules(config)
    listed = config.at("linux", "resources", "devices")
    pointer = listed.pointer if listed else ""
    if "devices" in layout.controllers:
        directory = paths["devices"]
        for place, lines in devices.writes_v1(rules):
            yield HostStep(
                "set_device_rules",
                {"directory": directory, "lines": lines},
                pointer=place,
                text=", ".join(f"{file.rpartition('.')[2]} {line}" for file, line in lines),
            )
    elif layout.v2:
        # The program does its work in any cgroup2 hierarchy, with or without controllers.
        yield HostStep(
            "load_device_program",
            {"directory": paths[""], "rules": [rule.as_list() for rule in rules]},
            pointer=pointer,
            text="; ".join(str(rule) for rule in rules),
        )
    elif any(rule.pointer for rule in rules) and not {"devices", ""} & layout.closed.keys():
        raise StepFailed(
            "the cgroup controller 'devices' is not mounted, so the device rules can't be set",
            pointer=pointer,
            hint=controller_cure(layout.kind, "devices"),
        )


def require_controllers(layout: Layout, settings: list[Setting]) -> None:
    """Refuse a limit whose controller this machine lacks (R154, and the same for v1)."""
    for setting in settings:
        if setting.optional or not setting.controller:
            continue
        if setting.controller in layout.closed:
            raise _closed(layout, setting.controller, setting.pointer)
        if layout.kind == "v2":
            if setting.controller not in layout.v2_controllers:
                raise StepFailed(
                    f"the cgroup controller {setting.controller!r} is not in {layout.v2}/cgroup.controllers",
                    pointer=setting.pointer,
                    hint=controller_cure("v2", setting.controller),
                )
        elif setting.controller not in layout.controllers:
            raise StepFailed(
                f"the cgroup controller {setting.controller!r} is not mounted, "
                f"only {', '.join(layout.controllers)} are",
                pointer=setting.pointer,
                hint=controller_cure(layout.kind, setting.controller),
            )


def _closed(layout: Layout, controller: str, pointer: str) -> StepFailed:
    """A limit without the right to make a cgroup that could have it."""
    place = layout.closed.get(controller) or next(iter(layout.closed.values()))
    only_v2 = "" in layout.closed and len(layout.closed) == 1
    return StepFailed(
        f"the container gets no cgroup that could have this limit: {place} is not writable for this user",
        pointer=pointer,
        hint=cgroup2_delegation(place, layout.user) if only_v2 else CGROUP1_DELEGATION,
    )


def _refuse_without_mount(config: Node, layout: Layout) -> None:
    """Without any cgroup mount a container can run, but not if its config asks for a cgroup or a limit.

    Where there are mounts that a rootless runtime may not use, only limits are refused, and device rules left out.
    """
    linux = config.at("linux")
    if layout.closed:
        for name, member in linux.at("resources").members():
            if len(member) and name != "devices":
                raise _closed(layout, name, member.pointer)
        return
    for node in (linux.at("cgroupsPath"), *(member for _, member in linux.at("resources").members())):
        if len(node):
            raise StepFailed(
                "no cgroup hierarchy is mounted on this machine",
                pointer=node.pointer,
                hint=f"{HIERARCHY_CURE}, or without limits --cgroup-manager disabled",
            )


# These are here and not in linux/refusals, which takes them over, because planning must not import anything.
CGROUP1_DELEGATION = (
    "boot with systemd.unified_cgroup_hierarchy=1, as only cgroup v2 can be delegated, or leave limits out"
)
HIERARCHY_CURE = "mount -t cgroup2 cgroup2 /sys/fs/cgroup"


def cgroup2_delegation(directory: str, user: int) -> str:
    """What lets a user make cgroups in that directory of cgroup2, or elsewhere.

    user   0: root of a user namespace, whose id on the host is not known here
    """
    files = " ".join(f"{directory}{name}" for name in ("", "/cgroup.procs", "/cgroup.subtree_control"))
    scope = "systemd-run --user --scope -p Delegate=yes ociruntime ..., or leave limits out"
    return f"{scope}; or as root: chown {user or 'USER'} {files}"


def controller_cure(kind: str, controller: str) -> str:
    """What gives a controller that a limit needs; `kind` is the layout's."""
    if kind == "v2":
        return (
            f"echo +{controller} > cgroup.subtree_control in each cgroup above; for a user under systemd: systemctl edit "
            "user@.service, with [Service] Delegate=cpu cpuset io memory pids"
        )
    place = f"/sys/fs/cgroup/{controller}"
    return f"mkdir {place} && mount -t cgroup -o {controller} cgroup {place}"


def enabled(layout: Layout, settings: list[Setting]) -> list[str]:
    """v2 controllers that the limits need; make.py adds those that are good to have."""
    needed = {setting.controller for setting in settings if not setting.optional and setting.controller}
    return sorted(needed & set(layout.v2_controllers))


def _where(placement: Placement) -> str:
    """`/x (cpu, memory), /own/x (pids)`: the paths below the mounts, for people."""
    places: dict[str, list[str]] = {}
    mounts = placement.layout.mounts()
    for controller, path in placement.paths.items():
        name = controller or ("unified" if placement.layout.kind == "hybrid" else "")
        places.setdefault(path[len(mounts[controller]) :], []).append(name)
    return ", ".join(f"{path} ({', '.join(names)})" if any(names) else path for path, names in places.items())
