# SPDX-License-Identifier: Apache-2.0
"""Which user, groups and umask does the program run with? (config.md, "User")

Capabilities have their own module. Must not import another subject.
"""

from __future__ import annotations

import os
import stat

from ociruntime.descriptors import Descriptors
from ociruntime.errors import StepFailed, Violation
from ociruntime.linux import namespace_entries
from ociruntime.linux.annotations import KEEP_GROUPS, value_of
from ociruntime.step import InitStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.step import Step

KEYS = (
    "/process/user",
    "/process/user/uid",
    "/process/user/gid",
    "/process/user/umask",
    "/process/user/additionalGids",
)

# To the kernel -1 means "leave it as it is": a user 4294967295 would stay root.
_NO_ID = 0xFFFFFFFF

INHERITED_UMASK = 0xFFFFFFFF  # see op umask in native/plan.h

_PASSWD_LIMIT = 1 << 20  # bytes; the file comes from the image, which may be hostile
_LINK_LIMIT = 40  # symbolic links on the way, as the kernel counts them


def check(config: Node) -> Iterator[Violation]:
    """Yield ids that the kernel cannot take, and ids that the user namespace does not map."""
    user = config.at("process", "user")
    groups = list(user.at("additionalGids"))
    ids = [(user.at("uid"), "uidMappings"), (user.at("gid"), "gidMappings")]
    ids += [(group, "gidMappings") for group in groups]
    own_user_namespace = _has_own_user_namespace(config)
    for one, mappings in ids:
        if not one:
            if user:
                yield Violation(one.pointer, "is required; 0 is assumed", "R062", "warning")
            continue
        if one.number() == _NO_ID:
            yield Violation(one.pointer, f"invalid id {_NO_ID}: to the kernel it means no change", "R062")
        elif own_user_namespace and not _is_mapped(one.number(), config.at("linux", mappings)):
            yield Violation(one.pointer, f"id {one.number()} is not mapped by linux.{mappings}", "R062")


def _setgroups_denied(config: Node, host: Host) -> bool:
    from ociruntime.linux import id_ranges  # root's exec does not load it

    return id_ranges.setgroups_denied(config, host)


def plan_early(config: Node, host: Host) -> Iterator[Step]:
    """After the working directory and before capabilities are dropped: umask and groups.

    The groups are always set: those of the caller must not leak into the container (R064), unless an annotation
    says that they are wanted there. A user namespace may deny that: then they stay, and no others can be given.

    Raises StepFailed for additional groups that can't be given.
    """
    process = config.at("process")
    umask = process.at("user", "umask")
    if umask:
        mask = umask.number() & 0o777  # the kernel takes no other bits
        yield InitStep("umask", mask, pointer=umask.pointer, text=f"{mask:04o}")
    else:
        yield InitStep("umask", INHERITED_UMASK, text="as the caller's")
    if not process:
        return
    groups = process.at("user", "additionalGids")
    if value_of(config, KEEP_GROUPS):
        return
    if host.rootless and _setgroups_denied(config, host):
        if len(groups):
            raise StepFailed(
                "setgroups is denied in the container's user namespace, so it gets no additional groups",
                pointer=groups.pointer,
                hint="map more than your own group, which takes newgidmap and a range in /etc/subgid",
            )
        return
    numbers = list(dict.fromkeys(group.number() for group in groups))  # setgroups(2) would keep repetitions
    yield InitStep(
        "groups", numbers, pointer=groups.pointer, text=" ".join(map(str, numbers)) if numbers else "none"
    )


def plan_streams(config: Node) -> Iterator[Step]:
    """Before `plan_late`, while init has CAP_CHOWN: the user gets the standard streams, and can then open /dev/stdout.

    Root needs no such step, as an engine's pipes are root's already; a terminal has its own (linux/console.py).
    Hooks have none: what they print may go to a file of the host that several containers share.
    """
    process = config.at("process")
    user = process.at("user")
    uid = user.at("uid").number()
    if uid and not process.at("terminal").flag():
        yield InitStep(
            "stream_owner", uid, name="give streams", pointer=user.pointer, text=f"0, 1 and 2 to uid {uid}"
        )


