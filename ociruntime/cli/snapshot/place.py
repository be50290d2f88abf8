# SPDX-License-Identifier: Apache-2.0
"""Where is the rest of the installation that a snapshot belongs to: the ordinary command, and Python?

Beside the file that is being executed, wherever that has been installed. A wheel can't know the place. Nothing is executed
from a directory that somebody else may have filled: the owner of directory and file must be root, the user of this process,
or the owner of the snapshot's file, who could have put other code into that. A hard link to the snapshot in a directory of
another user is refused with that.
"""

from __future__ import annotations

import os
import stat

LAUNCHER = "ociruntime-launcher"  # what the ordinary command is called where a snapshot has its name
SYSTEM_PYTHON = "/usr/bin/python3"  # as in launcher/ociruntime
_OTHERS_MAY_WRITE = 0o002
_GONE = " (deleted)"  # at the end of /proc/self/exe


class NoPlaceError(Exception):
    """Why the rest can't be found, or must not be used."""


def launcher(called: str) -> str:
    """The ordinary command, which is beside this one.

    called  argv[0], for a machine without /proc
    Raises NoPlaceError.
    """
    directory, owner = _own_directory(called)
    path = os.path.join(directory, LAUNCHER)
    _require_trust(path, owner, stat.S_IFREG)
    return path


def interpreter(called: str, version: str) -> tuple[str, list[str]]:
    """The Python of the environment, and the directories with its packages that there are; as launcher/ociruntime finds them.

    version  "3.11"
    Raises NoPlaceError.
    """
    directory, owner = _own_directory(called)
    python = os.path.join(directory, "python3")
    if not os.access(python, os.X_OK):
        python = SYSTEM_PYTHON
    prefix = os.path.dirname(directory)
    places = [
        os.path.join(prefix, library, f"python{version}", f"{kind}-packages")
        for library in ("lib", "lib64")
        for kind in ("site", "dist")
    ]
    if _sees_the_system(prefix):
        places += [f"/usr/local/lib/python{version}/dist-packages", "/usr/lib/python3/dist-packages"]
    for place in places[:4]:
        if os.path.isdir(place):
            _require_trust(place, owner, stat.S_IFDIR)
    return python, [place for place in places if os.path.isdir(place)]


def _sees_the_system(prefix: str) -> bool:
    """Not a virtual environment, or one made with --system-site-packages."""
    try:
        with open(os.path.join(prefix, "pyvenv.cfg"), encoding="utf-8", errors="replace") as settings:
            return "include-system-site-packages = true" in settings.read()
    except FileNotFoundError:
        return True


def _own_directory(called: str) -> tuple[str, int]:
    """The directory with the file that is being executed, links followed, and the owner of that file."""
    try:
        path = os.readlink("/proc/self/exe")
    except OSError:
        path = _as_called(called)
    if path.endswith(_GONE) and not os.path.exists(path):
        raise NoPlaceError(
            f"{path.removesuffix(_GONE)} has been replaced or removed since this process began"
        )
    try:
        owner = os.stat(path).st_uid
    except OSError as failure:
        raise NoPlaceError(f"{path}: {os.strerror(failure.errno or 0).lower()}") from None
    directory = os.path.dirname(path)
    _require_trust(directory, owner, stat.S_IFDIR)
    return directory, owner


def _as_called(called: str) -> str:
    """Without /proc: what the caller says that it has called, as a path or by PATH."""
    if "/" in called:
        return os.path.realpath(called)
    for directory in os.get_exec_path():
        if os.access(os.path.join(directory, called), os.X_OK):
            return os.path.realpath(os.path.join(directory, called))
    raise NoPlaceError("/proc is not mounted, and the name of the command is no path")


def _require_trust(path: str, owner: int, kind: int) -> None:
    try:
        found = os.lstat(path)
    except OSError as failure:
        raise NoPlaceError(f"{path}: {os.strerror(failure.errno or 0).lower()}") from None
    if stat.S_IFMT(found.st_mode) != kind:
        raise NoPlaceError(f"{path} is not a {'directory' if kind == stat.S_IFDIR else 'regular file'}")
    if found.st_uid not in {0, os.geteuid(), owner}:
        raise NoPlaceError(f"{path} belongs to user {found.st_uid}, and nothing is executed from there")
    if found.st_mode & _OTHERS_MAY_WRITE:
        raise NoPlaceError(f"everybody may write to {path}, and nothing is executed from there")
