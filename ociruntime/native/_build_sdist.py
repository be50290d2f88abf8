# SPDX-License-Identifier: Apache-2.0
"""How does the same tree always give the same sdist, byte for byte? Used by setup.cfg, never at run time.

Members are sorted, belong to root, have one of two modes and one time: SOURCE_DATE_EPOCH, or else the oldest that a zip file,
such as a wheel, can hold. Must not import anything of the package.
"""

from __future__ import annotations

import gzip
import os
import tarfile
from typing import Any

from setuptools.command.sdist import sdist as _sdist
from setuptools.errors import SetupError

VARIABLE = "SOURCE_DATE_EPOCH"
_OLDEST = 315532800  # 1980-01-01, in seconds


class sdist(_sdist):  # noqa: N801 (setuptools' commands are named like this)
    """`sdist`, whose archive does not depend on clock, user and umask."""

    def make_archive(self, base_name: Any, format: str, *rest: Any, **more: Any) -> str:  # noqa: A002
        """Pack the directory base_dir; the archive's path."""
        if format != "gztar":
            return str(super().make_archive(base_name, format, *rest, **more))
        path = f"{base_name}.tar.gz"
        seconds = asked_time()
        pack(more["base_dir"], path, _OLDEST if seconds is None else seconds)
        return path


def asked_time() -> int | None:
    """The time that a packager wants things to be of, in seconds since 1970. Raises SetupError."""
    given = os.environ.get(VARIABLE, "")
    if given and not (given.isascii() and given.isdigit() and len(given) < 12):
        raise SetupError(f"{VARIABLE} is {given!r}, and must be a number of seconds since 1970")
    return int(given) if given else None


def pack(directory: str, path: str, seconds: int) -> None:
    """Write a directory of the working directory into a .tar.gz."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = seconds
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        executable = member.isdir() or member.mode & 0o100
        member.mode = 0o755 if executable else 0o644
        return member

    with (
        open(path, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=seconds) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        archive.add(directory, filter=plain)  # sorts
