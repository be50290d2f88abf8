# SPDX-License-Identifier: Apache-2.0
"""Which capabilities does the program have? (config.md, "Linux Process"; capabilities(7))

A capability that cannot be granted is left out with a warning; it is never an error (R049, R050). A set that
is not in the config is empty. Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.linux import namespace_entries
from ociruntime.step import InitStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.step import Step

_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")

KEYS = ("/process/capabilities", *(f"/process/capabilities/{name}" for name in _SETS))

# The position in the table is the capability's number (linux/capability.h).
NAMES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)
_BITS = {name: 1 << number for number, name in enumerate(NAMES)}
ALL = (1 << len(NAMES)) - 1
ADMIN = _BITS["CAP_SYS_ADMIN"]


def check(config: Node) -> Iterator[Violation]:
    """Warn about names that are not capabilities; they are left out (R049). One warning for a name in several sets."""
    unknown: dict[str, list[Node]] = {}
    for _, members in _listed(config):
        for member in members:
            if member.text() not in _BITS:
                unknown.setdefault(member.text(), []).append(member)
    for name, (first, *others) in unknown.items():
        more = f", here and in {len(others)} more place{'s' if len(others) > 1 else ''}" if others else ""
        yield Violation(first.pointer, f"unknown capability {name} is ignored{more}", "R049", "warning")


def features(takes: Callable[..., bool]) -> dict[str, object]:  # noqa: ARG001 - the signature of every subject
    """Its part of the features document; `takes` says whether check() accepts a config."""
    return {"linux": {"capabilities": list(NAMES)}}


def warnings(config: Node, host: Host) -> Iterator[Violation]:
    """Warn about known capabilities that cannot be granted here; they are left out (R049, R050).

    One warning for a set and a reason, not for each name.
    """
    granted = granted_sets(config, host)
    available = _available(config, host)
    for name, members in _listed(config):
        refused = _mask(members) & ~granted[name]
        for mask, reason in (
            (refused & ~available, "the runtime does not have them"),
            (refused & available, _REASONS[name]),
        ):
            if mask and reason:
                yield Violation(
                    members.pointer, f"{_words(mask)} cannot be granted: {reason}", "R050", "warning"
                )


# Why capabilities that the runtime has may still not be given in a set (capset(2), prctl(2)).
_REASONS = {
    "bounding": "",  # these two have no other condition
    "permitted": "",
    "effective": "they are not in the permitted set",
    "inheritable": "they are not in the bounding set",
    "ambient": "they are not in both the permitted and the inheritable set",
}


def granted_sets(config: Node, host: Host) -> dict[str, int]:
    """The five sets as masks, without what the kernel would refuse. The config is never widened."""
    available = _available(config, host)
    asked = {name: _mask(members) & available for name, members in _listed(config)}
    asked["effective"] &= asked["permitted"]
    asked["inheritable"] &= asked["bounding"]
    asked["ambient"] &= asked["permitted"] & asked["inheritable"]
    return asked


def plan_early(config: Node, host: Host) -> Iterator[Step]:
    """Drop what is not in the bounding set, while init still may."""
    if config.at("process"):
        mask = granted_sets(config, host)["bounding"]
        yield InitStep(
            "bounding",
            *_halves(mask),
            pointer=f"{_pointer(config)}/bounding",
            text=_words(mask),
        )


def plan_late(config: Node, host: Host, kept: int = 0) -> Iterator[Step]:
    """After the change of user: the four sets of the process itself.

    kept   mask of what init itself needs until execve, in addition to the config's effective and permitted sets;
           the program does not get it, as execve computes those two sets from the others
    """
    if config.at("process"):
        sets = granted_sets(config, host)
        kept &= _available(config, host)
        sets["effective"] |= kept
        sets["permitted"] |= kept
        order = ("effective", "permitted", "inheritable", "ambient")
        yield InitStep(
            "capabilities",
            *(half for name in order for half in _halves(sets[name])),
            pointer=_pointer(config),
            text="; ".join(f"{name}: {_words(sets[name])}" for name in order)
            + (f" (with {_words(kept)} until exec)" if kept else ""),
        )


def _available(config: Node, host: Host) -> int:
    """What init can grant: everything in a new user namespace, otherwise what the runtime itself has."""
    return ALL if namespace_entries.has(config, "user") else host.capabilities & ALL


def _listed(config: Node) -> Iterator[tuple[str, Node]]:
    capabilities = config.at("process", "capabilities")
    for name in _SETS:
        yield name, capabilities.at(name)


def _mask(members: Node) -> int:
    mask = 0
    for name in members.texts():
        mask |= _BITS.get(name, 0)
    return mask


def _pointer(config: Node) -> str:
    return config.at("process", "capabilities").pointer


def _halves(mask: int) -> tuple[int, int]:
    return mask & 0xFFFFFFFF, mask >> 32


def _words(mask: int) -> str:
    if mask == ALL:
        return "all"
    names = [name for number, name in enumerate(NAMES) if mask >> number & 1]
    return " ".join(names) if names else "none"
