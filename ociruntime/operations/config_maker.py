# SPDX-License-Identifier: Apache-2.0
"""Which config.json says what a caller wants in a few words?

`make_config` gives an ordinary OCI config as a dict, to be printed, changed and run. A preset says what is not said:

    untrusted   for a program that may be hostile: no network, a read-only root, a private /tmp, no capability, no new
                privileges, a user namespace, limits of memory, processes and CPU, and dangerous system calls refused
    trusted     for a program of one's own: the host's network, a writable root, runc's capabilities, no limits

The verb `spec` takes the tables from here, and with --preset the whole config. Must not import another operation but config_ids.py.
"""

from __future__ import annotations

import os

from ociruntime.errors import UsageError
from ociruntime.host_path import absolute

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from ociruntime.api.seccomp_agent import SeccompAgent

    Config = dict[str, Any]
    Place = str | os.PathLike[str]
    # (source on the host, destination), read-only; or a third word, "ro" or "rw"
    Bind = tuple[Place, str] | tuple[Place, str, str]

OCI_VERSION = "1.0.2"  # the lowest that has every property below: any runtime then takes the config
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
# What tells of the machine, or reaches into it. Those of `spec` are runc's.
MASKED = (
    "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
    "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
)  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_PERIOD = 100_000  # microseconds; the kernel's default
_NOBODY = 65534
_LIMITS = ("memory", "cpus", "pids")
_MIB = 1 << 20
PRESETS: dict[str, Config] = {
    "untrusted": {
        "user": (_NOBODY, _NOBODY),
        "readonly": True,
        "network": False,
        "tmpfs": {"/tmp": 64 * _MIB},
        "memory": 256 * _MIB,
        "pids": 64,
        "cpus": 1.0,
        "capabilities": (),
        "user_namespace": True,
        "seccomp": True,
    },
    "trusted": {
        "user": (0, 0),
        "readonly": False,
        "network": True,
        "tmpfs": {},
        "memory": None,
        "pids": None,
        "cpus": None,
        "capabilities": CAPABILITIES,
        "user_namespace": False,
        "seccomp": False,
    },
}
# What administers the machine or reaches into the kernel's rarely used parts. Refused with EPERM, as for a user without the
# right; the capabilities that most of them need are missing too, but a user namespace gives them back.
_REFUSED_CALLS = (
    "acct", "add_key", "adjtimex", "bpf", "clock_adjtime", "clock_settime", "create_module", "delete_module",
    "fanotify_init", "finit_module", "fsconfig", "fsmount", "fsopen", "fspick", "get_kernel_syms", "get_mempolicy",
    "init_module", "io_uring_enter", "io_uring_register", "io_uring_setup", "ioperm", "iopl", "kcmp", "kexec_file_load",
    "kexec_load", "keyctl", "lookup_dcookie", "mbind", "mount", "mount_setattr", "move_mount", "move_pages", "name_to_handle_at",
    "nfsservctl", "open_by_handle_at", "open_tree", "perf_event_open", "personality", "pivot_root", "process_vm_readv",
    "process_vm_writev", "ptrace", "query_module", "quotactl", "quotactl_fd", "reboot", "request_key", "set_mempolicy",
    "setdomainname", "sethostname", "setns", "settimeofday", "stime", "swapoff", "swapon", "sysfs", "umount", "umount2",
    "unshare", "uselib", "userfaultfd", "ustat", "vhangup", "vm86", "vm86old",
)  # fmt: skip
# clone with a flag of namespaces(7); clone3 has its flags in memory, where a filter can't look: ENOSYS makes libc use clone.
_NAMESPACE_FLAGS = 0x7E020000
_EPERM, _ENOSYS = 1, 38


