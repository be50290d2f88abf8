# SPDX-License-Identifier: Apache-2.0
"""What in the container does a JSON pointer refer to, in words for someone who has never seen config.json?

`/mounts/7/options` says nothing to a user who typed `docker run -v /src:/dst`; "mount on /dst" does. Loaded only when
something is wrong. Must not import a subject, nor the spine.
"""

from __future__ import annotations

from ociruntime.errors import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.config import Node

_LONGEST = 100  # characters of a path or name that an error shows
_MAPPING = ("containerID", "hostID", "size")
_OF_PROPERTY = ("is ", "must ", "needs ", "should ")  # reasons whose subject is the property itself


def named(config: Node, violation: Violation) -> Violation:
    """The violation with the thing that it is about in front of the reason, unless the reason names it."""
    name, words = thing_of(config, violation.pointer)
    if not name or name in violation.reason or ascii(name)[1:-1] in violation.reason:
        return violation
    reason, last = violation.reason, violation.pointer.rpartition("/")[2]
    if reason.startswith(_OF_PROPERTY) and not last.isdigit():
        reason = f"{last} {reason}"
    return Violation(violation.pointer, f"{words}: {reason}", violation.rule, violation.severity)


def thing_of(config: Node, pointer: str) -> tuple[str, str]:
    """(its name, and the same with what it is) of the list entry at or above a pointer, ("", "") if there is none.

    A pointer through objects alone says enough by itself, as /process/cwd does.
    """
    node, pattern = config, ""
    for token in pointer.split("/")[1:]:
        if isinstance(node.value, list):
            node = node.entry(int(token) if token.isascii() and token.isdigit() else len(node))
            if not node:
                return "", ""
            pattern = f"{pattern}/*"
            if pattern in _THINGS:
                return _first(node, _THINGS[pattern])
        else:
            name = token.replace("~1", "/").replace("~0", "~")
            node = node.at(name)
            pattern = f"{pattern}/{'*' if pattern == '/hooks' else name}"
    return "", ""


def _first(entry: Node, ways: tuple[_Way, ...]) -> tuple[str, str]:
    for words, name_of in ways:
        name = name_of(entry)
        if name:
            name = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
            return name, words.format(name)
    return "", ""


def _text(member: str) -> Callable[[Node], str]:
    return lambda entry: entry.at(member).text()


def _mapping(entry: Node) -> str:
    return ", ".join(f"{name} {entry.at(name).number()}" for name in _MAPPING if entry.at(name))


def _numbers(entry: Node) -> str:
    """The kernel's notation of a device: 8:16."""
    known = [entry.at(name) for name in ("major", "minor")]
    return ":".join(str(one.number()) if one else "*" for one in known) if any(known) else ""


def _rule(entry: Node) -> str:
    return " ".join((entry.at("type").text("a"), _numbers(entry) or "*:*", entry.at("access").text("rwm")))


def _calls(entry: Node) -> str:
    names = entry.at("names").texts()
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


if TYPE_CHECKING:
    _Way = tuple[str, Callable[[Node], str]]

_DEVICES = (("block device {}", _numbers),)

# List of config.json -> how its entries are told apart: by the first of these members that an entry has.
_THINGS: dict[str, tuple[_Way, ...]] = {
    "/mounts/*": (
        ("mount on {}", _text("destination")),
        ("mount of {}", _text("source")),
        ("mount of type {}", _text("type")),
    ),
    "/hooks/*/*": (("hook {}", _text("path")),),
    "/process/rlimits/*": (("resource limit {}", _text("type")),),
    "/linux/devices/*": (("device {}", _text("path")), ("device {}", _numbers)),
    "/linux/namespaces/*": (("{} namespace", _text("type")),),
    "/linux/uidMappings/*": (("user ids ({})", _mapping),),
    "/linux/gidMappings/*": (("group ids ({})", _mapping),),
    "/linux/seccomp/syscalls/*": (("rule for {}", _calls),),
    "/linux/resources/devices/*": (("device rule {}", _rule),),
    "/linux/resources/hugepageLimits/*": (("huge pages of {}", _text("pageSize")),),
    "/linux/resources/network/priorities/*": (("interface {}", _text("name")),),
    "/linux/resources/blockIO/weightDevice/*": _DEVICES,
    "/linux/resources/blockIO/throttleReadBpsDevice/*": _DEVICES,
    "/linux/resources/blockIO/throttleWriteBpsDevice/*": _DEVICES,
    "/linux/resources/blockIO/throttleReadIOPSDevice/*": _DEVICES,
    "/linux/resources/blockIO/throttleWriteIOPSDevice/*": _DEVICES,
}
