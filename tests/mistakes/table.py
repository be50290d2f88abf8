# SPDX-License-Identifier: Apache-2.0
"""Which mistakes do people make, and what must an error say so that they find them?

Each is a change to a config that runs, or a command line. `names` is what a good message has: the place in the config or the
name of the flag, and the value or the reason. It is chosen for the reader, not for what any runtime happens to print.

Must not import anything of `ociruntime`: the peers get the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUN = ("run", "--bundle", "BUNDLE", "ID")


@dataclass(frozen=True)
class Mistake:
    """One mistake.

    what      what was done, as a title
    names     what the message must have, each one of these words (alternatives are separated by |)
    change    edits the config, and may change the bundle's directory
    words     the command line; BUNDLE and ID stand for the bundle's directory and a new id
    raw       what config.json is instead of a JSON document
    running   whether a container with this id runs before
    """

    what: str
    names: tuple[str, ...]
    change: Callable[[dict[str, Any], Path], None] = lambda config, directory: None  # noqa: ARG005
    words: tuple[str, ...] = RUN
    raw: bytes = b""
    running: bool = False


def _put(pointer: str, value: Any) -> Callable[[dict[str, Any], Path], None]:
    """Set the value at a JSON pointer; "-" appends to a list."""

    def change(config: dict[str, Any], directory: Path) -> None:
        del directory
        *above, name = pointer.split("/")[1:]
        place: Any = config
        for token in above:
            place = place[int(token)] if isinstance(place, list) else place.setdefault(token, {})
        if name == "-":
            place.append(value)
        else:
            place[name] = value

    return change


def _drop(pointer: str) -> Callable[[dict[str, Any], Path], None]:
    def change(config: dict[str, Any], directory: Path) -> None:
        del directory
        *above, name = pointer.split("/")[1:]
        place: Any = config
        for token in above:
            place = place[token]
        del place[name]

    return change


def _no_rootfs(config: dict[str, Any], directory: Path) -> None:
    del config
    (directory / "rootfs").rename(directory / "root")


def _no_config(config: dict[str, Any], directory: Path) -> None:
    del directory
    config.clear()


def _not_executable(config: dict[str, Any], directory: Path) -> None:
    program = directory / "rootfs" / "work" / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    config["process"]["args"] = ["/work/program"]


def _no_interpreter(config: dict[str, Any], directory: Path) -> None:
    program = directory / "rootfs" / "work" / "program"
    program.write_text("#!/usr/bin/python9\n")
    program.chmod(0o755)
    config["process"]["args"] = ["/work/program"]


def _two_namespaces(config: dict[str, Any], directory: Path) -> None:
    del directory
    config["linux"]["namespaces"].append({"type": "pid"})


def _hook(text: str) -> Callable[[dict[str, Any], Path], None]:
    def change(config: dict[str, Any], directory: Path) -> None:
        del directory
        config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", text]}]}

    return change


_BIND = {"destination": "/data", "type": "bind", "source": "/nonexistent/data", "options": ["rbind"]}
_EXEC = ("exec", "ID")
MISTAKES = (
    Mistake("no config.json", ("config.json", "no such file"), _no_config),
    Mistake("a comma too much", ("config.json", "line 2"), raw=b'{\n "ociVersion": "1.0.2",,\n}'),
    Mistake("config.json is cut off", ("config.json", "line|column"), raw=b'{"ociVersion": "1.0.2", "root": {'),
    Mistake("no root file system", ("rootfs", "no such file|no such directory", "/root/path|root.path"), _no_rootfs),
    Mistake("no program", ("args", "process"), _drop("/process/args")),
    Mistake("no working directory", ("cwd",), _drop("/process/cwd")),
    Mistake("a relative working directory", ("cwd", "absolute"), _put("/process/cwd", "work")),
    Mistake("a working directory that is a file", ("/etc/passwd", "/process/cwd|cwd", "not a directory"), _put("/process/cwd", "/etc/passwd")),
    Mistake("a program that is not there", ("frob", "not found|no such file", "args"), _put("/process/args", ["frob"])),
    Mistake("a program that is not executable", ("/work/program", "permission denied", "args"), _not_executable),
    Mistake("a script whose interpreter is not there", ("/work/program", "python9|interpreter"), _no_interpreter),
    Mistake("a number as text", ("uid", "integer|number", "1000|string"), _put("/process/user/uid", "1000")),
    Mistake("args as text", ("args", "array|list|\\[\\]string"), _put("/process/args", "sh -c true")),
    Mistake("a negative uid", ("uid", "-1"), _put("/process/user/uid", -1)),
    Mistake("a bind of what is not there", ("/nonexistent/data", "no such file", "/mounts/7|/data"), _put("/mounts/-", _BIND)),
    Mistake("an unknown file system", ("frobfs", "/mounts/7|/data", "no such device|unknown"), _put("/mounts/-", {"destination": "/data", "type": "frobfs", "source": "x"})),
    Mistake("an option that a file system doesn't know", ("frob=1", "/mounts/1|/dev"), _put("/mounts/1/options/-", "frob=1")),
    Mistake("a mount on a file of the image", ("/etc/passwd", "/mounts/7|/etc/passwd", "not a directory"), _put("/mounts/-", {"destination": "/etc/passwd", "type": "tmpfs", "source": "tmpfs"})),
    Mistake("an unknown namespace", ("frob", "namespace"), _put("/linux/namespaces/-", {"type": "frob"})),
    Mistake("a namespace twice", ("pid", "namespace", "twice|duplicate|more than once"), _two_namespaces),
    Mistake("a namespace's path that is not there", ("/nonexistent/ns", "namespace"), _put("/linux/namespaces/1/path", "/nonexistent/ns")),
    Mistake("a namespace's path of the wrong type", ("/proc/self/ns/uts", "network|net"), _put("/linux/namespaces/1/path", "/proc/self/ns/uts")),
    Mistake("a host name without its namespace", ("hostname", "uts"), lambda c, d: c["linux"].update(namespaces=[n for n in c["linux"]["namespaces"] if n["type"] != "uts"])),  # noqa: ARG005
    Mistake("a sysctl that is not there", ("net.frob", "/linux/sysctl|sysctl", "no such file"), _put("/linux/sysctl", {"net.frob": "1"})),
    Mistake("a sysctl of the host", ("kernel.panic", "sysctl", "namespace"), _put("/linux/sysctl", {"kernel.panic": "1"})),
    Mistake("an unknown limit", ("RLIMIT_FROB", "rlimit"), _put("/process/rlimits", [{"type": "RLIMIT_FROB", "soft": 1, "hard": 1}])),
    Mistake("a soft limit above the hard one", ("rlimit", "soft", "hard"), _put("/process/rlimits", [{"type": "RLIMIT_NOFILE", "soft": 2000, "hard": 1000}])),
    Mistake("a memory limit that is too small", ("memory", "limit", "4096"), _put("/linux/resources/memory", {"limit": 4096})),
    Mistake("CPUs that are not there", ("cpus|cpuset", "900", "invalid|numerical|no such"), _put("/linux/resources/cpu", {"cpus": "900-901"})),
    Mistake("an unknown system call action", ("SCMP_ACT_FROB", "defaultAction|action"), _put("/linux/seccomp", {"defaultAction": "SCMP_ACT_FROB"})),
    Mistake("an unknown propagation", ("frob", "rootfsPropagation|propagation"), _put("/linux/rootfsPropagation", "frob")),
    Mistake("a hook that fails", ("createRuntime", "exit|status", "my words"), _hook("echo my words >&2; exit 3")),
    Mistake("a hook that is not there", ("createRuntime", "/nonexistent/hook", "no such file"), lambda c, d: c.update(hooks={"createRuntime": [{"path": "/nonexistent/hook"}]})),  # noqa: ARG005
    Mistake("a cgroup path above the root", ("cgroupsPath|cgroup", "../up"), _put("/linux/cgroupsPath", "../../../../../../up")),
    Mistake("mappings without a user namespace", ("uidMappings|mapping", "user namespace|user"), _put("/linux/uidMappings", [{"containerID": 0, "hostID": 100000, "size": 65536}])),
    Mistake("a misspelt verb", ("crate", "create"), words=("crate", "ID")),
    Mistake("a misspelt flag", ("bundlee", "--bundle"), words=("run", "--bundlee", "BUNDLE", "ID")),
    Mistake("no id", ("ID|id", "run|argument"), words=("run", "--bundle", "BUNDLE")),
    Mistake("an id with a slash", ("a/b", "id"), words=("run", "--bundle", "BUNDLE", "a/b")),
    Mistake("an id that is in use", ("exist|in use", "ID"), running=True),
    Mistake("an unknown container", ("exist", "nothing-there"), words=("state", "nothing-there")),
    Mistake("an unknown signal", ("FROB", "signal"), words=("kill", "ID", "FROB"), running=True),
    Mistake("exec of a program that is not there", ("frob", "not found|no such file"), words=(*_EXEC, "frob"), running=True),
    Mistake("exec with an unknown capability", ("CAP_FROB", "unknown"), words=("exec", "--cap", "CAP_FROB", "ID", "true"), running=True),
    Mistake("exec with a user's name", ("nobody", "user|uid|UID"), words=("exec", "--user", "nobody", "ID", "true"), running=True),
    Mistake("delete of a running container", ("running", "ID"), words=("delete", "ID"), running=True),
    Mistake("update to an invalid CPU list", ("cpuset-cpus|cpus", "x-y"), words=("update", "--cpuset-cpus", "x-y", "ID"), running=True),
)  # fmt: skip
assert len({mistake.what for mistake in MISTAKES}) == len(MISTAKES)
