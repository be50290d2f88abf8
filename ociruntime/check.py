# SPDX-License-Identifier: Apache-2.0
"""Spine 3: is this config valid, and do we do what it asks for? Everything that is wrong, at once.

The schema speaks about single properties, each subject's check() about how they go together. Both
are pure. This module must not import launch, container or a verb; jsonschema is loaded (50 ms) only
to explain a rejection.
"""

from __future__ import annotations

from ociruntime import annotations as annotation, hooks
from ociruntime.errors import InvalidConfig, NotSupported, Violation
from ociruntime.linux import (
    capabilities,
    cgroups,
    credentials,
    devices,
    hostname,
    mounts,
    namespaces,
    paths,
    process,
    rlimits,
    rootfs,
    sysctl,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

_SUBJECTS = (
    rootfs,
    mounts,
    namespaces,
    process,
    credentials,
    capabilities,
    rlimits,
    hostname,
    devices,
    paths,
    sysctl,
    cgroups,
    hooks,
    annotation,
)

# Subjects that few configs have: imported when one of these properties is there.
_RARE = (
    ("idmap", ("linux", "uidMappings")),
    ("idmap", ("linux", "gidMappings")),
    ("network", ("linux", "netDevices")),
    ("scheduling", ("process", "scheduler")),
    ("scheduling", ("process", "ioPriority")),
    ("scheduling", ("process", "execCPUAffinity")),
    ("scheduling", ("linux", "personality")),
    ("scheduling", ("linux", "memoryPolicy")),
    ("seccomp", ("linux", "seccomp")),
    ("lsm", ("process", "apparmorProfile")),
    ("lsm", ("process", "selinuxLabel")),
    ("lsm", ("linux", "mountLabel")),
    ("console", ("process", "consoleSize")),
    ("intelrdt", ("linux", "intelRdt")),
)

# What belongs to no subject: the document's version.
KEYS = ("/ociVersion",)

OCI_VERSION_MIN = "1.0.0"
OCI_VERSION_MAX = "1.3.0"


def violations(config: Node, explain: bool = True) -> list[Violation]:
    """Everything that is wrong with a config, sorted by pointer.

    explain   use jsonschema to say what the schema objects to (else one violation says that it does)
    Severities: "error" breaks the specification, "unsupported" is valid but refused by this version,
    "warning" is logged and has no effect on the container.
    """
    from ociruntime import schema

    found: list[Violation] = []
    if not schema.fast_valid(config.value):
        found += schema.explain(config.value) if explain else [Violation("", "breaks the schema")]
    found += _version(config)
    known = {violation.pointer for violation in found}
    if isinstance(config.value, dict):
        for violation in _subjects(config):
            # the schema's word on the same value goes first
            if violation.pointer not in known or violation.severity != "error":
                found.append(violation)
    if found:
        from ociruntime.naming import named

        found = [named(config, violation) for violation in found]
    return sorted(found, key=lambda violation: violation.pointer)


def require(config: Node) -> list[Violation]:
    """Refuse a config that `create` can't carry out.

    Returns the warnings. Raises InvalidConfig with every error, or NotSupported.
    """
    found = violations(config)
    errors = [violation for violation in found if violation.severity == "error"]
    if errors:
        raise InvalidConfig(errors)
    for violation in found:
        if violation.severity == "unsupported":
            raise NotSupported(violation.reason, pointer=violation.pointer)
    return found


def _subjects(config: Node) -> Iterator[Violation]:
    for subject in _SUBJECTS:
        yield from subject.check(config)
    rare = [name for name, path in _RARE if config.at(*path)]
    if config.at("process", "terminal").flag():
        rare.append("console")
    if namespaces.has(config, "user"):
        rare.append("idmap")
    for name in dict.fromkeys(rare):
        module = __import__(f"ociruntime.linux.{name}", fromlist=["check"])
        yield from module.check(config)


def _version(config: Node) -> Iterator[Violation]:
    """1.0.0 up to 1.3.x, with any pre-release or build suffix (R007, R008); the schema checks the form."""
    text = config.at("ociVersion").text()
    core = text.split("-", 1)[0].split("+", 1)[0].split(".")
    if len(core) != 3 or not all(part.isascii() and part.isdigit() for part in core):
        return  # not SemVer: the schema says so
    if core[0] != "1" or core[1] not in ("0", "1", "2", "3"):
        yield Violation(
            "/ociVersion",
            f"version {text} of the specification is not supported: {OCI_VERSION_MIN} to 1.3.x are",
            "R008",
        )