def make_config(
    args: Sequence[str],
    rootfs: Place,
    *,
    preset: str = "untrusted",
    cwd: str = "/",
    env: Mapping[str, str] | None = None,
    user: tuple[int, int] | None = None,
    hostname: str = "container",
    readonly: bool | None = None,
    binds: Sequence[Bind] = (),
    tmpfs: Mapping[str, int] | None = None,
    memory: int | None = None,
    cpus: float | None = None,
    pids: int | None = None,
    network: bool | None = None,
    capabilities: Sequence[str] | None = None,
    user_namespace: bool | None = None,
    limits: bool = True,
    seccomp: Config | bool | None = None,
    notify: SeccompAgent | None = None,
) -> Config:
    """A config for `bundle.made`.

    args      the program and its arguments
    rootfs    the root file system; a relative path starts at the current directory, as in `binds`
    preset    "untrusted" or "trusted": what the arguments that are None are
    env       added to PATH, whose value is the usual one unless it is here
    user      (uid, gid) in the container
    binds     directories and files of the host: (source, destination), read-only, or with a third word "rw"
    tmpfs     destination -> bytes
    memory    bytes; cpus: 0.5 is half of one; pids: processes and threads
    network   True: the host's. False: none but a loopback
    user_namespace   map the ids 0 to 65535 to 100000 to 165535 of the host; without root, to what this user may map: see
              operations/config_ids.py
    limits    False: no limit of memory, cpus and pids, as an ordinary user may have no cgroup that could have one
    seccomp   True: refuse the dangerous calls. A dict: linux.seccomp as the specification has it
    notify    an agent that answers some system calls; it must be there as long as the container
    Raises UsageError for an unknown preset, InvalidConfig for values that the specification forbids.
    """
    _require_kinds({
        "args": args, "env": env, "binds": binds, "tmpfs": tmpfs, "user": user, "capabilities": capabilities, "cpus": cpus,
    })  # fmt: skip
    given = {
        "user": user, "readonly": readonly, "network": network, "tmpfs": tmpfs, "memory": memory, "pids": pids, "cpus": cpus,
        "capabilities": capabilities, "user_namespace": user_namespace, "seccomp": seccomp,
    }  # fmt: skip
    said = _said(preset, given, limits=limits)
    if notify is not None:
        said["seccomp"] = _asking(notify, said["seccomp"])
    config = {
        "ociVersion": OCI_VERSION,
        "process": _process(list(args), cwd, {"PATH": PATH, **(env or {})}, said),
        "root": {"path": absolute(os.fspath(rootfs)), "readonly": said["readonly"]},
        "hostname": hostname,
        "mounts": [*_mounts(said["tmpfs"]), *map(_bind, binds)],
        "linux": _linux(said),
    }
    _require(config)
    return config


def _is_list(value: object) -> bool:
    """Not an iterator either, which ends when it has been looked at."""
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes)) and not hasattr(value, "keys")


def _is_bind(value: Any) -> bool:
    return _is_list(value) and len(value) in (2, 3)


def _is_user(value: Any) -> bool:
    return _is_list(value) and [type(number) for number in value] == [int, int]


# argument -> whether a value will do, and what is wanted. To Python a str is a list of its letters: without this, the bind "/a"
# would be the host's / at a.
_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "args": (_is_list, 'a list such as ["sh", "-c", ...]'),
    "env": (lambda value: hasattr(value, "keys"), "a dict"),
    "binds": (lambda value: _is_list(value) and all(map(_is_bind, value)), "a list of (source, destination)"),
    "tmpfs": (lambda value: hasattr(value, "keys"), "a dict of destination and bytes"),
    "user": (_is_user, "(uid, gid)"),
    "capabilities": (_is_list, "a list"),
    "cpus": (lambda value: isinstance(value, (int, float)) and 0 < value < float("inf"), "a number above 0"),
}


def _require_kinds(given: Config) -> None:
    """Raise UsageError for an argument of the wrong kind, which would be a config of another meaning, or a traceback."""
    for name, value in given.items():
        fits, wanted = _KINDS[name]
        if value is not None and not fits(value):
            raise UsageError(f"{name}: {wanted} is wanted, not {value!r}")


def _said(preset: str, given: Config, *, limits: bool) -> Config:
    """The arguments, and the preset's values for those that are None."""
    if preset not in PRESETS:
        raise UsageError(f"preset: {preset!r} is unknown", hint=f"one of {', '.join(PRESETS)}")
    said = {name: PRESETS[preset][name] if value is None else value for name, value in given.items()}
    if limits:
        return said
    if any(given[name] is not None for name in _LIMITS):
        raise UsageError("limits: False, but memory, cpus or pids has a value", hint="leave out one of them")
    return {**said, **dict.fromkeys(_LIMITS)}


