# SPDX-License-Identifier: Apache-2.0
"""Which kernel parameters does the container change? (config-linux.md, Sysctl)

Only parameters that belong to a namespace of the container may be set: any other would change the
host. Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.linux import namespace_entries
from ociruntime.step import InitStep

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = ("/linux/sysctl", "/linux/sysctl/*")

RULE = "R176"

# ipc_namespaces(7): System V IPC limits; those of POSIX message queues are below fs/mqueue
_IPC = frozenset(
    f"kernel/{name}"
    for name in ("msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced")
)

# uts_namespaces(7): what config.json has a property for
_NAMES = {"kernel/hostname": "hostname", "kernel/domainname": "domainname"}


def path_of(key: str) -> str:
    """The file below /proc/sys: `net.ipv4.ip_forward` and `net/ipv4/ip_forward` are the same key.

    As in sysctl(8) the first separator decides which character separates: in `net.ipv4.conf.eth0/100.forwarding`
    the interface is called eth0.100.
    """
    dot, slash = key.find("."), key.find("/")
    if dot < 0 or 0 <= slash < dot:
        return key
    return key.replace(".", "\0").replace("/", ".").replace("\0", "/")


def check(config: Node) -> Iterator[Violation]:
    """Each key is a file name below /proc/sys of a namespace that the container does not share."""
    for key, value in config.at("linux", "sysctl").members():
        path = path_of(key)
        reason = _malformed(path) or _shared(path, config)
        if reason:
            yield Violation(value.pointer, f"sysctl {key} {reason}", RULE)
        elif path in _NAMES:
            yield from _check_name(key, value, config)


def plan(config: Node) -> Iterator[InitStep]:
    """One write per key, in the order of the config; inside the new namespaces, through a private procfs."""
    for key, value in config.at("linux", "sysctl").members():
        yield InitStep(
            "sysctl",
            path_of(key),
            value.text(),
            name="set sysctl",
            pointer=value.pointer,
            text=f"{key}={value.text()}",
        )


def _malformed(path: str) -> str:
    parts = path.split("/")
    bad = any(part in ("", ".", "..") for part in parts) or "\0" in path
    return "is not the name of a kernel parameter" if bad else ""


def _shared(path: str, config: Node) -> str:
    if path in _IPC or path.startswith("fs/mqueue/"):
        return "" if namespace_entries.has(config, "ipc") else "is not allowed without an ipc namespace"
    if path.startswith("net/"):
        return (
            "" if namespace_entries.has(config, "network") else "is not allowed without a network namespace"
        )
    if path in _NAMES:
        return "" if namespace_entries.has(config, "uts") else "is not allowed without a uts namespace"
    return "belongs to no namespace of the container"


def _check_name(key: str, value: Node, config: Node) -> Iterator[Violation]:
    """A name that has a property too: both may be given if they agree. Engines set the domain name by either."""
    name = _NAMES[path_of(key)]
    wish = config.at(name).text()
    if wish == value.text():
        return
    if name == "hostname":  # as in runc, which refuses it
        yield Violation(value.pointer, f"sysctl {key} conflicts with the property hostname", RULE)
    elif wish:
        yield Violation(
            value.pointer, f"sysctl {key} is set in place of the property domainname", RULE, "warning"
        )
