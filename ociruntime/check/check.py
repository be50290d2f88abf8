# SPDX-License-Identifier: Apache-2.0
"""Spine 3: is this config valid, and can we do what it asks for? Everything that is wrong, at once.

The schema covers single properties, each subject's check() covers how they go together. Both
are pure. This module must not import launch, container or a verb; jsonschema is loaded (50 ms) only
to explain a rejection.
"""

from __future__ import annotations

from ociruntime.errors import Findings, InvalidConfig, NotSupported, Violation
from ociruntime.linux import concerned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

# What belongs to no subject: the document's version.
KEYS = ("/ociVersion",)

OCI_VERSION_MIN = "1.0.0"
OCI_VERSION_MAX = "1.3.0"
_NEWEST_MINOR = "3"


def violations(config: Node, explain: bool = True) -> Findings:
    """Everything that is wrong with a config, sorted by pointer; if there are very many violations, only the first.

    explain   use jsonschema to say what the schema objects to (else a single violation says only that it does)
    Severities: "error" breaks the specification, "unsupported" is valid but refused by this version,
    "warning" is logged and has no effect on the container.
    """
    from ociruntime.check import schema

    found = Findings()
    if not schema.fast_valid(config.value):
        found.take(schema.explain(config.value) if explain else [Violation("", "breaks the schema")])
    found.take(_version(config))
    known = {violation.pointer for violation in found}
    if isinstance(config.value, dict):
        found.take(
            violation
            for subject in concerned(config)
            for violation in subject.check(config)
            # what the schema says about the same value takes precedence
            if violation.pointer not in known or violation.severity != "error"
        )
    if found:
        from ociruntime.check.naming import named

        found[:] = [named(config, violation) for violation in found]
    found.sort(key=lambda violation: violation.pointer)
    return found


def require(config: Node) -> list[Violation]:
    """Refuse a config that `create` can't carry out.

    Returns the warnings. Raises InvalidConfig with every error, or NotSupported.
    """
    found = violations(config)
    errors = [violation for violation in found if violation.severity == "error"]
    if errors:
        raise InvalidConfig(errors, cut=found.cut)
    for violation in found:
        if violation.severity == "unsupported":
            raise NotSupported(violation.reason, pointer=violation.pointer)
    return [*found, *(Violation("", words, severity="warning") for words in found.left_out())]


def _version(config: Node) -> Iterator[Violation]:
    """1.x.y, with any pre-release or build suffix (R007, R008); the schema checks the form.

    A newer minor version only adds to the specification. When engines begin to write it, what they have
    always asked for must still work, as with runc.
    """
    text = config.at("ociVersion").text()
    core = text.split("-", 1)[0].split("+", 1)[0].split(".")
    if len(core) != 3 or not all(part.isascii() and part.isdigit() for part in core):
        return  # not SemVer: the schema says so
    if core[0] != "1":
        reason = f"version {text} of the specification is not supported: {OCI_VERSION_MIN} to 1.x are"
        yield Violation("/ociVersion", reason, "R008")
    elif len(core[1]) > 1 or core[1] > _NEWEST_MINOR:
        reason = (
            f"version {text} of the specification is newer than {OCI_VERSION_MAX}: "
            "properties that it adds are ignored"
        )
        yield Violation("/ociVersion", reason, "R008", "warning")
