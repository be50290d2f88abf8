# SPDX-License-Identifier: Apache-2.0
"""Why can't ids be mapped here: /etc/subuid, newuidmap, the runtime's own ids? Must not import a subject."""

from __future__ import annotations

import errno
import os
import stat

from ociruntime.linux import accounts
from ociruntime.linux.refusals import Remedy, facts, namespaces

_ORDINARY = 65536  # sub-ids that adduser and useradd give
_FIRST = 100000
_NEEDS = {"newuidmap": facts.CAP_SETUID, "newgidmap": facts.CAP_SETGID}
_WORDS = {"newuidmap": "cap_setuid", "newgidmap": "cap_setgid"}


def map_refused(number: int, file: str, ranges: list[list[int]]) -> Remedy | None:
    """Why a write to /proc/PID/uid_map or gid_map was refused; `ranges` are [id in the container, host's id, size]."""
    if number != errno.EPERM:
        return None
    own = facts.id_map(file)
    for _, first, size in ranges:
        if not any(start <= first and first + size <= start + length for start, _, length in own):
            held = ", ".join(f"{start}-{start + length - 1}" for start, _, length in own) or "none"
            return Remedy(
                f"the host ids {first}-{first + size - 1} are not mapped in the user namespace of the runtime, which has {held}",
                "map ids that it has, or give the outer container more of them",
            )
    if file == "uid_map" and any(first == 0 for _, first, _ in ranges) and not facts.has(facts.CAP_SETFCAP):
        return Remedy(
            "to map the uid 0 of the runtime's user namespace needs CAP_SETFCAP there (since Linux 5.12)",
            "start the outer container with --cap-add SETFCAP, or map other ids",
        )
    needed = facts.CAP_SETUID if file == "uid_map" else facts.CAP_SETGID
    if not facts.has(needed):
        if facts.uid() == 0:
            return Remedy(
                f"root has no {'CAP_SETUID' if file == 'uid_map' else 'CAP_SETGID'} here",
                f"start the outer container with --cap-add {'SETUID' if file == 'uid_map' else 'SETGID'}",
            )
        return namespaces.restriction() or Remedy(
            f"uid {facts.uid()} may map no ids but its own",
            "use newuidmap and newgidmap: apt-get install uidmap",
            root=True,
        )
    return namespaces.restriction() or facts.outer_profile()


def helper(name: str, search: str) -> Remedy | None:
    """Why newuidmap or newgidmap can't do its work; None if nothing is against it.

    search   the value of $PATH
    """
    program = find(name, search)
    if not program:
        return Remedy(f"there is no {name} in $PATH", "apt-get install uidmap", root=True)
    if facts.status("NoNewPrivs") == "1":
        return Remedy(
            f"no_new_privs is set for this process, so {program} gets no privilege",
            "start the outer container without --security-opt no-new-privileges, or the service without NoNewPrivileges=",
        )
    found = os.stat(program)
    set_uid = found.st_uid == 0 and found.st_mode & stat.S_ISUID
    if not set_uid and not _has_capability(program, _NEEDS[name]):
        return Remedy(
            f"{program} has neither the set-uid bit of root nor the capability {_WORDS[name]}",
            f"chmod u+s {program}, or setcap {_WORDS[name]}+ep {program}",
            root=True,
        )
    if os.statvfs(program).f_flag & os.ST_NOSUID:
        return Remedy(
            f"{program} is on a file system that is mounted nosuid", "mount it without nosuid", root=True
        )
    return None


def find(name: str, search: str) -> str:
    """The program of this name in $PATH, or ""."""
    for directory in search.split(":"):
        path = os.path.join(directory or ".", name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def _has_capability(program: str, number: int) -> bool:
    """Is it among the file's permitted capabilities? capabilities(7), vfs_cap_data: its first word is magic, the next permitted."""
    try:
        value = os.getxattr(program, "security.capability")
    except OSError:
        return False
    return bool(int.from_bytes(value[4:8], "little") >> number & 1)


def sub_ids(path: str, user: str, uid: int, needed: int = 0) -> Remedy | None:
    """Why a user's range in /etc/subuid or /etc/subgid will not do; None if it will.

    user     login name, "" if the uid has none; lines may also begin with the uid
    needed   how many ids the mappings want; 0: any will do
    """
    if not user:
        cause = f"uid {uid} has no name in /etc/passwd, and newuidmap asks for one"
        return Remedy(cause, f"useradd --uid {uid} NAME, as root", root=True)
    ranges = read_sub_ids(path, user, uid)
    option = "subuids" if path.endswith("uid") else "subgids"
    give = f"usermod --add-{option} {_FIRST}-{_FIRST + max(needed, _ORDINARY) - 1} {user}"
    if not ranges:
        return Remedy(f"{path} has no range for {user}", give, root=True)
    longest = max(size for _, size in ranges)
    if longest < needed:
        shown = ", ".join(f"{first}:{size}" for first, size in ranges)
        return Remedy(
            f"{path} gives {user} {longest} ids in a row ({shown}), and {needed} are needed",
            give,
            root=True,
        )
    return None


def read_sub_ids(path: str, user: str, uid: int) -> list[tuple[int, int]]:
    """The ranges of a user, as (first id, how many); subuid(5)."""
    ranges = []
    for line in facts.text(path).splitlines():
        name, _, numbers = line.partition(":")
        first, _, size = numbers.partition(":")
        if name in (user, str(uid)) and name and first.isdigit() and size.strip().isdigit() and int(size):
            ranges.append((int(first), int(size)))
    return ranges


def login_name(uid: int) -> str:
    """The name of a user, or "" if it has none."""
    return accounts.login_name(uid, facts.text(accounts.FILE))
