# SPDX-License-Identifier: Apache-2.0
"""`list`: the containers below --root, as a table, as JSON or as bare ids."""

from __future__ import annotations

import os
from errno import ENOENT

from ociruntime.cli.log import emit
from ociruntime.container import list_all
from ociruntime.errors import RuntimeFailure, printable
from ociruntime.jsontext import compact
from ociruntime.linux import accounts
from ociruntime.stateroot import check_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ociruntime.api.documents import State
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings

_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")
_NARROWEST = 12  # runc's table: columns of at least 12, three spaces between
_GAP = 3


def run(settings: Settings, given: Arguments) -> int:
    """Print the containers, ordered by id. Nothing is changed: what is left half done is shown, with a warning."""
    root = settings.state_root()
    if settings.root and check_root(root):
        # A --root that does not exist is a mistake, as in the newest runc; without one, nothing has been made yet.
        raise RuntimeFailure(root, step="read state directory", errno=ENOENT)
    told: list[str] = []
    found = list_all(root, told.append)
    if not given.on("quiet"):
        name_owners(root, found)
    for words in told:  # now, as finding a name may begin the call anew
        settings.log.tell_warning(f"list: {words}")
    if given.on("quiet"):
        emit("".join(f"{state['id']}\n" for state in found))
    elif given.text("format") == "json":
        emit((compact(found) if found else "null") + "\n")  # null: what runc prints if there are none
    else:
        emit(table(found))
    return 0


def name_owners(root: str, found: Sequence[State]) -> None:
    """Add to each state the name of the user who owns the container, "#UID" if the user has none, "" if it has just gone."""
    users = accounts.passwd() if found else ""
    names: dict[int, str] = {}
    for state in found:
        try:
            uid = os.lstat(os.path.join(root, str(state["id"]))).st_uid
        except OSError:
            state["owner"] = ""
            continue
        name = names.get(uid) or accounts.login_name(uid, users)
        if not name:
            from ociruntime.native import full_python

            full_python.need()  # libc may know it from elsewhere than /etc/passwd
            name = f"#{uid}"
        state["owner"] = names[uid] = name


def table(found: Sequence[Mapping[str, object]]) -> str:
    """The states as lines under a heading."""
    rows = [[name.upper() for name in _COLUMNS]]
    # A bundle's path can't break a line or a cell, whatever characters it has; --format json shows it unchanged.
    rows += [[printable(str(state.get(name, ""))) for name in _COLUMNS] for state in found]
    widths = [
        max(_NARROWEST, _GAP + max(len(row[column]) for row in rows)) for column in range(len(_COLUMNS))
    ]
    lines = [
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join(lines) + "\n"
