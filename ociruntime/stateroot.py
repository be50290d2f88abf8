# SPDX-License-Identifier: Apache-2.0
"""Where are containers kept, which names may they have, and could another user change what is written there?

Verbs trust a container's state: they kill its pid and run its hooks. So the directory of --root must be the caller's alone,
and no one else may be able to put another directory in its place:

    /                 each directory on the way down belongs to root or the caller, and group and others can't write to it
    /tmp              unless it is sticky: there no one else can replace what belongs to root or the caller
    /tmp/link         a symbolic link that is followed belongs to root or the caller, too
    /tmp/mine/state   the caller's, and writable by no one else, sticky or not

`state` and `kill` are polled by engines: one lstat(2) for each directory, and no import.
"""

from __future__ import annotations

import errno
import os
import stat

from ociruntime.errors import RuntimeFailure, UsageError
from ociruntime.host_path import absolute
from ociruntime.identity import is_rootless

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_MOST_LINKS = 40  # as the kernel
_ID_LIMIT = 255  # NAME_MAX
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.,")


def default_root() -> str:
    """Where containers are kept without --root; root of a user namespace is told from the host's as in runc."""
    own = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0 and not (own and os.environ.get("USER") != "root" and is_rootless()):
        return "/run/ociruntime"
    return os.path.join(own or f"/run/user/{os.getuid()}", "ociruntime")


def check_id(container_id: str) -> None:
    """Refuse an invalid id: ids become file names and cgroup names (invariant 11).

    Raises UsageError.
    """
    if not container_id:
        raise UsageError("container id cannot be empty")
    if container_id in (".", "..") or not _ID_CHARACTERS.issuperset(container_id):
        raise UsageError(
            f"invalid container id format: {container_id!r}", hint="letters, digits and _ + - . , are allowed"
        )
    if len(container_id) > _ID_LIMIT:
        raise UsageError(f"container id is longer than {_ID_LIMIT} characters")


def is_id(name: str) -> bool:
    """Could a container have this name?"""
    try:
        check_id(name)
    except UsageError:
        return False
    return True


def names(root: str) -> list[str]:
    """Ids of everything below a root that could be a container, in order; none if the root does not exist.

    Raises RuntimeFailure if it is not a directory, or another user can change it.
    """
    if check_root(root):
        return []
    try:
        with os.scandir(root) as entries:
            found = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise RuntimeFailure(root, step="read state directory", errno=failure.errno or 0) from None
    return [name for name in found if is_id(name)]


def check_root(root: str, step: str = "read state directory") -> str:
    """Look at each directory on the way to a root, from "/" on.

    step   what is about to be done, for the text of an error
    Returns the first directory of the path that is missing, or "". Raises RuntimeFailure if another user could change
    what is in the root, or if it is not a directory.
    """
    here, status = "/", os.lstat("/")
    # The owner of "/" is trusted: it is root, but in a user namespace that does not map root it has another number.
    trusted = (0, os.geteuid(), status.st_uid)
    left = absolute(root).split("/")[::-1]
    links = 0
    while True:
        while left and left[-1] in ("", "."):
            left.pop()
        if not stat.S_ISDIR(status.st_mode):
            raise RuntimeFailure(root, step=step, errno=errno.ENOTDIR)
        _refuse_others(here, status, trusted if left else trusted[1:2], sticky_will_do=bool(left), step=step)
        if not left:
            return ""
        name = left.pop()
        path = os.path.dirname(here) if name == ".." else f"{here.rstrip('/')}/{name}"
        try:
            status = os.lstat(path)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
                if status.st_uid not in trusted:
                    raise _unsafe(path, status, step)
                target = os.readlink(path)
                left += target.split("/")[::-1]
                path = "/" if target.startswith("/") else here
                status = os.lstat(path)
        except FileNotFoundError:
            return path
        except OSError as failure:
            raise RuntimeFailure(root, step=step, errno=failure.errno or 0) from None
        here = path


def make_root(root: str) -> None:
    """Make each missing directory of a path for the caller only (0700), whatever the umask; see check_root."""
    step = "make state directory"
    while missing := check_root(root, step):
        try:
            os.mkdir(missing, 0o700)
        except FileExistsError:
            continue  # another create has just made it: it is checked like any other
        except OSError as failure:
            hint = _hint_of_default(root)
            raise RuntimeFailure(missing, step=step, errno=failure.errno or 0, hint=hint) from None


def _hint_of_default(root: str) -> str:
    """What an ordinary user's default root lacks."""
    if os.geteuid() == 0 or root != default_root():
        return ""
    from ociruntime.linux.refusals.session import runtime_directory

    return str(runtime_directory(os.environ.get("XDG_RUNTIME_DIR", ""), os.getuid()) or "")


def _refuse_others(
    path: str, status: os.stat_result, trusted: tuple[int, ...], *, sticky_will_do: bool, step: str
) -> None:
    if status.st_uid not in trusted:
        raise _unsafe(path, status, step)
    if status.st_mode & _OTHERS_WRITE and not (sticky_will_do and status.st_mode & stat.S_ISVTX):
        raise _unsafe(path, status, step)


def _unsafe(path: str, status: os.stat_result, step: str) -> RuntimeFailure:
    """The error for a directory, or link, that another user can change."""
    return RuntimeFailure(
        f"{path} belongs to uid {status.st_uid} and has mode {stat.S_IMODE(status.st_mode):04o}: "
        "another user could change the containers' state, and with it which hooks run",
        step=step,
        hint=f"chown {os.geteuid()} and chmod go-w {path}, or use another --root",
    )
