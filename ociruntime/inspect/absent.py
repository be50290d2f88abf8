# SPDX-License-Identifier: Apache-2.0
"""Which system calls, file systems and mount options of a config does this machine not have?

For `validate` only, which is the one that may look at the machine: create learns it from the kernel. An option is tried on a
file system that is never mounted, in a child in a mount namespace of its own, so that an ordinary user may do it, too.
"""

from __future__ import annotations

import os
from errno import EINVAL

from ociruntime.descriptors import Descriptors
from ociruntime.errors import StepFailed, Violation, errno_text
from ociruntime.linux import mount_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

_FILESYSTEMS = "/proc/filesystems"
_MODULES = "/lib/modules"
_UNKNOWN_CALL = -1  # to libseccomp, on any architecture
_SET_FLAG, _SET_STRING = 0, 1  # fsconfig(2)
_OF_IDS = (
    "Invalid "  # uid or gid: not mapped in the child's user namespace, which says nothing of the container's
)
_NOT_OF_THE_KERNEL = ("none", "bind", "cgroup", "")  # types that the runtime carries out itself


def absent(config: Node) -> Iterator[Violation]:
    """A warning for everything that a container of this config asks for and this machine doesn't have."""
    yield from _calls(config)
    yield from _mounts(config.at("mounts"))


def _mounts(entries: Node) -> Iterator[Violation]:
    asked = [entry for entry in entries if _is_of_the_kernel(entry)]
    if not asked:
        return
    try:
        known = _file_systems()
    except OSError as failure:
        reason = errno_text(failure.errno or 0)
        yield _warning(entries, f"not known whether these file systems exist: {failure.filename}: {reason}")
        return
    tries: list[tuple[Node, str, str]] = []
    for entry in asked:
        kind = entry.at("type").text()
        if kind.partition(".")[0] not in known:
            reason = f"this kernel ({os.uname().release}) has no file system {kind}, nor a module for it"
            yield _warning(entry.at("type"), reason)
            continue
        for option in entry.at("options"):
            tries += [(option, kind, word) for word in mount_options.parse([option.text()]).data]
    if tries:
        yield from _options(tries)


def _warning(node: Node, reason: str) -> Violation:
    return Violation(node.pointer, reason, severity="warning")


def _calls(config: Node) -> Iterator[Violation]:
    rules = config.at("linux", "seccomp", "syscalls")
    if not len(rules):
        return
    from ociruntime.linux.seccomp_compiler import load_library, version_text

    try:
        library = load_library()
    except StepFailed as failure:
        yield _warning(
            rules, f"not known whether these system calls exist: {failure.reason} ({failure.hint})"
        )
        return
    for rule in rules:
        names = rule.at("names").texts()
        unknown = [
            name for name in names if library.seccomp_syscall_resolve_name(os.fsencode(name)) == _UNKNOWN_CALL
        ]
        if unknown:
            reason = f"libseccomp {version_text(library)} doesn't know, and leaves out: {', '.join(unknown)}"
            yield _warning(rule.at("names"), reason)


def _is_of_the_kernel(entry: Node) -> bool:
    options = mount_options.parse(entry.at("options").texts())
    return not (options.bind or options.remount) and entry.at("type").text() not in _NOT_OF_THE_KERNEL


def _file_systems() -> set[str]:
    """Those that are loaded, and those that a module of this kernel is named after. Raises OSError without /proc."""
    with open(_FILESYSTEMS, encoding="ascii") as file:
        known = {line.split()[-1] for line in file}
    try:
        with open(f"{_MODULES}/{os.uname().release}/modules.alias", encoding="utf-8") as file:
            words = [line.split() for line in file]
    except FileNotFoundError:
        return known  # a kernel without modules
    return known | {
        word[1].removeprefix("fs-") for word in words if len(word) > 2 and word[1].startswith("fs-")
    }


def _options(tries: list[tuple[Node, str, str]]) -> Iterator[Violation]:
    """Nothing if they can't be tried, for example because there are no user namespaces: `doctor` says that."""
    import json

    from ociruntime.inspect.doctor import answers, children

    asked = [(kind, word) for _, kind, word in tries]
    answer = children.ask({"options": lambda: answers.works(json.dumps(_try_all(asked)))})["options"]
    if answer.state == answers.WORKS:
        for (option, kind, word), said in zip(tries, json.loads(answer.detail), strict=True):
            if said:
                yield _warning(option, f"{kind} doesn't take {word}: {said}")


def _try_all(asked: list[tuple[str, str]]) -> list[str]:
    """What the kernel has against each option, or "". Runs in a child."""
    from ociruntime.inspect.doctor import calls

    calls.own_mounts(users=os.geteuid() != 0)
    return [_try(kind, word) for kind, word in asked]


def _try(kind: str, word: str) -> str:
    """Give the option to a file system that is not made."""
    from ociruntime.inspect.doctor.calls import system_call
    from ociruntime.native.spawn import read_log

    name, equals, value = map(os.fsencode, word.partition("="))
    command = _SET_STRING if equals else _SET_FLAG
    with Descriptors() as opened:
        try:
            opened["context"] = system_call("fsopen", kind.encode(), 0)
        except OSError:
            return ""  # not in a user namespace: nothing is known
        try:
            system_call("fsconfig", opened["context"], command, name, value if equals else None, 0)
        except OSError as failure:
            if failure.errno == EINVAL:  # and not that a path is missing, or a right
                said = read_log(opened["context"]) or "invalid argument"
                return "" if _OF_IDS in said else said
    return ""
