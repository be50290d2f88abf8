# SPDX-License-Identifier: Apache-2.0
"""Which program does the container run, where, and in which environment? (config.md, "Process")

The user that it runs as is in credentials.py and capabilities.py. Must not import another subject.
"""

from __future__ import annotations

from errno import EPERM

from ociruntime.errors import Violation
from ociruntime.step import HostStep, InitStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.launch.context import Context
    from ociruntime.step import Step

KEYS = (
    "/process",
    "/process/args",
    "/process/env",
    "/process/cwd",
    "/process/noNewPrivileges",
    "/process/oomScoreAdj",
)


def check(config: Node) -> Iterator[Violation]:
    """Yield what the schema cannot say about the program and its environment."""
    process = config.at("process")
    for entry in process.at("env"):
        name, equals, _ = entry.text().partition("=")
        if not equals:
            yield Violation(entry.pointer, f"environment entry {name!r} has no =", "R042")
        elif not name:
            yield Violation(
                entry.pointer, f"environment entry {entry.text()[:20]!r} has no name before the =", "R042"
            )
    arguments = process.at("args").texts()
    if not arguments:
        return
    if not arguments[0]:
        yield Violation(
            f"{process.pointer}/args/0",
            'find program "": executable file not found in $PATH: the name is empty',
            "R043",
        )
    elif not candidates(config):
        yield Violation(
            f"{process.pointer}/args/0",
            f"{arguments[0]} will not be found: process.env sets no PATH",
            "R043",
            "warning",  # a valid config, but create fails, as with runc and crun
        )


def plan(config: Node, host: Host) -> Iterator[Step]:  # noqa: ARG001 - the signature of every subject
    """The host steps: oom_score_adj, and only if the config sets it (R054)."""
    score = config.at("process", "oomScoreAdj")
    if score:
        yield HostStep(
            "set_oom_score_adj",
            {"value": score.number()},
            pointer=score.pointer,
            text=str(score.number()),
        )


def apply(step: HostStep, context: Context) -> None:
    """Write oom_score_adj through the runtime's own /proc, which the container does not control."""
    with open(f"/proc/{context.pid}/oom_score_adj", "wb", buffering=0) as file:
        file.write(str(step.args["value"]).encode())


def plan_affinity(host: Host) -> Iterator[InitStep]:
    """Once it is in its cgroup: all CPUs that the cpuset allows, not just those of the runtime's caller.

    A service manager with few CPUs for itself must not confine the containers that it starts; runc and
    crun do the same in their newer versions. No privilege is needed: the kernel leaves out what is not allowed
    (EPERM is an outer seccomp filter's).
    """
    words = -(-host.cpus // 64) * 2
    yield InitStep(
        "affinity", [0xFFFFFFFF] * words, name="reset CPU affinity", text="all that are allowed", ignore=EPERM
    )


def plan_directory(config: Node, host: Host) -> Iterator[Step]:  # noqa: ARG001
    """While the root can still be written to: cwd, if it is missing (as runc; later chdir makes it)."""
    cwd = config.at("process", "cwd")
    if cwd and config.at("root", "readonly").flag():
        yield InitStep("mkdir", cwd.text(), 0o755, name="make cwd", pointer=cwd.pointer, text=cwd.text())


def plan_enter(config: Node, host: Host) -> Iterator[Step]:  # noqa: ARG001
    """Inside the new root, still with all capabilities: enter cwd, which is made if it is missing."""
    cwd = config.at("process", "cwd")
    if cwd:
        yield InitStep("chdir", cwd.text(), 1, pointer=cwd.pointer, text=cwd.text())


def plan_enter_existing(config: Node) -> Iterator[Step]:
    """In a container that runs: enter cwd, which must be there, as with runc."""
    cwd = config.at("process", "cwd")
    yield InitStep("chdir", cwd.text(), 0, pointer=cwd.pointer, text=cwd.text())


def plan_program(config: Node, host: Host) -> Iterator[Step]:  # noqa: ARG001
    """With the final credentials, still in create: look for the program. (A missing one fails in `create`, as in runc.)"""
    arguments = config.at("process", "args")
    if arguments:
        yield InitStep(
            "find_program", candidates(config), pointer=f"{arguments.pointer}/0", text=arguments.texts()[0]
        )


def plan_no_new_privs(config: Node, host: Host) -> Iterator[Step]:  # noqa: ARG001
    """Set no_new_privs: no execve gives more privileges from here on."""
    wanted = config.at("process", "noNewPrivileges")
    if wanted.flag():
        yield InitStep("no_new_privs", pointer=wanted.pointer)


def plan_exec(config: Node, home: str | None, listen_fds: int = 0, listen_names: str = "") -> Iterator[Step]:
    """The last step of all: init becomes the program.

    home           the user's home directory by the container's /etc/passwd (credentials.home_of), or None
    listen_fds     number of sockets that are passed to it from descriptor 3 on (sd_listen_fds(3))
    listen_names   what they are called, or ""
    """
    arguments = config.at("process", "args")
    if arguments:
        words = arguments.texts()
        yield InitStep(
            "exec",
            candidates(config),
            words,
            environment(config, home) + _listening(listen_fds, listen_names),
            pointer=arguments.pointer,
            text=" ".join(words),
        )


def candidates(config: Node) -> list[str]:
    """The paths to try for args[0], in order, as execvp(3) makes them (R043).

    An empty element of PATH is the current directory. Without a PATH (or with an empty one) nothing is
    found: POSIX leaves that to the implementation, and so do runc and crun.
    """
    process = config.at("process")
    arguments = process.at("args").texts()
    if not arguments:
        return []
    program = arguments[0]
    if "/" in program:
        return [program]
    path = _variables(process.at("env")).get("PATH", "")
    return [f"{element or '.'}/{program}" for element in path.split(":")] if path and program else []


def environment(config: Node, home: str | None) -> list[str]:
    """The program's environment: a name that is given twice has the last value, at the place of the first.

    HOME is added (or replaced, if it is empty), as runc does, because shells and many programs rely on it.
    """
    variables = _variables(config.at("process", "env"))
    if not variables.get("HOME"):
        variables["HOME"] = "/" if home is None else home
    return [f"{name}={value}" for name, value in variables.items()]


def _listening(count: int, names: str) -> list[str]:
    """The variables that tell a program about its sockets; in its pid namespace it is process 1."""
    if not count:
        return []
    return [f"LISTEN_FDS={count}", "LISTEN_PID=1", *([f"LISTEN_FDNAMES={names}"] if names else [])]


def _variables(env: Node) -> dict[str, str]:
    variables: dict[str, str] = {}
    for entry in env.texts():
        name, _, value = entry.partition("=")
        variables[name] = value
    return variables
