# SPDX-License-Identifier: Apache-2.0
"""Which unit is the container's, and where is its cgroup? cgroupsPath is `slice:prefix:name` for this driver.

As in runc: the unit is `prefix-name.scope` (`name.scope` without a prefix) in the slice, `system.slice` if that is
empty (a user's own systemd: `user.slice`), and `-.slice` is the root. A slice's name says where it is:
`a-b.slice` is in `a.slice` (systemd.slice(5)). Without a cgroupsPath the unit is `ociruntime-ID.scope`.
Pure: nothing here looks at the machine.
"""

from __future__ import annotations

from ociruntime.errors import StepFailed
from ociruntime.linux.annotations import is_cgroup_name

POINTER = "/linux/cgroupsPath"
PREFIX = "ociruntime"
_ALLOWED = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@"
)  # unit-name.c, VALID_CHARS
_LONGEST = 255  # UNIT_NAME_MAX, without the NUL
_ROOT_SLICE = "-.slice"
_HINT = "slice:prefix:name, as in machine.slice:libpod:ID; --cgroup-manager cgroupfs takes paths"
# systemd puts "_" before a name that the kernel could take for one of its files (cg_escape).
_LIKE_FILES = (
    "_",
    ".",
    "cgroup.",
    "cpu.",
    "cpuacct.",
    "cpuset.",
    "io.",
    "blkio.",
    "memory.",
    "devices.",
    "pids.",
)


class Unit:
    """The container's unit; plain data.

    name     "ociruntime-c1.scope"
    slice    "system.slice"
    path     its cgroup below the root of every hierarchy: "/system.slice/ociruntime-c1.scope"
    """

    __slots__ = ("name", "path", "slice")

    def __init__(self, name: str, slice_name: str, path: str) -> None:
        self.name = name
        self.slice = slice_name
        self.path = path

    def __repr__(self) -> str:
        return f"Unit({self.name!r}, {self.slice!r}, {self.path!r})"


def unit_of(cgroups_path: str, container_id: str, user: int = 0) -> Unit:
    """The unit for a cgroupsPath.

    user   whose systemd it is: 0 is the machine's, another uid that user's own
    Raises StepFailed if it can't be the name of a unit.
    """
    default = "user.slice" if user else "system.slice"
    if not cgroups_path:
        return _unit(default, f"{PREFIX}-{_escaped(container_id)}.scope", user)
    parts = cgroups_path.split(":")
    if len(parts) != 3:
        raise _refused(
            f"{_shown(cgroups_path)} is not slice:prefix:name, which the systemd driver needs", _HINT
        )
    slice_name, prefix, name = parts
    if name.endswith(".slice"):
        raise _refused(f"{_shown(name)} is a slice, and a container is in a scope", _HINT)
    if not name:
        raise _refused(f"{_shown(cgroups_path)} has no name for the unit", _HINT)
    return _unit(slice_name or default, f"{prefix}-{name}.scope" if prefix else f"{name}.scope", user)


def _unit(slice_name: str, name: str, user: int) -> Unit:
    for word in (name, slice_name):
        wrong = sorted(set(word) - _ALLOWED)
        if wrong:
            raise _refused(
                f"{_shown(word)} can't be the name of a unit: it has the character {wrong[0]!r}",
                "letters, digits and :-_.\\@ are allowed",
            )
        if len(word) > _LONGEST:
            raise _refused(
                f"{_shown(word)} can't be the name of a unit: it has {len(word)} characters, and {_LONGEST} are allowed"
            )
    return Unit(name, slice_name, f"{manager_root(user)}{slice_path(slice_name)}/{_directory(name)}")


def slice_path(slice_name: str) -> str:
    """Where a slice is: "a-b.slice" is "/a.slice/a-b.slice", and "-.slice" is ""."""
    if slice_name == _ROOT_SLICE:
        return ""
    stem = slice_name.removesuffix(".slice")
    if stem == slice_name or not stem:
        raise _refused(f"{_shown(slice_name)} is not the name of a slice: it does not end with .slice")
    names = stem.split("-")
    if "" in names:
        raise _refused(f"{_shown(slice_name)} is not the name of a slice: it has a dash too many")
    return "".join(f"/{_directory('-'.join(names[: end + 1]) + '.slice')}" for end in range(len(names)))


def manager_root(user: int) -> str:
    """Below which cgroup a systemd has its units: the machine's at the root, a user's own in its service."""
    return f"/user.slice/user-{user}.slice/user@{user}.service" if user else ""


def check_subgroup(name: str, pointer: str) -> None:
    """run.oci.systemd.subgroup names one cgroup below the unit's. Raises StepFailed."""
    if not is_cgroup_name(name):
        reason = f"{_shown(name)} can't be the name of a cgroup"
        raise StepFailed(reason, pointer=pointer, hint="one name of letters, digits and :-_.")


def _escaped(container_id: str) -> str:
    """An id as a part of a unit's name; of what ids may have, units' names only lack the plus sign."""
    return container_id.replace("+", "\\x2b")


def _directory(name: str) -> str:
    return f"_{name}" if name.startswith(_LIKE_FILES) else name


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:60]!r}..."


def _refused(reason: str, hint: str = "") -> StepFailed:
    return StepFailed(reason, pointer=POINTER, step="name unit", hint=hint)
