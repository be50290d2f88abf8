# SPDX-License-Identifier: Apache-2.0
"""Probes: what can be mounted for a container, and can its root be changed?"""

from __future__ import annotations

import os

from ociruntime.inspect.doctor import calls
from ociruntime.inspect.doctor.answers import Answer, Case, Lacking, restricted, works
from ociruntime.linux import id_ranges
from ociruntime.linux.mount_options import is_id_mapped
from ociruntime.linux.namespace_entries import CLONE_NEWIPC, CLONE_NEWNET, CLONE_NEWPID, CLONE_NEWUSER
from ociruntime.linux.refusals import Remedy, facts, mounts as refusals
from ociruntime.linux.uapi import (
    AT_EMPTY_PATH,
    AT_FDCWD,
    AT_RECURSIVE,
    MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_RDONLY,
    OPEN_TREE_CLONE,
)
from ociruntime.native._shim import lib

_OWNERS = {"proc": CLONE_NEWPID, "sysfs": CLONE_NEWNET, "mqueue": CLONE_NEWIPC}
_OPTIONS = {"devpts": "newinstance,ptmxmode=0666"}
_FIRST_ID = 100000


def file_system(case: Case, kind: str) -> Answer:
    """A new file system of this type, in new namespaces of the kinds that it shows."""
    calls.own_mounts(users=case.users, flags=_OWNERS.get(kind, 0))

    def mount() -> None:
        calls.mount(kind, calls.PLACE, _OPTIONS.get(kind, ""))

    number = calls.in_child(mount)  # a child: only it is in the new pid namespace
    calls.expect(f"mount {kind}", number, refusals.remedy(number, kind, in_user_namespace=case.users))
    return works("in a user namespace") if case.users else works()


def masks(case: Case) -> Answer:
    """A new procfs in a user namespace, which the kernel refuses where the one that is here is covered."""
    del case
    calls.own_mounts(users=True, flags=CLONE_NEWPID)
    number = calls.in_child(lambda: calls.mount("proc", calls.PLACE))
    calls.expect("mount proc", number, refusals.remedy(number, "proc", in_user_namespace=True))
    return works()


def overlay(case: Case) -> Answer:
    """What is written to it is in its upper directory, and not in the lower one."""
    calls.own_mounts(users=case.users)
    calls.tmpfs(users=case.users)
    directories = [f"{calls.PLACE}/{name}" for name in ("lower", "upper", "work", "merged")]
    for directory in directories:
        os.mkdir(directory)
    lower, upper, work, merged = directories
    try:
        calls.mount("overlay", merged, f"lowerdir={lower},upperdir={upper},workdir={work}", source="overlay")
    except OSError as failure:
        number = failure.errno or 0
        remedy = refusals.remedy(number, "overlay", in_user_namespace=case.users)
        raise Lacking("mount overlay", number, remedy) from None
    with open(f"{merged}/file", "wb") as file:
        file.write(b"x")
    if not os.path.exists(f"{upper}/file") or os.path.exists(f"{lower}/file"):
        raise Lacking("a file that was written to an overlay is not in its upper directory")
    return works("in a user namespace") if case.users else works()


def attributes(case: Case) -> Answer:
    """A tree of mounts made read-only in one call: what rro and the like need."""
    calls.own_mounts(users=case.users)
    calls.tmpfs(users=case.users)
    tree = lib.shim_open_tree(AT_FDCWD, calls.PLACE.encode(), OPEN_TREE_CLONE | os.O_CLOEXEC | AT_RECURSIVE)
    calls.expect("open_tree", max(-tree, 0), refusals.remedy(-tree, "tmpfs", in_user_namespace=case.users))
    failed = -lib.shim_mount_setattr(tree, b"", AT_EMPTY_PATH | AT_RECURSIVE, MOUNT_ATTR_RDONLY, 0, 0, -1)
    calls.expect("mount_setattr", failed, refusals.attributes(failed))
    if not os.fstatvfs(tree).f_flag & os.ST_RDONLY:
        raise Lacking("a mount that was made read-only is not")
    return works()


def id_mapping(case: Case) -> Answer:
    """Binds whose owners are shown as others: of the config's sources, or of the root file system."""
    if not facts.in_first_user_namespace() or not case.powerful:
        raise Lacking("mount_setattr", 1, refusals.id_mapping(1))
    calls.own_mounts(users=False)
    namespace = _namespace(case)
    entries = [entry for entry in case.config.at("mounts") if is_id_mapped(entry)]
    sources = [os.path.join(case.directory, entry.at("source").text()) for entry in entries]
    for source in sources or [case.rootfs]:
        number = _map(source, namespace)
        if number and not entries:
            calls.tmpfs(users=False)
            expected = refusals.id_mapping(number, refusals.kind_of(source))
            if expected and not _map(calls.PLACE, namespace):
                return restricted(expected, "on tmpfs")
        if number:
            raise Lacking(
                f"mount_setattr of {source}", number, refusals.id_mapping(number, refusals.kind_of(source))
            )
    return works()


def _namespace(case: Case) -> int:
    """A user namespace in which 0 is _FIRST_ID of the host, held open."""
    del case
    go_on, told = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            calls.unshare(CLONE_NEWUSER)
            os.write(told[1], b"x")
        finally:
            os.close(told[1])
            os.close(go_on[1])
            os.read(go_on[0], 1)
            os._exit(0)
    os.close(told[1])
    if not os.read(told[0], 1):
        calls.unshare(CLONE_NEWUSER)  # says why
    for file in ("uid_map", "gid_map"):
        with open(f"/proc/{pid}/{file}", "w", encoding="ascii") as opened:
            opened.write(id_ranges.lines([[0, _FIRST_ID, 65536]]))
    namespace = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    os.close(go_on[1])
    os.waitpid(pid, 0)
    return namespace


def _map(source: str, namespace: int) -> int:
    """0 if the source can be bound with other owners, and they are shown; else an errno."""
    tree = lib.shim_open_tree(AT_FDCWD, os.fsencode(source), OPEN_TREE_CLONE | os.O_CLOEXEC)
    if tree < 0:
        return -tree
    owner = os.fstat(tree).st_uid
    failed = -lib.shim_mount_setattr(tree, b"", AT_EMPTY_PATH, MOUNT_ATTR_IDMAP, 0, 0, namespace)
    if not failed and owner < 65536 and os.fstat(tree).st_uid != _FIRST_ID + owner:
        raise Lacking(f"an id-mapped mount of {source} shows the owner {os.fstat(tree).st_uid}")
    return failed


def pivot(case: Case) -> Answer:
    """pivot_root(2) to a new root, which an initramfs as root refuses."""
    calls.own_mounts(users=case.users)
    calls.tmpfs(users=case.users)
    os.chdir(calls.PLACE)
    try:
        calls.system_call("pivot_root", b".", b".")
    except OSError as failure:
        remedy = facts.outer_filter() or facts.outer_profile()
        if refusals.kind_of("/") in ("rootfs", "ramfs"):
            remedy = Remedy(
                "the root is an initramfs, which pivot_root can't leave", "use the flag --no-pivot"
            )
        raise Lacking("pivot_root", failure.errno or 0, remedy) from None
    return works()
