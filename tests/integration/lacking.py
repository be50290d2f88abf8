# SPDX-License-Identifier: Apache-2.0
"""How does a host lack something that a container needs? Each lack is made really, around one call of the command.

In namespaces of the call's own, by a limit, a mount, a filter or other ids. test_doctor.py has what must be said then.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.harness import outer_filter
from tests.harness.cgroup_files import V2
from tests.harness.configuration import add_bind, id_maps, with_namespace, with_users

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.configuration import Config

_FILTER = str(Path(outer_filter.__file__))
_ALL_CONTROLLERS = "for one in $(awk '/ - cgroup/ {print $5}' /proc/self/mountinfo | sort -r); do"

# Another procfs, as that of a container of the host, would do for the kernel.
_ONE_PROC = "for one in $(awk '/ - proc / && $5 != \"/proc\" {print $5}' /proc/self/mountinfo); do umount -l $one; done"


class Lack(NamedTuple):
    """One thing that is missing.

    wrapper   command words before the runtime's
    probe     the doctor's name of it
    words     that cause and cure have, in the doctor's answer and in the command's error
    step      words of the command's error besides; none: OF_STEPS shows what a single step says
    edit      what the config needs so that it fails
    options   global flags of the runtime
    """

    wrapper: list[str]
    probe: str
    words: tuple[str, ...]
    step: tuple[str, ...]
    edit: Callable[[Config], None] | None = None
    options: tuple[str, ...] = ()


def shell(script: str, *unshare: str) -> list[str]:
    """Run a script in new namespaces, then the rest of the command line."""
    return ["unshare", *unshare, "sh", "-ec", f'{script}\nexec "$@"', "sh"]


def filtered(error: str, *calls: str) -> list[str]:
    """An outer seccomp filter."""
    return [sys.executable, _FILTER, error, ",".join(calls)]


def _limit(kind: str, probe: str, step: str, edit: Callable[[Config], None] | None = None) -> Lack:
    name = f"user.max_{kind}_namespaces"
    script = f"echo 0 > /proc/sys/user/max_{kind}_namespaces"
    words = (f"{name} is 0", f"sysctl -w {name}=")
    said = (step, "ENOSPC") if step else ()
    wrapper = shell(script, "--user", "--map-root-user", "--mount")
    return Lack(wrapper, probe, words, said, edit, ("--cgroup-manager", "disabled"))


def _own_ids(config: Config) -> None:
    with_users(config, (0, 0, 1))


def _users(config: Config) -> None:
    with_users(config, (0, 100000, 65536))


def _id_mapped(config: Config) -> None:
    add_bind(config, "/usr/lib", "/mnt", "idmap")
    maps = id_maps((0, 100000, 65536))
    config["mounts"][-1].update(uidMappings=maps, gidMappings=maps)


def _recursive(config: Config) -> None:
    add_bind(config, "/usr/lib", "/mnt", "rro")


def _pids(config: Config) -> None:
    config["linux"]["resources"]["pids"] = {"limit": 100}


def _clocks(config: Config) -> None:
    with_namespace(config, "time")
    config["linux"]["timeOffsets"] = {"boottime": {"secs": 1000}}


_FILTERED = ("seccomp filter is in force", "--security-opt seccomp=unconfined")
_MASKED = ("/proc is covered in 1 places (/proc/tty)", "systempaths=unconfined", "procMount: Unmasked")

LACKS = {
    "pid namespaces": _limit("pid", "namespace.pid", "clone init"),
    "network namespaces": _limit("net", "namespace.network", "clone init"),
    "ipc namespaces": _limit("ipc", "namespace.ipc", "clone init"),
    "uts namespaces": _limit("uts", "namespace.uts", "clone init"),
    "mount namespaces": _limit("mnt", "namespace.mount", "clone init"),
    "user namespaces": _limit("user", "namespace.user", "", _own_ids),
    "cgroup namespaces": _limit(
        "cgroup", "namespace.cgroup", "unshare", lambda config: with_namespace(config, "cgroup")
    ),
    "time namespaces": _limit(
        "time", "namespace.time", "unshare", lambda config: with_namespace(config, "time")
    ),
    "ids of the outer user namespace": Lack(
        shell("", "--user", "--map-root-user", "--mount"),
        "ids.mapping",
        ("host ids 100000-165535 are not mapped", "which has 0-0"),
        (),
        _users,
        ("--cgroup-manager", "disabled"),
    ),
    "masked /proc": Lack(
        shell(f"{_ONE_PROC}; mount -t tmpfs mask /proc/tty", "--mount"),
        "mount.proc-in-user-namespace",
        _MASKED,
        ("/mounts/0: mount proc on /proc", "EPERM"),
        _users,
    ),
    "filter of clone3": Lack(
        filtered("EPERM", "clone3"), "exec.system-calls", _FILTERED, ("clone init", "EPERM")
    ),
    "no clone3": Lack(filtered("ENOSYS", "clone3"), "exec.system-calls", _FILTERED, ("clone init", "ENOSYS")),
    "filter of unshare": Lack(
        filtered("EPERM", "unshare"),
        "namespace.cgroup",
        _FILTERED,
        ("unshare", "EPERM"),
        lambda config: with_namespace(config, "cgroup"),
    ),
    "filter of fsopen and mount": Lack(
        filtered("EPERM", "fsopen", "mount"), "mount.tmpfs", _FILTERED, ("mount", "EPERM")
    ),
    "filter of pivot_root": Lack(
        filtered("EPERM", "pivot_root"), "root.pivot", _FILTERED, ("pivot_root", "EPERM")
    ),
    "filter of mount_setattr": Lack(
        filtered("ENOSYS", "mount_setattr"), "mount.attributes", _FILTERED, ("ENOSYS",), _recursive
    ),
    "filter of id-mapped mounts": Lack(
        filtered("ENOSYS", "mount_setattr"),
        "mount.id-mapped",
        _FILTERED,
        ("id-map bind source", "ENOSYS"),
        _id_mapped,
    ),
    "no cgroups": Lack(
        shell(f"{_ALL_CONTROLLERS} umount -l $one; done", "--mount"),
        "cgroup.hierarchies",
        ("mount -t cgroup2 cgroup2 /sys/fs/cgroup",),
        ("/linux/resources", "no cgroup hierarchy is mounted"),
        _pids,
    ),
    "read-only cgroups": Lack(
        shell(f"{_ALL_CONTROLLERS} mount -o remount,bind,ro $one; done", "--mount"),
        "cgroup.make",
        ("cgroups are mounted read-only at /sys/fs/cgroup", "--privileged"),
        ("make cgroup", "EROFS"),
    ),
    "no capability": Lack(
        ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"],
        "namespace.mount",
        ("root has no CAP_SYS_ADMIN", "--cap-add SYS_ADMIN"),
        ("clone init", "EPERM"),
        None,
        ("--cgroup-manager", "disabled"),
    ),
    "no capability for loopback": Lack(
        ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"],
        "namespace.network",
        ("root has no CAP_NET_ADMIN", "--cap-add NET_ADMIN"),
        ("loopback", "EPERM"),
    ),
    "no capability for clocks": Lack(
        ["setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time"],
        "namespace.time",
        ("root has no CAP_SYS_TIME", "--cap-add SYS_TIME"),
        ("set time offsets", "EPERM"),
        _clocks,
    ),
    "no capability for uid 0": Lack(
        ["setpriv", "--bounding-set=-setfcap", "--inh-caps=-setfcap"],
        "namespace.user",
        ("uid 0 of the runtime's user namespace needs CAP_SETFCAP", "--cap-add SETFCAP"),
        ("write id map: uid_map", "EPERM"),
        lambda config: with_users(config, (0, 0, 1000)),
    ),
}

if not V2:  # there CAP_BPF and CAP_NET_ADMIN are enough
    LACKS["no capability for device rules"] = Lack(
        ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"],
        "cgroup.devices",
        ("root has no CAP_SYS_ADMIN", "--cap-add SYS_ADMIN"),
        ("set device rules: deny a", "EPERM"),
    )

# A root without power can't make the devices of a container with a user namespace, which comes first. So that one step is
# done alone: the lack's name -> a program that prints the error.
_IMPORTS = """
import os
from ociruntime.errors import StepFailed
from ociruntime.launch.launch import step_failed
from ociruntime.linux import idmap
from ociruntime.linux.namespace_entries import CLONE_NEWUSER
from ociruntime.step import HostStep
"""
OF_STEPS = {
    "user namespaces": f"""{_IMPORTS}
step = HostStep("hold_id_maps", {{"uid": [[0, 0, 1]], "gid": [[0, 0, 1]], "slot": "x"}}, pointer="/mounts/0")
try:
    idmap._hold(step)
except OSError as failure:
    print(step_failed(step, failure))
""",
    "ids of the outer user namespace": f"""{_IMPORTS}
ranges = [[0, 100000, 65536]]
step = HostStep("write_id_map", {{"file": "uid_map", "ranges": ranges}}, pointer="/linux/uidMappings")
child = idmap._waiting_child([], CLONE_NEWUSER, step)
try:
    idmap._write(child.pid, "uid_map", ranges, step)
except StepFailed as failure:
    print(failure)
finally:
    child.kill()
    child.close()
""",
}
