# SPDX-License-Identifier: Apache-2.0
"""Why is there no systemd to talk to, and no directory for a user's containers? Must not import a subject."""

from __future__ import annotations

import os
import stat

from ociruntime.linux.refusals import Remedy, facts

SYSTEM_BUS = "/run/dbus/system_bus_socket"


def runtime_directory(directory: str, uid: int, user: str = "") -> Remedy | None:
    """Why $XDG_RUNTIME_DIR can't hold a user's containers; None if it can.

    directory   its value, "" if it is not set
    """
    made = f"/run/user/{uid}"
    login = f"loginctl enable-linger {user or uid}"
    if not directory:
        if os.path.isdir(made):
            return Remedy("XDG_RUNTIME_DIR is not set", f"export XDG_RUNTIME_DIR={made}")
        return Remedy(
            f"XDG_RUNTIME_DIR is not set, and there is no {made}",
            f"log in by ssh or a console instead of su, or as root: {login}; then export XDG_RUNTIME_DIR={made}",
        )
    try:
        found = os.stat(directory)
    except OSError as failure:
        return Remedy(
            f"XDG_RUNTIME_DIR is {directory}: {os.strerror(failure.errno or 0).lower()}", f"as root: {login}"
        )
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != uid or found.st_mode & 0o022:
        return Remedy(
            f"XDG_RUNTIME_DIR is {directory}, which belongs to uid {found.st_uid} and has mode {stat.S_IMODE(found.st_mode):04o}",
            f"export XDG_RUNTIME_DIR={made}, or another directory of mode 0700 that belongs to uid {uid}",
        )
    return None


def user_bus(environment: dict[str, str], uid: int, user: str = "") -> Remedy | None:
    """Why the user's systemd can't be reached; None if nothing is against it.

    environment   DBUS_SESSION_BUS_ADDRESS and XDG_RUNTIME_DIR are read
    """
    address = environment.get("DBUS_SESSION_BUS_ADDRESS", "")
    if address:
        path = address.partition("path=")[2].split(",")[0]
        if path and not os.path.exists(path):
            return Remedy(
                f"no user bus: DBUS_SESSION_BUS_ADDRESS is {address}, and {path} does not exist",
                "unset it, or log in again",
            )
        return None
    directory = environment.get("XDG_RUNTIME_DIR", "")
    lacking = runtime_directory(directory, uid, user)
    if lacking:
        return Remedy(f"no user bus: {lacking.cause}", lacking.cure)
    if not os.path.exists(f"{directory}/bus"):
        return Remedy(
            f"no user bus: there is no {directory}/bus",
            f"apt-get install dbus-user-session; loginctl enable-linger {user or uid}; or --cgroup-manager cgroupfs",
        )
    return None


def system_bus(path: str = SYSTEM_BUS) -> Remedy | None:
    """Why the system's systemd can't be reached; None if nothing is against it."""
    if not os.path.isdir("/run/systemd/system"):  # sd_booted(3)
        name = facts.text("/proc/1/comm") or "another program"
        return Remedy(
            f"systemd does not run here: process 1 is {name}",
            "--cgroup-manager cgroupfs, which is the default, needs no systemd",
        )
    if not os.path.exists(path):
        return Remedy(f"there is no system bus: {path} does not exist", "systemctl start dbus.socket")
    return None


def unreachable(user: int, environment: dict[str, str]) -> Remedy:
    """Why the systemd of a user, or of the machine (0), could not be reached; there is always something to say."""
    if user == 0:
        return system_bus() or Remedy(
            "systemd runs, but does not answer", "systemctl status; or --cgroup-manager cgroupfs"
        )
    from ociruntime.linux.refusals.ids import login_name

    return user_bus(environment, user, login_name(user)) or Remedy(
        "the user's bus is there, but does not answer",
        "systemctl --user status; or --cgroup-manager cgroupfs",
    )