def plan_late(config: Node, host: Host) -> Iterator[Step]:  # noqa: ARG001
    """After the bounding set: become the user; permitted capabilities are kept for the step after it."""
    process = config.at("process")
    if not process:
        return
    user = process.at("user")
    uid, gid = user.at("uid").number(), user.at("gid").number()
    yield InitStep("user", uid, gid, pointer=user.pointer, text=f"uid {uid} gid {gid}")


def home_of(uid: int, rootfs: str) -> str | None:
    """The home directory of `uid` according to the /etc/passwd below `rootfs`, or None.

    Called before the plan is made, because it looks at a file. Symbolic links are followed inside the
    rootfs and never out of it; anything but a regular file, and lines that make no sense, are ignored.
    """
    wanted = str(uid).encode()
    for line in _read_inside(rootfs, ["etc", "passwd"]).split(b"\n"):
        fields = line.split(b":")
        # getpwent(3) does not take a # line as a comment, and a short line still names its user
        if len(fields) > 2 and fields[2] and (fields[2].lstrip(b"0") or b"0") == wanted:
            return os.fsdecode(fields[5]).partition("\0")[0] if len(fields) > 5 else ""
    return None


def _has_own_user_namespace(config: Node) -> bool:
    """True for a new user namespace with mappings; what a joined one maps is not known here."""
    new = namespace_entries.is_new(config, "user")
    return new and len(config.at("linux", "uidMappings")) > 0 and len(config.at("linux", "gidMappings")) > 0


def _is_mapped(number: int, mappings: Node) -> bool:
    """True if an entry has the id, or lacks a number: the schema has reported that already."""
    for entry in mappings:
        first, size = entry.at("containerID"), entry.at("size")
        if not (first and size) or 0 <= number - first.number() < size.number():
            return True
    return False


def _read_inside(rootfs: str, path: list[str]) -> bytes:
    """The beginning of a regular file below `rootfs`, or b"" if there is none.

    Walks by descriptors and resolves links itself: every component is opened with O_NOFOLLOW relative
    to its directory, and `..` goes back on the walk's own stack, so that no race leads out.
    """
    opened = Descriptors()
    stack: list[str] = ["0"]  # names in `opened`
    try:
        opened["0"] = os.open(rootfs, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        todo, links = list(reversed(path)), 0
        while todo:
            name = todo.pop()
            if name in ("", "."):
                continue
            if name == "..":
                if len(stack) > 1:
                    os.close(opened.pop(stack.pop()))
                continue
            here, found = opened[stack[-1]], f"{len(stack)}"
            opened[found] = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
            mode = os.fstat(opened[found]).st_mode
            if not stat.S_ISLNK(mode):
                stack.append(found)
                if not todo:
                    return _contents(name, here) if stat.S_ISREG(mode) else b""
                continue
            target = os.readlink(b"", dir_fd=opened[found])  # the link itself, whatever its name means by now
            os.close(opened.pop(found))
            links += 1
            if links > _LINK_LIMIT:
                return b""
            if target.startswith(b"/"):
                while len(stack) > 1:
                    os.close(opened.pop(stack.pop()))
            todo.extend(reversed(os.fsdecode(target).split("/")))
    except OSError:  # no such file, or not one that can be read: the caller has a default
        return b""
    finally:
        opened.close()
    return b""


def _contents(name: str, directory: int) -> bytes:
    # O_NONBLOCK: what was a file a moment ago may be a pipe by now, and a pipe would hang create
    with Descriptors() as opened:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        opened["file"] = descriptor = os.open(name, flags, dir_fd=directory)
        status = os.fstat(descriptor)
        # Files of procfs have size 0. The runtime may have the right to read some that the container may not, and some
        # change when they are read: what has been read from /proc/kmsg is gone from the kernel's log.
        if not stat.S_ISREG(status.st_mode) or not status.st_size:
            return b""
        return os.read(descriptor, _PASSWD_LIMIT)
