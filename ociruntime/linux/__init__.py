# SPDX-License-Identifier: Apache-2.0
"""The subjects of config.md and config-linux.md: which are there, and which properties wake each?

A subject is one module with the properties in KEYS, `check(config)` and functions that plan; `features(takes)` has its part
of the features document, if it has one. None imports another. Check, plan, exec and features ask this table which
subjects a config needs, so that nothing is imported for properties that it does not have.
This module must not import anything when it is loaded: every user of a subject loads it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ociruntime.config import Node

# Those of every container, and of these the ones that every process has: exec needs no other.
COMMON = (
    "rootfs",
    "mounts",
    "namespaces",
    "process",
    "credentials",
    "capabilities",
    "rlimits",
    "hostname",
    "devices",
    "paths",
    "sysctl",
    "cgroups",
    "hooks",
    "annotations",
)
OF_PROCESS = ("process", "credentials", "capabilities", "rlimits")

# Those of few containers -> the properties that wake them, or (linux, namespaces, TYPE): a namespace of that type.
# What is null, false or an empty string wakes no subject.
RARE = {
    "idmap": (
        ("linux", "uidMappings"),
        ("linux", "gidMappings"),
        ("linux", "namespaces", "user"),
    ),
    "network": (("linux", "netDevices"),),
    "scheduling": (
        ("process", "scheduler"),
        ("process", "ioPriority"),
        ("process", "execCPUAffinity"),
        ("linux", "personality"),
        ("linux", "memoryPolicy"),
    ),
    "seccomp": (("linux", "seccomp"),),
    "lsm": (("process", "apparmorProfile"), ("process", "selinuxLabel"), ("linux", "mountLabel")),
    "console": (("process", "terminal"), ("process", "consoleSize")),
    "intelrdt": (("linux", "intelRdt"),),
}


def subject(name: str) -> Any:
    """The module of a subject, imported now."""
    return __import__(f"ociruntime.linux.{name}", fromlist=["check"])


def awake(config: Node, name: str, of: str = "") -> bool:
    """Does this config wake a rare subject?

    of   "process" or "linux": look only at properties of this object
    """
    return any(_is_there(config, path) for path in RARE[name] if of in ("", path[0]))


def concerned(config: Node) -> Iterator[Any]:
    """Every subject that has to check this config."""
    yield from map(subject, COMMON)
    yield from (subject(name) for name in RARE if awake(config, name))


def concerned_with_process(config: Node) -> Iterator[Any]:
    """Every subject that has to check the process of this config."""
    yield from map(subject, OF_PROCESS)
    yield from (subject(name) for name in RARE if awake(config, name, "process"))


def _is_there(config: Node, path: tuple[str, ...]) -> bool:
    if path[1] == "namespaces":
        from ociruntime.linux import namespace_entries

        return namespace_entries.has(config, path[2])
    value = config.value
    for name in path:  # without a Node: a plan asks some forty times
        value = value.get(name) if isinstance(value, dict) else None
    return value is not None and value is not False and value != ""
