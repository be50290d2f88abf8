# SPDX-License-Identifier: Apache-2.0
"""`spec`: write a config.json to start from: a shell in `rootfs`, a terminal, few rights; or what the library's preset says."""

from __future__ import annotations

import os

from ociruntime.errors import UsageError
from ociruntime.host import probe
from ociruntime.jsontext import indented
from ociruntime.operations.config_maker import CAPABILITIES, MASKED, OCI_VERSION, PATH, READONLY, make_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings

_MOUNTS: list[tuple[str, str, str, list[str]]] = [
    ("/proc", "proc", "proc", []),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
    ("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
]  # fmt: skip


def run(settings: Settings, given: Arguments) -> int:
    """Write config.json into the bundle's directory; an existing one is never overwritten."""
    del settings
    directory = given.text("bundle", ".")
    path = os.path.join(directory, "config.json")
    config = _config(given.text("preset"), rootless=given.on("rootless"))
    data = (indented(config, "\t") + "\n").encode()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise UsageError(f"{path} already exists", hint="remove it first") from None
    except OSError as failure:
        raise UsageError(path, errno=failure.errno or 0) from None
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
    except OSError as failure:  # a full disk, say: half a config is of no use
        os.unlink(path)
        raise UsageError(path, errno=failure.errno or 0) from None
    return 0


def _config(preset: str, *, rootless: bool) -> dict[str, Any]:
    if preset:
        if rootless:
            raise UsageError("flags --preset and --rootless: only one of them is possible")
        config = make_config(["sh"], "rootfs", preset=preset)
        config["root"]["path"] = "rootfs"  # in the bundle, wherever that will be
        return config
    config = default_config(probe().cgroups.kind == "v2")
    if rootless:
        without_root(config, os.geteuid(), os.getegid())
    return config


def without_root(config: dict[str, Any], uid: int, gid: int) -> None:
    """Change the config to one that this user can run: as root of a user namespace, in the host's network, without limits."""
    linux = config["linux"]
    del linux["resources"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "network"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": 0, "hostID": uid, "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": gid, "size": 1}]
    for mount in config["mounts"]:
        if mount["type"] == "devpts":  # no other group than root is mapped
            mount["options"].remove("gid=5")
        elif mount["type"] == "sysfs":  # a new one needs a network namespace of one's own
            mount.update(type="none", source="/sys", options=["rbind", "nosuid", "noexec", "nodev", "ro"])


def default_config(cgroup_namespace: bool) -> dict[str, Any]:
    """The document; with a cgroup namespace where cgroup v2 is the only hierarchy, as runc has it."""
    kinds = ["pid", "network", "ipc", "uts", "mount"] + (["cgroup"] if cgroup_namespace else [])
    mounts: list[dict[str, Any]] = []
    for destination, kind, source, options in _MOUNTS:
        mount: dict[str, Any] = {"destination": destination, "type": kind, "source": source}
        if options:
            mount["options"] = list(options)
        mounts.append(mount)
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [f"PATH={PATH}", "TERM=xterm"],
            "cwd": "/",
            # Debian's runc adds an ambient set, which can't be granted without an inheritable one.
            "capabilities": {name: list(CAPABILITIES) for name in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "ociruntime",
        "mounts": mounts,
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [{"type": kind} for kind in kinds],
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READONLY),
        },
    }
