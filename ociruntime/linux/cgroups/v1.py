# SPDX-License-Identifier: Apache-2.0
"""Make the container's cgroup in every v1 hierarchy (and in the cgroup2 one of a hybrid machine).

It does what the planner's steps say; it must not import config, resources or devices.
"""

from __future__ import annotations

import os

from ociruntime.descriptors import Descriptors


def inherit_cpuset(directory: str, mount: str) -> None:
    """Give a new cpuset cgroup its parent's CPUs and memory nodes, level by level.

    cpuset(7): both files of a new directory are empty, and a cgroup without CPUs or nodes takes no process.
    """
    for file in ("cpuset.cpus", "cpuset.mems"):
        empty: list[str] = []
        place = directory
        while not (value := read(f"{place}/{file}").strip()) and place != mount:
            empty.append(place)
            place = place[: place.rindex("/")]
        for below in reversed(empty):
            write(f"{below}/{file}", value)


def read(path: str) -> bytes:
    """A small cgroup file's content; OSError names the file."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(4096)
    except OSError as failure:
        raise OSError(failure.errno, failure.strerror, path) from None


def write(path: str, *values: bytes) -> None:
    """Write each value with a call of its own, as cgroup files want it.

    OSError names the file, and as filename2 the value that was refused.
    """
    value = b""
    try:
        with Descriptors() as opened:
            opened["file"] = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            for value in values:
                os.write(opened["file"], value)
    except OSError as failure:
        raise OSError(failure.errno, failure.strerror, path, None, os.fsdecode(value)) from None
