# SPDX-License-Identifier: Apache-2.0
"""How does an ordinary user map more ids than its own? newuidmap(1) and newgidmap(1), which look into /etc/subuid and /etc/subgid.

Part of the subject idmap. Must not import it.
"""

from __future__ import annotations

import errno
import os

from ociruntime.errors import StepFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.linux.id_ranges import Ranges
    from ociruntime.step import HostStep

_SEARCH = "/usr/bin:/bin"  # where there is no $PATH


def write_by(program: str, pid: int, ranges: Ranges, step: HostStep) -> None:
    """Have the mappings of a process's user namespace written.

    program   "newuidmap" or "newgidmap"
    Raises StepFailed with the program's own words, and what this user lacks.
    """
    from ociruntime.linux.refusals import ids

    search = os.environ.get("PATH") or _SEARCH
    path = ids.find(program, search)
    if not path:
        hint = str(ids.helper(program, search) or "")
        raise StepFailed(program, pointer=step.pointer, step=step.name, errno=errno.ENOENT, hint=hint)
    words = [path, str(pid), *(str(number) for one in ranges for number in one)]
    status, said = _output_of(words)
    if status != 0:
        reason = f"{program}: {said or f'exit status {status}'}"
        raise StepFailed(reason, pointer=step.pointer, step=step.name, hint=_why(program, search, ranges))


def _why(program: str, search: str, ranges: Ranges) -> str:
    """What the refusal is about, as far as it can be told."""
    from ociruntime.linux.refusals import ids

    own = os.geteuid() if program == "newuidmap" else os.getegid()
    file = "/etc/subuid" if program == "newuidmap" else "/etc/subgid"
    needed = max((size for _, first, size in ranges if (first, size) != (own, 1)), default=0)
    user = ids.login_name(os.geteuid())
    found = ids.helper(program, search) or ids.sub_ids(file, user, os.geteuid(), needed)
    if found is not None:
        return str(found)
    given = ", ".join(
        f"{first}-{first + size - 1}" for first, size in ids.read_sub_ids(file, user, os.geteuid())
    )
    return f"{file} gives {user} the ids {given}: map these, and {own}"


def _output_of(words: list[str]) -> tuple[int, str]:
    """(exit status, what it printed) of a program. By posix_spawn: the subprocess module takes 5 ms to import."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    with open(reader, "rb") as stream:
        try:
            actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_DUP2, writer, 2)]
            pid = os.posix_spawn(words[0], words, os.environ, file_actions=actions)
        finally:
            os.close(writer)
        said = stream.read().decode("utf-8", "replace").strip()
    _, status = os.waitpid(pid, 0)
    name = os.path.basename(words[0])
    return os.waitstatus_to_exitcode(status), "; ".join(
        line.removeprefix(f"{name}: ") for line in said.splitlines()
    )
