# SPDX-License-Identifier: Apache-2.0
"""How does a process get into an existing cgroup? Which files it needs, and its own steps.

A pid that is written from outside makes the kernel wait until no process of the machine is forking or exiting
(6 to 12 ms for the first write). A thread that writes 0 to v1's `tasks` for itself, and a clone straight into a
cgroup2 directory, don't. This module is on the path of exec: it must not import planner or resources.
"""

from __future__ import annotations

import os

from ociruntime.errors import UsageError
from ociruntime.step import HostStep, InitStep, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.launch.context import Context

CLONE_SLOT = "cgroup2"  # the cgroup2 directory that the process is cloned into (CLONE_INTO_CGROUP)
_MOVE_SLOT = "cgroup2 procs"


def pointer_of(config: Node) -> str:
    """cgroupsPath, if the config has one; else the steps belong to every container."""
    node = config.at("linux", "cgroupsPath")
    return node.pointer if node else ""


def plan_open(
    paths: dict[str, str], pointer: str, move: bool = False, who: str = "init"
) -> Iterator[HostStep]:
    """Before the clone: open what the process needs to put itself into its cgroup.

    paths   directory per v1 controller, "" for v2
    move    the process enters the cgroup2 directory by itself, and is not cloned into it
    """
    slots = _slots(paths, move)
    if slots:
        yield HostStep(
            "open_cgroup",
            {"slots": {key: path for key, path, _ in slots}},
            pointer=pointer,
            text=f"what {who} needs to join it",
        )


def open_files(step: HostStep, context: Context) -> None:
    """Do a step open_cgroup. Raises OSError with the file."""
    slots = step.args["slots"]
    assert isinstance(slots, dict)
    for key, path in slots.items():
        flags = os.O_RDONLY | os.O_DIRECTORY if key == CLONE_SLOT else os.O_WRONLY
        context.slots[key] = os.open(path, flags | os.O_CLOEXEC)


def plan_join_self(paths: dict[str, str], pointer: str, move: bool = False) -> Iterator[InitStep]:
    """The process's part: a step for each v1 hierarchy; launch passes CLONE_SLOT to the clone."""
    for key, path, controllers in _slots(paths, move):
        if key != CLONE_SLOT:
            yield InitStep(
                "join_cgroup",
                Slot(key),
                pointer=pointer,
                text=f"{path.rpartition('/')[0]} ({controllers or 'unified'})",
            )


def _slots(paths: dict[str, str], move: bool) -> list[tuple[str, str, str]]:
    """(slot key, path to open, controllers) for each hierarchy."""
    places: dict[str, list[str]] = {}
    for controller, path in paths.items():
        if controller:
            places.setdefault(path, []).append(controller)
    slots = [(f"cgroup {names[0]}", f"{path}/tasks", ", ".join(names)) for path, names in places.items()]
    if "" not in paths:
        return slots
    return [*slots, (_MOVE_SLOT, f"{paths['']}/cgroup.procs", "") if move else (CLONE_SLOT, paths[""], "")]


def below(paths: dict[str, str], wanted: list[str]) -> dict[str, str]:
    """The cgroups below the container's that `exec --cgroup` names.

    paths    the container's own
    wanted   "PATH" for all hierarchies, or "CONTROLLER[,CONTROLLER...]:PATH" for some of version 1
    Raises UsageError for a path that leads out of the container's cgroup, or a controller that it does not have.
    """
    found = dict(paths)
    for text in wanted:
        names, colon, path = text.rpartition(":")
        if not colon and len(wanted) > 1:
            raise UsageError(f"flag --cgroup: {text!r} names no controller", hint="CONTROLLER:PATH")
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            raise UsageError(f"flag --cgroup: {path!r} is not below the container's cgroup")
        for controller in names.split(",") if colon else paths:
            if controller not in paths or (colon and not controller):
                raise UsageError(
                    f"flag --cgroup: the container has no cgroup of the controller {controller!r}"
                )
            for other, directory in paths.items():  # controllers that are mounted together go together
                if directory == paths[controller]:
                    found[other] = "/".join([directory, *parts])
    return found
