# SPDX-License-Identifier: Apache-2.0
"""Which system calls may the program make? (config-linux.md, "Seccomp")

Filters are not compiled yet: a config that has one is refused by name, because a container without the
filter that it asks for must never run. Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = (
    "/linux/seccomp",
    "/linux/seccomp/defaultAction",
    "/linux/seccomp/defaultErrnoRet",
    "/linux/seccomp/architectures",
    "/linux/seccomp/flags",
    "/linux/seccomp/listenerPath",
    "/linux/seccomp/listenerMetadata",
    "/linux/seccomp/syscalls",
    "/linux/seccomp/syscalls/*/names",
    "/linux/seccomp/syscalls/*/action",
    "/linux/seccomp/syscalls/*/errnoRet",
    "/linux/seccomp/syscalls/*/args",
    "/linux/seccomp/syscalls/*/args/*/index",
    "/linux/seccomp/syscalls/*/args/*/value",
    "/linux/seccomp/syscalls/*/args/*/valueTwo",
    "/linux/seccomp/syscalls/*/args/*/op",
)

_NOTIFY = "SCMP_ACT_NOTIFY"
_LAST_ARGUMENT = 5  # a system call has six


def check(config: Node) -> Iterator[Violation]:
    """Yield what no filter can be made of; R178, R187 and R190 are in the schema."""
    seccomp = config.at("linux", "seccomp")
    if not seccomp:
        return
    default = seccomp.at("defaultAction")
    if default.text() == _NOTIFY:
        # the very call that hands the descriptor to the agent would wait for the agent
        yield Violation(default.pointer, f"{_NOTIFY} cannot be the default action", "R177")
    for rule in seccomp.at("syscalls"):
        action = rule.at("action")
        if action.text() == _NOTIFY:
            if not seccomp.at("listenerPath").text():
                yield Violation(action.pointer, f"{_NOTIFY} needs linux.seccomp.listenerPath", "R181")
            if "write" in rule.at("names").texts():
                yield Violation(rule.at("names").pointer, f"{_NOTIFY} cannot be used for write", "R189")
        for condition in rule.at("args"):
            index = condition.at("index")
            if index.number() > _LAST_ARGUMENT:
                yield Violation(index.pointer, f"a system call has no argument {index.number()}", "R189")
    if default.text() != "SCMP_ACT_ALLOW" or len(seccomp.at("syscalls")):
        yield Violation(
            seccomp.pointer, "a system call filter is not supported yet", "R177", severity="unsupported"
        )
