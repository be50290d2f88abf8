# SPDX-License-Identifier: Apache-2.0
"""Filters of system calls that tests give to containers, and Docker's default one as Debian ships it.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.configuration import Config

DOCKERS = Path("/usr/share/containers/seccomp.json")  # golang-github-containers-common

# What a static program of the GNU C library needs to start, print and end.
STATIC_PROGRAM = (
    "execve", "brk", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "readlink",
    "readlinkat", "getrandom", "mprotect", "fstat", "newfstatat", "ioctl", "write", "exit_group", "exit",
)  # fmt: skip

# The peers do more behind the filter than a static program needs.
PEERS_NEED = (
    "read", "openat", "close", "fcntl", "futex", "epoll_pwait", "epoll_ctl", "epoll_create1", "nanosleep", "getpid",
    "gettid", "tgkill", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "mmap", "munmap", "madvise",
    "clone", "clone3", "sched_yield", "sendto", "sendmsg", "recvfrom", "recvmsg", "prctl", "capget", "capset", "chdir",
    "fchdir", "getcwd", "setuid", "setgid", "setresuid", "setresgid", "setgroups", "getppid", "fstatfs", "statfs",
    "getdents64", "lseek", "stat", "lstat", "faccessat", "faccessat2", "access", "pipe2", "wait4", "close_range",
    "timer_settime", "timer_create", "timer_delete", "keyctl", "getuid", "geteuid", "getgid", "getegid", "seccomp",
    "poll", "pread64", "umask", "dup3", "fsync", "eventfd2", "getpriority", "socket", "connect", "memfd_create",
)  # fmt: skip


def rule(*names: str, action: str, args: list[dict[str, Any]] | None = None, errno: int | None = None) -> Any:
    """One entry of linux.seccomp.syscalls."""
    made: dict[str, Any] = {"names": list(names), "action": f"SCMP_ACT_{action}"}
    if args:
        made["args"] = args
    if errno is not None:
        made["errnoRet"] = errno
    return made


def condition(index: int, operator: str, value: int, value_two: int = 0) -> dict[str, Any]:
    """One entry of a rule's args."""
    return {"index": index, "op": f"SCMP_CMP_{operator}", "value": value, "valueTwo": value_two}


def with_filter(
    *rules: Any, default: str = "ALLOW", new_privileges: bool = False, **more: Any
) -> Callable[[Config], None]:
    """An edit that gives a container this filter; new_privileges: without noNewPrivileges."""

    def edit(config: Config) -> None:
        config["process"]["noNewPrivileges"] = not new_privileges
        config["linux"]["seccomp"] = {
            "defaultAction": f"SCMP_ACT_{default}",
            "syscalls": list(rules),
            **more,
        }

    return edit


# Filters that can't be made: there is no agent to notify (and write is refused), or rules contradict each other.
_NOTIFY = rule("mkdir", action="NOTIFY")
NO_AGENT = with_filter(_NOTIFY, listenerPath="/no/such/agent")
NO_AGENT_NO_WRITE = with_filter(_NOTIFY, rule("write", action="ERRNO"), listenerPath="/no/such/agent")
CONFLICT = with_filter(
    *(rule("chroot", action="ERRNO", args=[condition(0, "EQ", 1)], errno=n) for n in (1, 2))
)


def dockers_filter(capabilities: set[str]) -> dict[str, Any]:
    """Docker's default profile as an engine resolves it for a container with these capabilities on x86_64.

    The file is a template: what applies only to other architectures, or depends on capabilities, is chosen here.
    """
    profile = json.loads(DOCKERS.read_text())
    chosen = []
    for entry in profile["syscalls"]:
        only, never = entry["includes"], entry["excludes"]
        if "arches" in only and "amd64" not in only["arches"]:
            continue
        if "caps" in only and not capabilities.issuperset(only["caps"]):
            continue
        if capabilities.intersection(never.get("caps", ())):
            continue
        chosen.append({key: entry[key] for key in ("names", "action", "args", "errnoRet") if entry.get(key)})
    listed = next(one for one in profile["archMap"] if one["architecture"] == "SCMP_ARCH_X86_64")
    return {
        "defaultAction": profile["defaultAction"],
        "defaultErrnoRet": profile["defaultErrnoRet"],
        "architectures": [listed["architecture"], *listed["subArchitectures"]],
        "syscalls": chosen,
    }
