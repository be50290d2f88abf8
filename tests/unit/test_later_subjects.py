# SPDX-License-Identifier: Apache-2.0
"""The subjects that are checked but not carried out yet: refused by name exactly if they would have an effect."""

from __future__ import annotations

from typing import Any

import pytest

from ociruntime.config import Node
from ociruntime.linux import seccomp

Found = list[tuple[str, str]]


def found(subject: Any, process: dict[str, Any] | None = None, linux: dict[str, Any] | None = None) -> Found:
    """(pointer, severity) of everything that the subject's check yields."""
    return [(one.pointer, one.severity) for one in subject.check(Node({"process": process, "linux": linux}))]


def errors(violations: Found) -> list[str]:
    """The pointers of errors alone."""
    return [pointer for pointer, severity in violations if severity == "error"]


@pytest.mark.parametrize("subject", [seccomp])
def test_nothing_asked_is_nothing_refused(subject: Any) -> None:
    """A config without these properties, or with nulls and empty texts, passes."""
    assert found(subject) == []
    linux = {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}}
    assert found(subject, {}, linux) == []


@pytest.mark.parametrize(
    ("subject", "process", "linux", "pointer"),
    [
        (seccomp, {}, {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}, "/linux/seccomp"),
        (
            seccomp,
            {},
            {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"]}]}},
            "/linux/seccomp",
        ),
    ],
)
def test_what_would_have_an_effect_is_refused_by_name(
    subject: Any, process: dict[str, Any], linux: dict[str, Any], pointer: str
) -> None:
    """Exactly one violation, "unsupported", at the property: it is never ignored."""
    assert found(subject, process, linux) == [(pointer, "unsupported")]
    (violation,) = subject.check(Node({"process": process, "linux": linux}))
    assert violation.reason.endswith("not supported yet")


NOTIFY = {"names": ["openat"], "action": "SCMP_ACT_NOTIFY"}


@pytest.mark.parametrize(
    ("filter_", "expected"),
    [
        ({"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/s"}, ["defaultAction"]),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [NOTIFY]}, ["syscalls/0/action"]),
        ({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/s", "syscalls": [NOTIFY]}, []),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "listenerPath": "/s",
                "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}],
            },
            ["syscalls/0/names"],
        ),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [
                    {"names": ["a"], "action": "SCMP_ACT_LOG", "args": [{"index": 5}, {"index": 6}]}
                ],
            },
            ["syscalls/0/args/1/index"],
        ),
    ],
)
def test_seccomp_rules(filter_: dict[str, Any], expected: list[str]) -> None:
    """What no filter can be made of is an error at the value."""
    assert errors(found(seccomp, linux={"seccomp": filter_})) == [f"/linux/seccomp/{one}" for one in expected]
