# SPDX-License-Identifier: Apache-2.0
"""Probes: the security modules, systemd on its bus, and the directory of the containers' state."""

from __future__ import annotations

import errno
import os

from ociruntime.errors import RuntimeFailure, StepFailed
from ociruntime.inspect.doctor.answers import Answer, Case, Lacking, lacking, works
from ociruntime.linux.refusals import Remedy, facts, ids, session
from ociruntime.stateroot import check_root

_PATIENCE = 2.0  # seconds for each answer


def apparmor(case: Case) -> Answer:
    """The config's profile, or none, for the next program of a process that then executes nothing."""
    if facts.text("/sys/module/apparmor/parameters/enabled") != "Y":
        raise lacking(
            Remedy(
                "AppArmor is not enabled in this kernel: apparmorProfile is ignored with a warning",
                "apt-get install apparmor, and boot with lsm=...,apparmor or security=apparmor",
                root=True,
            )
        )
    profile = case.config.at("process", "apparmorProfile").text("unconfined")
    try:
        with open("/proc/self/attr/apparmor/exec", "wb", buffering=0) as file:
            file.write(f"exec {profile}".encode())
    except OSError as failure:
        number = failure.errno or 0
        remedy = facts.outer_profile()
        if number == errno.ENOENT:
            remedy = Remedy(f"the profile {profile} is not loaded", "apparmor_parser -r FILE", root=True)
        raise Lacking("write attr/apparmor/exec", number, remedy) from None
    return works(profile)


def selinux(case: Case) -> Answer:
    """The config's label, or the present one, for the next program."""
    if not os.path.exists("/sys/fs/selinux/enforce"):
        raise lacking(
            Remedy(
                "SELinux is not enabled in this kernel: selinuxLabel and mountLabel are ignored with a warning",
                "boot with lsm=...,selinux or security=selinux, with a policy",
                root=True,
            )
        )
    label = case.config.at("process", "selinuxLabel").text() or facts.text("/proc/self/attr/current")
    try:
        with open("/proc/self/attr/exec", "wb", buffering=0) as file:
            file.write(label.encode())
    except OSError as failure:
        number = failure.errno or 0
        remedy = (
            Remedy(f"the loaded policy has no label {label}", "use one that it has")
            if number == errno.EINVAL
            else None
        )
        raise Lacking("write attr/exec", number, remedy) from None
    mode = "enforcing" if facts.text("/sys/fs/selinux/enforce") == "1" else "permissive"
    return works(f"{mode}, {label}")


def systemd(case: Case) -> Answer:  # noqa: ARG001
    """Its version, asked as the systemd driver asks: the machine's for root, else the user's own."""
    from ociruntime.linux.cgroups.rights import systemd_user
    from ociruntime.linux.cgroups.systemd.bus import Refusal, connect

    user = systemd_user()
    try:
        with connect(user, _PATIENCE) as bus:
            version = bus.version()
    except StepFailed as failure:
        gone = "can't be reached" in failure.reason  # and not: its library can't be loaded
        raise lacking(
            session.unreachable(user, dict(os.environ)) if gone else Remedy(failure.reason, failure.hint)
        ) from None
    except Refusal as refusal:
        raise Lacking("ask systemd for its version", 0, Remedy(refusal.words, "systemctl status")) from None
    return works(f"version {version}, {'of the machine' if user == 0 else 'of the user'}")


def state_directory(case: Case) -> Answer:
    """Where containers are kept: it is the caller's alone, or can be made."""
    root = case.state_root
    uid = os.geteuid()
    if uid and root.startswith(f"{os.environ.get('XDG_RUNTIME_DIR') or f'/run/user/{uid}'}/"):
        against = session.runtime_directory(os.environ.get("XDG_RUNTIME_DIR", ""), uid, ids.login_name(uid))
        if against:
            raise lacking(against)
    try:
        missing = check_root(root)
    except RuntimeFailure as failure:
        raise Lacking(
            failure.reason, failure.errno, Remedy(failure.reason, failure.hint or "use another --root")
        ) from None
    place = missing or f"{root}/@{case.name}"
    try:
        os.mkdir(place, 0o700)
        os.rmdir(place)
    except OSError as failure:
        remedy = Remedy(f"{place} can't be made", "use another --root")
        raise Lacking("mkdir", failure.errno or 0, remedy) from None
    return works(root)
