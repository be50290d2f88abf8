# SPDX-License-Identifier: Apache-2.0
"""Which config.json does a test start from? What `runc spec` writes, as a value of our own, and named edits.

Without its ambient capabilities, which newer ones don't write: without inheritable ones they can't be granted.

Must not import anything of `ociruntime`: these configs are also given to the peers.
"""

from __future__ import annotations

import copy
from typing import Any

Config = dict[str, Any]

VERSION = "1.3.0"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
_THREE = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]


def _mount(destination: str, kind: str, source: str, *options: str) -> Config:
    entry: Config = {"destination": destination, "type": kind, "source": source}
    if options:
        entry["options"] = list(options)
    return entry


_DEFAULT: Config = {
    "ociVersion": VERSION,
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": [PATH, "TERM=xterm"],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), _THREE),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "runc",
    "mounts": [
        _mount("/proc", "proc", "proc"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts", "devpts", "devpts",
            "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5",
        ),
        _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
    ],
    "linux": {
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        "maskedPaths": [
            "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
        ],
        "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
    },
}  # fmt: skip


def default_config(*args: str) -> Config:
    """A fresh copy of the default config that runs `args` without a terminal."""
    config = copy.deepcopy(_DEFAULT)
    if args:
        config["process"]["args"] = list(args)
    return config


def writable_root(config: Config) -> None:
    """Let the container write into its root file system."""
    config["root"]["readonly"] = False


def without_namespace(config: Config, kind: str) -> None:
    """Take one namespace out: the container shares the runtime's."""
    config["linux"]["namespaces"] = [one for one in config["linux"]["namespaces"] if one["type"] != kind]


def with_namespace(config: Config, kind: str, path: str = "") -> None:
    """Give the container a new namespace of that kind, or the one at `path`."""
    without_namespace(config, kind)
    config["linux"]["namespaces"].append({"type": kind, "path": path} if path else {"type": kind})


def id_maps(*triples: tuple[int, int, int]) -> list[Config]:
    """Mappings of (containerID, hostID, size)."""
    return [{"containerID": first, "hostID": host, "size": size} for first, host, size in triples]


def with_users(config: Config, *triples: tuple[int, int, int], path: str = "") -> None:
    """A user namespace with these mappings, for users and groups alike; or the one at `path`, with these or none."""
    with_namespace(config, "user", path)
    if triples or not path:
        maps = id_maps(*(triples or ((0, 100000, 65536),)))
        config["linux"].update(uidMappings=maps, gidMappings=maps)


def set_capabilities(config: Config, *names: str) -> None:
    """The same capabilities in all five sets."""
    config["process"]["capabilities"] = {name: list(names) for name in CAPABILITY_SETS}


def add_hook(
    config: Config,
    kind: str,
    *args: str,
    env: list[str] | None = None,
    timeout: int | None = None,
) -> None:
    """Append a hook that runs `args`; args[0] is also its path."""
    hook: Config = {"path": args[0], "args": list(args)}
    if env is not None:
        hook["env"] = env
    if timeout is not None:
        hook["timeout"] = timeout
    config.setdefault("hooks", {}).setdefault(kind, []).append(hook)


def add_bind(config: Config, source: str, destination: str, *options: str) -> None:
    """Append a recursive bind mount."""
    config["mounts"].append(_mount(destination, "bind", source, "rbind", *options))
