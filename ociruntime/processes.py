# SPDX-License-Identifier: Apache-2.0
"""Which processes does a container have, and what does the host's `ps` say about them?

`ps` is polled by engines. Must not import a verb, nor what create needs.
"""

from __future__ import annotations

import os

from ociruntime.errors import RuntimeFailure
from ociruntime.linux.cgroups.remove import processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.container import Container

# Where `ps` is looked for: never in the caller's PATH, as an engine's may be anybody's.
_PLACES = ("/usr/bin/ps", "/bin/ps", "/usr/sbin/ps", "/sbin/ps", "/usr/local/bin/ps")


def of(container: Container) -> list[int]:
    """The process ids, in the runtime's pid namespace, of all processes in the container's cgroup.

    Raises RuntimeFailure if it has none (then nobody knows).
    """
    paths = container.cgroup_paths()
    if not paths:
        raise RuntimeFailure(
            "the container has no cgroup", hint="it was created with --cgroup-manager disabled"
        )
    return processes(paths)


def table(pids: list[int], arguments: list[str]) -> str:
    """What `ps` prints with these arguments (-ef if there are none), without the lines of other processes.

    Raises RuntimeFailure if there is no ps, if it fails, or if it prints no column PID.
    """
    output = _run([*(arguments or ["-ef"])])
    lines = [line for line in output.split("\n") if line]
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise RuntimeFailure("couldn't find PID field in ps output")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    kept = [
        line for line in lines[1:] if line.split()[column : column + 1] and line.split()[column] in wanted
    ]
    return "".join(f"{line}\n" for line in [lines[0], *kept])


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
