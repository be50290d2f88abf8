# SPDX-License-Identifier: Apache-2.0
"""Which ids of the host may the caller give to the user namespace of a new config?

    root                       100000 to 165535
    an ordinary user           its range of /etc/subuid and /etc/subgid, if newuidmap and newgidmap can write it. The user's own
                               id is not among them: what belongs to the user is not the container's to change
    root of a user namespace   what is mapped there, without its root
    anyone who has none        one id, the caller's, as the program's

Must not import another operation.
"""

from __future__ import annotations

import os

from ociruntime.identity import is_rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    Mappings = list[dict[str, int]]

# The second 65,536, which no account has by default (login.defs, SUB_UID_MIN).
_FIRST_ID, _IDS = 100_000, 65_536
_PROGRAMS = {"uid": "newuidmap", "gid": "newgidmap"}
_TABLES = {"uid": "/etc/subuid", "gid": "/etc/subgid"}


def mappings(uid: int, gid: int) -> tuple[Mappings, Mappings]:
    """UidMappings and gidMappings for a container whose program has these ids.

    Either both have a range or neither: with one gid, the kernel wants setgroups to be denied (user_namespaces(7)).
    """
    ranges = {kind: _range(kind) for kind in _PROGRAMS}
    if not all(ranges.values()):
        return [_mapping(uid, os.geteuid(), 1)], [_mapping(gid, os.getegid(), 1)]
    return _spread(uid, *ranges["uid"]), _spread(gid, *ranges["gid"])


def _spread(wanted: int, first: int, size: int) -> Mappings:
    """The ids from 0 on; the last one is `wanted`, if the range does not reach that far."""
    size = min(size, _IDS)
    if wanted < size:
        return [_mapping(0, first, size)]
    rest = [_mapping(0, first, size - 1)] if size > 1 else []
    return [*rest, _mapping(wanted, first + size - 1, 1)]


def _mapping(container: int, host: int, size: int) -> dict[str, int]:
    return {"containerID": container, "hostID": host, "size": size}


def _range(kind: str) -> tuple[int, int] | tuple[()]:
    """(first id of the host, how many) that this process may map; () if there is none but its own."""
    if not is_rootless():
        return _FIRST_ID, _IDS
    from ociruntime.linux.refusals import facts, ids

    if os.geteuid() == 0:
        mapped = [(max(first, 1), first + size) for first, _, size in facts.id_map(f"{kind}_map")]
        found = [(first, end - first) for first, end in mapped if end > first]
    else:
        user = ids.login_name(os.geteuid())
        if not user or ids.helper(_PROGRAMS[kind], os.environ.get("PATH", os.defpath)):
            return ()
        found = ids.read_sub_ids(_TABLES[kind], user, os.geteuid())
    return max(found, key=lambda one: one[1], default=())
