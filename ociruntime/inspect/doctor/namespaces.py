# SPDX-License-Identifier: Apache-2.0
"""Probes: can each namespace be made, and used for what containers use it for?

As an ordinary user, and for a config with a user namespace, inside a new user namespace.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct

from ociruntime.inspect.doctor import calls
from ociruntime.inspect.doctor.answers import Answer, Case, Lacking, works
from ociruntime.linux.namespace_entries import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUTS,
)
from ociruntime.linux.refusals import facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.linux.refusals import Remedy

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)


def _begin(case: Case, flags: int) -> None:
    if case.users:
        calls.enter_user_namespace()
    calls.unshare(flags)


def _why(case: Case, capability: int) -> Remedy | None:
    """Why a call was refused with EPERM that needs this capability, where the namespace is owned."""
    return facts.inside() if case.users else facts.around(capability)


def _inside(case: Case) -> Answer:
    return works("in a user namespace") if case.users else works()


def user(case: Case) -> Answer:
    """Its root must be able to mount: that shows whether AppArmor takes its capabilities away."""
    del case
    calls.own_mounts(users=True)
    calls.tmpfs(users=True)
    return works()


def mount(case: Case) -> Answer:
    """With a new mount in it."""
    calls.own_mounts(users=case.users)
    calls.tmpfs(users=case.users)
    return _inside(case)


def pid(case: Case) -> Answer:
    """Its first process has the pid 1."""
    _begin(case, CLONE_NEWPID)

    def check() -> None:
        if os.getpid() != 1:
            raise OSError(errno.ESRCH, "its first process is not 1")

    calls.expect("fork in a pid namespace", calls.in_child(check), facts.outer_filter())
    return _inside(case)


def network(case: Case) -> Answer:
    """With its loopback device up."""
    _begin(case, CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as control:
        name = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack_from("h", fcntl.ioctl(control, _SIOCGIFFLAGS, name), 16)[0]
        try:
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
        except OSError as failure:
            raise Lacking("loopback up", failure.errno or 0, _why(case, facts.CAP_NET_ADMIN)) from None
    return _inside(case)


def ipc(case: Case) -> Answer:
    """A new one."""
    _begin(case, CLONE_NEWIPC)
    return _inside(case)


def uts(case: Case) -> Answer:
    """With a host name."""
    _begin(case, CLONE_NEWUTS)
    try:
        socket.sethostname("doctor")
    except OSError as failure:
        raise Lacking("sethostname", failure.errno or 0, _why(case, facts.CAP_SYS_ADMIN)) from None
    return _inside(case)


def cgroup(case: Case) -> Answer:
    """Its root is the cgroup of the process that makes it."""
    _begin(case, CLONE_NEWCGROUP)
    wrong = [line for line in facts.text("/proc/self/cgroup").splitlines() if not line.endswith(":/")]
    if wrong:
        raise Lacking(f"a new cgroup namespace shows {wrong[0]}")
    return _inside(case)


def time(case: Case) -> Answer:
    """With an offset of a clock, which its first process then has."""
    _begin(case, CLONE_NEWTIME)
    try:
        with open("/proc/self/timens_offsets", "w", encoding="ascii") as file:
            file.write("boottime 1000000 0")
    except OSError as failure:
        raise Lacking("write timens_offsets", failure.errno or 0, _why(case, facts.CAP_SYS_TIME)) from None
    return _inside(case)