def _process(args: list[str], cwd: str, env: dict[str, str], said: Config) -> Config:
    names = list(said["capabilities"])
    return {
        "args": args,
        "cwd": cwd,
        "env": [f"{name}={value}" for name, value in env.items()],
        "user": {"uid": said["user"][0], "gid": said["user"][1]},
        "noNewPrivileges": True,
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), names),
    }


def _mounts(tmpfs: Mapping[str, int]) -> list[Config]:
    mounts: list[Config] = [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "noexec", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/shm",
            "type": "tmpfs",
            "source": "shm",
            "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"],
        },
    ]
    mounts += [
        {
            "destination": place,
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "nodev", "mode=1777", f"size={size}"],
        }
        for place, size in tmpfs.items()
    ]
    return mounts


def _bind(bind: Bind) -> Config:
    source, destination, *how = bind
    if how not in ([], ["ro"], ["rw"]):
        raise UsageError(f'binds: {bind!r}: the third word is "ro" or "rw"')
    access = ["nosuid", "nodev"] if how == ["rw"] else ["ro", "nosuid", "nodev"]
    return {
        "destination": destination,
        "type": "bind",
        "source": absolute(os.fspath(source)),
        "options": ["rbind", *access],
    }


def _linux(said: Config) -> Config:
    kinds = ["pid", "ipc", "uts", "mount", "cgroup"]
    if not said["network"]:
        kinds.append("network")
    linux: Config = {
        "resources": _resources(said),
        "maskedPaths": [*MASKED, "/proc/interrupts"],
        "readonlyPaths": list(READONLY),
    }
    if said["user_namespace"]:
        from ociruntime.operations.config_ids import mappings

        kinds.append("user")
        uids, gids = mappings(*said["user"])
        linux |= {"uidMappings": uids, "gidMappings": gids}
    linux["namespaces"] = [{"type": kind} for kind in kinds]
    if said["seccomp"]:
        linux["seccomp"] = _refusing() if said["seccomp"] is True else said["seccomp"]
    return linux


def _resources(said: Config) -> Config:
    found: Config = {"devices": [{"allow": False, "access": "rwm"}]}
    if said["memory"] is not None:
        found["memory"] = {"limit": said["memory"]}
    if said["pids"] is not None:
        found["pids"] = {"limit": said["pids"]}
    if said["cpus"] is not None:
        found["cpu"] = {"period": _PERIOD, "quota": int(said["cpus"] * _PERIOD)}
    return found


def _asking(agent: SeccompAgent, seccomp: Config | bool) -> Config:
    if isinstance(seccomp, dict):
        hint = "give it a rule with SCMP_ACT_NOTIFY, and the agent's path as listenerPath"
        raise UsageError("notify: not possible with a seccomp of your own", hint=hint)
    base: Config = _refusing() if seccomp else {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": []}
    rules = [
        {**rule, "names": [name for name in rule["names"] if name not in agent.calls]}
        for rule in base["syscalls"]
    ]
    rules = [
        {"names": list(agent.calls), "action": "SCMP_ACT_NOTIFY"},
        *(rule for rule in rules if rule["names"]),
    ]
    return {**base, "listenerPath": agent.path, "syscalls": rules}


def _refusing() -> Config:
    masked = {"index": 0, "value": _NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": list(_REFUSED_CALLS), "action": "SCMP_ACT_ERRNO", "errnoRet": _EPERM},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": _ENOSYS},
            *(
                {
                    "names": ["clone"],
                    "action": "SCMP_ACT_ERRNO",
                    "errnoRet": _EPERM,
                    "args": [{**masked, "value": 1 << bit, "valueTwo": 1 << bit}],
                }
                for bit in range(32)
                if _NAMESPACE_FLAGS >> bit & 1
            ),
        ],
    }


def _require(config: Config) -> None:
    """Raise InvalidConfig, with every error, if it is not valid: a size below 0, a relative path."""
    from ociruntime.check import check
    from ociruntime.config import Node

    check.require(Node(config))
