# SPDX-License-Identifier: Apache-2.0
"""Which steps make the container's cgroup, set its limits and put init into it? Pure.

The limits are set before init joins, so that nothing of the container ever runs without them; only a
pids.max of 0 or 1 on cgroup2 is set later, while init waits.
With the manager "disabled" nothing is planned, limits included: that is what the flag asks for.
"""

from __future__ import annotations

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups import delegation, devices, joining
from ociruntime.linux.cgroups.paths import container_paths
from ociruntime.linux.cgroups.resources import settings_v1, settings_v2
from ociruntime.step import HostStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.linux.cgroups.layout import Layout
    from ociruntime.linux.cgroups.setting import Setting
    from ociruntime.step import InitStep


def directories(config: Node, host: Host, container_id: str, manager: str) -> dict[str, str]:
    """The container's directory per v1 controller, "" for v2; empty without a manager or a mount."""
    if manager == "disabled":
        return {}
    return container_paths(host.cgroups, config.at("linux", "cgroupsPath").text(), container_id)


def plan_make(config: Node, host: Host, container_id: str, manager: str) -> Iterator[HostStep]:
    """Check that the cgroup can be used, make it, set its limits and device rules.

    Raises StepFailed if the machine lacks a controller that a limit needs, NotSupported if this cgroup
    version can't express a value.
    """
    if manager == "disabled":
        return
    layout = host.cgroups
    resources = config.at("linux", "resources")
    if layout.kind == "none":
        _refuse_without_mount(config)
        return
    paths = directories(config, host, container_id, manager)
    settings = list(settings_of(resources, layout))
    require_controllers(layout, settings)

    # One object for both steps: the first notes in `made` which directories do not exist yet, and so the
    # journal entry of the second says what may be removed later, and what was there before us (R238).
    args: dict[str, object] = {
        "kind": layout.kind,
        "paths": paths,
        "mounts": {"": layout.v2, **layout.controllers} if layout.v2 else dict(layout.controllers),
        "made": [],
        "controllers": enabled(layout, settings) if layout.kind == "v2" else [],
    }
    text = _where(layout, paths)
    yield HostStep("check_cgroup", args, pointer=_pointer(config), text=text)
    yield HostStep("make_cgroup", args, pointer=_pointer(config), text=text, undoable=True)
    for setting in settings:
        if not _is_late(layout, setting):
            yield _set(layout, paths, setting)
    yield from _plan_devices(config, layout, paths)
    if layout.kind == "v2" and config.at("mounts"):
        yield from delegation.plan(config, layout, paths[""])


def plan_late(config: Node, host: Host, container_id: str, manager: str) -> Iterator[HostStep]:
    """Once init exists, and before it goes on: limits under which it could not have been cloned."""
    layout = host.cgroups
    if manager == "disabled" or layout.kind != "v2":
        return
    paths = directories(config, host, container_id, manager)
    for setting in settings_of(config.at("linux", "resources"), layout):
        if _is_late(layout, setting):
            yield _set(layout, paths, setting)


def _is_late(layout: Layout, setting: Setting) -> bool:
    """A clone into a cgroup2 directory counts as a fork there: init itself, and a helper before it."""
    return layout.kind == "v2" and setting.file == "pids.max" and setting.value in ("0", "1")


def _set(layout: Layout, paths: dict[str, str], setting: Setting) -> HostStep:
    return setting.step(paths["" if layout.kind == "v2" else setting.controller])


def settings_of(resources: Node, layout: Layout, held: Node | None = None) -> Iterator[Setting]:
    """The limits for this machine's cgroup version; for an update, `held` are those in force.

    Raises NotSupported if this cgroup version can't express a value.
    """
    return settings_v2(resources, held) if layout.kind == "v2" else settings_v1(resources, held)


def plan_open(config: Node, host: Host, container_id: str, manager: str) -> Iterator[HostStep]:
    """Open what init needs to put itself into its cgroup; see plan/joining.py."""
    yield from joining.plan_open(directories(config, host, container_id, manager), _pointer(config))


def plan_join_self(config: Node, host: Host, container_id: str, manager: str) -> Iterator[InitStep]:
    """Init's part; see plan/joining.py."""
    yield from joining.plan_join_self(directories(config, host, container_id, manager), _pointer(config))


def _plan_devices(config: Node, layout: Layout, paths: dict[str, str]) -> Iterator[HostStep]:
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
    elif any(rule.pointer for rule in rules):
        raise StepFailed(
            "the cgroup controller 'devices' is not mounted, so the device rules can't be set",
            pointer=pointer,
        )


def require_controllers(layout: Layout, settings: list[Setting]) -> None:
    """Refuse a limit whose controller this machine lacks (R154, and the same for v1)."""
    for setting in settings:
        if setting.optional or not setting.controller:
            continue
        if layout.kind == "v2":
            if setting.controller not in layout.v2_controllers:
                raise StepFailed(
                    f"the cgroup controller {setting.controller!r} is not in {layout.v2}/cgroup.controllers",
                    pointer=setting.pointer,
                )
        elif setting.controller not in layout.controllers:
            raise StepFailed(
                f"the cgroup controller {setting.controller!r} is not mounted, "
                f"only {', '.join(layout.controllers)} are",
                pointer=setting.pointer,
            )


def _refuse_without_mount(config: Node) -> None:
    """Without any cgroup mount a container can run, but not if its config asks for a cgroup or a limit."""
    linux = config.at("linux")
    for node in (linux.at("cgroupsPath"), *(member for _, member in linux.at("resources").members())):
        if len(node):
            raise StepFailed("no cgroup hierarchy is mounted on this machine", pointer=node.pointer)


def enabled(layout: Layout, settings: list[Setting]) -> list[str]:
    """v2 controllers that the limits need; make.py adds those that are good to have."""
    needed = {setting.controller for setting in settings if not setting.optional and setting.controller}
    return sorted(needed & set(layout.v2_controllers))


def _pointer(config: Node) -> str:
    """cgroupsPath, if the config has one; else the steps belong to every container."""
    node = config.at("linux", "cgroupsPath")
    return node.pointer if node else ""


def _where(layout: Layout, paths: dict[str, str]) -> str:
    """`/x (cpu, memory), /own/x (pids)`: the paths below the mounts, for people."""
    places: dict[str, list[str]] = {}
    for controller, path in paths.items():
        mount = layout.controllers[controller] if controller else layout.v2
        name = controller or ("unified" if layout.kind == "hybrid" else "")
        places.setdefault(path[len(mount) :], []).append(name)
    return ", ".join(f"{path} ({', '.join(names)})" if any(names) else path for path, names in places.items())
