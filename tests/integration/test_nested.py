# SPDX-License-Identifier: Apache-2.0
"""Does the runtime work as root in a privileged container, as in docker in docker, and in one that it made for an ordinary user?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import default_config, with_namespace, without_namespace
from tests.harness.driver import runtime_under_test
from tests.harness.rootfs import copy_busybox
from tests.harness.stage import new_id
from tests.integration.test_rootless import bundle_of, map_many
from tests.integration.unprivileged import User, command

if TYPE_CHECKING:
    from tests.harness.configuration import Config
    from tests.harness.stage import Stage

COMMAND = command()
TREE = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.skipif(runtime_under_test() in ("runc", "crun"), reason="its own command is called"),
    pytest.mark.skipif(
        not COMMAND,
        reason="the working tree is in a directory that only root can search: move it, or chmod a+x",
    ),
]
# What the command needs of the host, and the tests' own directories.
_SHOWN = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/var/tmp", str(TREE), os.path.dirname(COMMAND))
_LIMIT = 77


_CAPABILITIES = [
    "CAP_" + name
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "NET_ADMIN",
        "NET_RAW",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_ADMIN",
        "MKNOD",
        "AUDIT_WRITE",
        "SETFCAP",
        "BPF",
        "PERFMON",
    ]
]


def _show_the_host(config: Config) -> None:
    """The host's programs, and a place for the runtime's state."""
    config["root"]["readonly"] = False
    for key in ("maskedPaths", "readonlyPaths"):
        config["linux"].pop(key, None)
    for path in _SHOWN:
        if os.path.isdir(path):
            config["mounts"].append(
                {"destination": path, "type": "bind", "source": path, "options": ["rbind"]}
            )
    config["mounts"].append(
        {"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]}
    )
    for mount in config["mounts"]:
        if mount["type"] in ("cgroup", "sysfs") or mount["destination"] == "/sys":
            mount["options"] = [word for word in mount.get("options", []) if word != "ro"]


def _privileged(config: Config) -> None:
    _show_the_host(config)
    config["process"]["capabilities"] = dict.fromkeys(("bounding", "permitted", "effective"), _CAPABILITIES)
    config["process"]["noNewPrivileges"] = False
    config["linux"].setdefault("resources", {})["devices"] = [{"allow": True, "access": "rwm"}]
    if not any(mount["type"] == "cgroup" for mount in config["mounts"]):
        config["mounts"].append(
            {
                "destination": "/sys/fs/cgroup",
                "type": "cgroup",
                "source": "cgroup",
                "options": ["nosuid", "noexec", "nodev"],
            }
        )


def _inner(directory: Path, *args: str, **linux: Any) -> Path:
    """A bundle for the runtime in the container."""
    directory.mkdir()
    copy_busybox(directory / "rootfs", own_files=True)
    config = default_config(*args)
    config["linux"].update(linux)
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize("namespace", [False, True], ids=["host's cgroup namespace", "own cgroup namespace"])
def test_in_a_privileged_container(stage: Stage, place: Path, namespace: bool) -> None:
    """A whole life, with limits that take effect below the outer container's cgroup; nothing is left in it."""
    resources = {"pids": {"limit": _LIMIT}, "devices": [{"allow": False, "access": "rwm"}]}
    inner, name = (
        _inner(place / "inner", "sleep", "1000", resources=resources, cgroupsPath="/in/ner"),
        new_id(),
    )

    def edit(config: Config) -> None:
        _privileged(config)
        if namespace:
            with_namespace(config, "cgroup")
        else:
            without_namespace(config, "cgroup")

    script = f"""
        PATH=/usr/sbin:/usr/bin:/sbin:/bin; set -e
        {COMMAND} create --bundle {inner} {name} </dev/null >/dev/null 2>/run/log || {{ cat /run/log; exit 1; }}
        {COMMAND} start {name}
        {COMMAND} state {name} | grep status
        {COMMAND} exec {name} sh -c 'grep -h -o "in/ner" /proc/self/cgroup | sort -u; echo x >/dev/null'
        find /sys/fs/cgroup -path '*/in/ner/pids.max' -exec cat {{}} +
        {COMMAND} pause {name}; {COMMAND} resume {name}
        {COMMAND} delete --force {name}
        find /sys/fs/cgroup -name ner
    """
    shown = stage.run("sh", "-c", script, edit=edit).ok().out.split()
    assert shown == ['"status":', '"running",', "in/ner", str(_LIMIT)]


def test_without_the_right_to_mount(stage: Stage, place: Path) -> None:
    """In a container with the usual capabilities: an error that names the one that is missing, and nothing is left."""
    inner = _inner(place / "inner", "true")

    def edit(config: Config) -> None:
        _show_the_host(config)
        without_namespace(config, "cgroup")

    done = stage.run(
        "sh", "-c", f"PATH=/usr/bin:/bin {COMMAND} run --bundle {inner} in; ls /run/ociruntime", edit=edit
    )
    assert "CAP_SYS_ADMIN" in done.err
    assert done.out == ""


def test_in_an_ordinary_user_s_container(user: User) -> None:
    """Two user namespaces deep, with the caller's ids; where /proc is not masked it can be mounted again."""
    inner = _inner(user.home / "inner", "sh", "-c", "id -u; cat /proc/self/uid_map; echo x >/dev/null")
    user.own(inner)

    def change(config: dict[str, Any]) -> None:
        map_many(config)
        _show_the_host(config)
        kinds = ("bounding", "permitted", "effective")
        config["process"]["capabilities"] = dict.fromkeys(kinds, _CAPABILITIES)
        config["process"]["env"] = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]

    outer = bundle_of(user, COMMAND, "run", "--bundle", str(inner), "in", change=change)
    done = user.call(COMMAND, "run", "--bundle", outer, new_id())
    assert done.ok().out.split()[0] == "0"
