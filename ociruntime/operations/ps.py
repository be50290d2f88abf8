# SPDX-License-Identifier: Apache-2.0
"""Which processes does a container have, and what does the host's `ps` say about them?

`ps` is polled by engines. Must not import a verb, nor what create needs.
"""

from __future__ import annotations

import os

from ociruntime.errors import RuntimeFailure, WrongState
from ociruntime.linux.cgroups.remove import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.container import Container

_MARK = "OCIRUNTIME"  # title of our column: wider than any pid, and not a title that ps uses
# Where `ps` is looked for: never in the caller's PATH, where an engine may have anyone's directories.
_PLACES = ("/usr/bin/ps", "/bin/ps", "/usr/sbin/ps", "/sbin/ps", "/usr/local/bin/ps")


def of(container: Container) -> list[int]:
    """The process ids, in the runtime's pid namespace, of all processes in the container's cgroup.

    Without a cgroup of its own: of all in its pid namespace. Raises RuntimeFailure if it has none of these (then they are
    unknown), WrongState if the container is not made yet.
    """
    if not container.record:
        raise WrongState(
            "the container is being created" if not container.interrupted else "container not running"
        )
    if not container.record.cgroup_paths and not container.record.shares_pids:
        return _in_pid_namespace(container)
    return processes(container.cgroup_paths())


def _in_pid_namespace(container: Container) -> list[int]:
    """Those of the caller, that is: what belongs to other users can't be looked at without root."""
    if container.rough_status() == "stopped":
        return []
    wanted = _pid_namespace(container.pid)
    if not wanted:  # while it waits for start, nobody but root may look at init: and it is alone
        return [container.pid]
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return sorted(pid for pid in pids if _pid_namespace(pid) == wanted)


def _pid_namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid")
    except OSError:
        return ""  # it has ended, or is somebody else's


def table(pids: list[int], arguments: list[str]) -> str:
    """What `ps` prints with these arguments (-ef if there are none), without the lines of other processes.

    Raises RuntimeFailure if there is no ps, if it fails, or if it prints no column PID.
    """
    rows = _marked(arguments) or _split(arguments or ["-ef"])
    if not rows or "PID" not in rows[0][1].split():
        raise RuntimeFailure("couldn't find PID field in ps output")
    wanted = {str(pid) for pid in pids}
    return "".join(f"{line}\n" for number, (pid, line) in enumerate(rows) if number == 0 or pid in wanted)


def _marked(arguments: list[str]) -> list[tuple[str, str]]:
    """(pid, line) of what ps prints if the arguments choose the columns; else nothing.

    Our column comes first: after it, the name of a process (`a 1`) may look like another column.
    """
    # -o, -eo and axo; --format. Whether it really is one of these, ps itself decides.
    if not any("o" in word and (word[:2] != "--" or word.startswith("--f")) for word in arguments):
        return []
    try:
        lines = _lines(["-o", f"pid={_MARK}", *arguments])
    except RuntimeFailure:  # it can't be added, or the arguments are wrong: without it ps says which
        return []
    if not lines or not lines[0].startswith(f"{_MARK} "):
        return []
    width = len(_MARK)
    return [(line[:width].strip(), line[width + 1 :]) for line in lines]


def _split(arguments: list[str]) -> list[tuple[str, str]]:
    """The same for formats with fixed columns, like -ef and aux: there no process name comes before PID."""
    lines = _lines(arguments)
    titles = lines[0].split() if lines else []
    column = titles.index("PID") if "PID" in titles else 0
    labels = "LABEL" in titles[:column]
    rows = []
    for line in lines:
        words = line.split()
        if labels:  # AppArmor's have their mode in a second word: `docker-default (enforce)`
            words = [word for word in words[: column + 1] if word[0] != "("] + words[column + 1 :]
        rows.append((words[column] if len(words) > column else "", line))
    return rows


def _lines(arguments: list[str]) -> list[str]:
    return [line for line in _run(arguments).split("\n") if line]


def _run(arguments: list[str]) -> str:
    program = next((place for place in _PLACES if os.access(place, os.X_OK)), "")
    if not program:
        raise RuntimeFailure("ps: no such program on this host", hint="apt-get install procps")
    reading, writing = os.pipe()
    try:
        pid = os.posix_spawn(
            program,
            ["ps", *arguments],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, writing, 1),
                (os.POSIX_SPAWN_DUP2, writing, 2),
            ],
        )
    finally:
        os.close(writing)
    with open(reading, "rb", buffering=0) as file:
        output = os.fsdecode(file.read())
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise RuntimeFailure(f"ps: exit status {code}: {' | '.join(output.strip().splitlines())}")
    return output
