# SPDX-License-Identifier: Apache-2.0
"""Which things does a container need of a host, which probe tries each, and which configs need it? The one table."""

from __future__ import annotations

from functools import partial

from ociruntime.identity import is_rootless
from ociruntime.inspect.doctor import cgroups, ids, mounts, namespaces, programs, seccomp, services
from ociruntime.linux import namespace_entries
from ociruntime.linux.mount_options import is_id_mapped, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ociruntime.inspect.doctor.answers import Answer, Case

# Types of mounts that are not made anew as file systems: binds, and what depends on the machine's cgroups.
_NOT_NEW = ("bind", "none", "cgroup", "cgroup2", "")


class Probe:
    """One row: the stable name, words for people, what tries it, and whether this container needs it."""

    __slots__ = ("name", "needed", "run", "words")

    def __init__(self, name: str, words: str, run: Callable[[Case], Answer], needed: bool) -> None:
        self.name = name
        self.words = words
        self.run = run
        self.needed = needed


def probes(case: Case) -> list[Probe]:
    """The rows for this container, in the order in which they are shown."""
    return [
        Probe("exec.system-calls", "system calls", programs.system_calls, True),
        Probe("exec.memory-file", "start init from memory", programs.memory_file, True),
        Probe("state.directory", "state directory", services.state_directory, True),
        *_of_namespaces(case),
        *_of_mounts(case),
        *_of_cgroups(case),
        *_of_filters(case),
        Probe("security.apparmor", "AppArmor", services.apparmor, False),
        Probe("security.selinux", "SELinux", services.selinux, False),
        Probe("checkpoint.criu", "criu", programs.criu, False),
    ]


def _of_namespaces(case: Case) -> Iterator[Probe]:
    linux = case.config.at("linux")
    sizes = [entry.at("size").number() for name in ("uidMappings", "gidMappings") for entry in linux.at(name)]
    several = case.users and (len(sizes) > 2 or max(sizes, default=0) > 1)  # one of each kind: only own ids
    yield Probe("namespace.user", "user namespace", namespaces.user, case.users)
    yield Probe("ids.mapping", "range of ids", ids.mapping, several)
    for kind in ("mount", "pid", "network", "ipc", "uts", "cgroup", "time"):
        needed = namespace_entries.is_new(case.config, kind)
        yield Probe(f"namespace.{kind}", f"{kind} namespace", getattr(namespaces, kind), needed)


def _of_mounts(case: Case) -> Iterator[Probe]:
    kinds = _kinds(case)
    own = namespace_entries.is_new(case.config, "mount")
    id_mapped = any(map(is_id_mapped, case.config.at("mounts")))
    yield Probe("root.pivot", "change of root", mounts.pivot, own)
    for kind in kinds:
        if kind != "overlay":
            yield Probe(f"mount.{kind}", f"mount of {kind}", partial(mounts.file_system, kind=kind), True)
    proc = "mount.proc-in-user-namespace"
    yield Probe(proc, "proc in a user namespace", mounts.masks, case.users and "proc" in kinds)
    yield Probe("mount.overlay", "overlay", mounts.overlay, "overlay" in kinds)
    yield Probe("mount.attributes", "recursive mount options", mounts.attributes, _is_recursive(case))
    yield Probe("mount.id-mapped", "id-mapped mounts", mounts.id_mapping, id_mapped)


def _of_cgroups(case: Case) -> Iterator[Probe]:
    asked = _asks_for_cgroup(case)
    made = case.manager == "cgroupfs" and case.layout.kind != "none" and (not is_rootless() or asked)
    rules = made and not is_rootless()
    yield Probe("cgroup.hierarchies", "cgroup version", cgroups.hierarchies, asked)
    yield Probe("cgroup.make", "cgroupfs driver", cgroups.make, made)
    yield Probe("cgroup.controllers", "cgroup controllers", cgroups.controllers, asked)
    yield Probe("cgroup.devices", "device rules", cgroups.device_rules, rules)
    yield Probe("cgroup.systemd", "systemd driver", services.systemd, case.manager == "systemd")


def _of_filters(case: Case) -> Iterator[Probe]:
    filtered = bool(case.config.at("linux", "seccomp"))
    rules = case.config.at("linux", "seccomp", "syscalls")
    notifies = any(rule.at("action").text() == "SCMP_ACT_NOTIFY" for rule in rules)
    yield Probe("seccomp.actions", "seccomp actions", seccomp.actions, filtered)
    yield Probe("seccomp.notify", "seccomp notifications", seccomp.notify, notifies)
    yield Probe("seccomp.library", "seccomp compiler", seccomp.library, filtered)


def _kinds(case: Case) -> list[str]:
    """The types of the file systems that are mounted anew, each once."""
    return list(
        dict.fromkeys(
            entry.at("type").text()
            for entry in case.config.at("mounts")
            if entry.at("type").text() not in _NOT_NEW and not parse(entry.at("options").texts()).bind
        )
    )


def _is_recursive(case: Case) -> bool:
    """Some mount has an option such as rro, which only mount_setattr can do."""
    options = (parse(entry.at("options").texts()) for entry in case.config.at("mounts"))
    return any(one.rattr_set or one.rattr_clear for one in options)


def _asks_for_cgroup(case: Case) -> bool:
    """Without a hierarchy a container can run, but not if its config asks for one.

    A runtime without power over the host leaves device rules out, and the container in the caller's cgroup.
    """
    linux, rootless = case.config.at("linux"), is_rootless()
    limits = [
        member for name, member in linux.at("resources").members() if not (rootless and name == "devices")
    ]
    asked = limits if rootless else [*limits, linux.at("cgroupsPath")]
    return case.manager != "disabled" and any(len(node) for node in asked)
