# SPDX-License-Identifier: Apache-2.0
"""What does a list of id mappings say? Pure functions for the subjects that have one: idmap, mounts, devices.

A range is [containerID, hostID, size]. Must not import a subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.linux import namespace_entries

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host

Ranges = list[list[int]]

_MEMBERS = ("containerID", "hostID", "size")
MOST_RANGES = 340  # UID_GID_MAP_MAX_EXTENTS of the kernel
_END = 0xFFFFFFFF  # the last number is not an id: to the kernel it means "no change"

CONTAINER = "the container's id maps"  # the slot of the container's own mappings
JOINED = "namespace user"  # the slot of a joined user namespace; see namespaces.py


def read(mappings: Node) -> Ranges:
    """The ranges, in the config's order, which is also the order in which the kernel gets them."""
    return [[entry.at(name).number() for name in _MEMBERS] for entry in mappings]


def check(mappings: Node, rule: str) -> Iterator[Violation]:
    """What the kernel refuses: too many ranges, empty ranges, ranges past the last id, and ids that are mapped twice."""
    if len(mappings) > MOST_RANGES:
        reason = f"{len(mappings)} ranges, and the kernel takes up to {MOST_RANGES}"
        yield Violation(mappings.pointer, reason, rule)
        return
    whole = [
        entry for entry in mappings if all(entry.at(name) for name in _MEMBERS)
    ]  # the schema reports the others
    for entry in whole:
        size = entry.at("size").number()
        if size < 1:
            yield Violation(entry.at("size").pointer, f"the range has the size {size}", rule)
        elif max(entry.at("containerID").number(), entry.at("hostID").number()) + size > _END:
            yield Violation(entry.pointer, f"the range of {size} ids goes past the last id, {_END - 1}", rule)
    for side, name in enumerate(_MEMBERS[:2]):
        ordered = sorted(whole, key=lambda entry: entry.at(_MEMBERS[side]).number())
        for index in range(1, len(ordered)):
            lower, upper = ordered[index - 1], ordered[index]
            if lower.at(name).number() + lower.at("size").number() > upper.at(name).number():
                yield Violation(upper.pointer, f"its {name}s overlap with those of {lower.pointer}", rule)


def find(ranges: Ranges, number: int) -> int | None:
    """The host's id behind an id of the container, or None if it is not mapped."""
    for first, host, size in ranges:
        if 0 <= number - first < size:
            return host + number - first
    return None


def lines(ranges: Ranges) -> str:
    """As /proc/PID/uid_map takes them; user_namespaces(7)."""
    return "".join(f"{first} {host} {size}\n" for first, host, size in ranges)


def words(ranges: Ranges) -> str:
    """For people: "0-65535 is 100000-165535"."""
    return ", ".join(
        f"{first} is {host}" if size == 1 else f"{first}-{first + size - 1} is {host}-{host + size - 1}"
        for first, host, size in ranges
    )


_SETGID, _SETUID = 1 << 6, 1 << 7  # capabilities(7)


def may_map_all(host: Host) -> bool:
    """True if the runtime may write any mapping of the ids that it has. user_namespaces(7)"""
    return not host.rootless or host.capabilities & (_SETUID | _SETGID) == _SETUID | _SETGID


def is_own_id(ranges: Ranges, own: int) -> bool:
    """True if this maps the runtime's own id alone, which anybody may do."""
    return len(ranges) == 1 and ranges[0][1:] == [own, 1]


def setgroups_denied(config: Node, host: Host) -> bool:
    """True if the container's processes can't call setgroups(2): its user namespace, or one around it, denies it."""
    if not host.rootless:
        return False
    if not host.setgroups:
        return True
    if not namespace_entries.is_new(config, "user") or may_map_all(host):
        return False
    return is_own_id(read(config.at("linux", "gidMappings")), host.gid)


def slot_of(config: Node, entry: Node) -> str:
    """The key of the user namespace whose mappings a mount gets: its own, or the container's.

    Mounts with the same mappings share one.
    """
    if len(entry.at("uidMappings")):
        return (
            f"id maps uid {words(read(entry.at('uidMappings')))} gid {words(read(entry.at('gidMappings')))}"
        )
    return JOINED if namespace_entries.is_joined(config, "user") else CONTAINER
