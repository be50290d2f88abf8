# SPDX-License-Identifier: Apache-2.0
"""Enable controllers for the container's cgroup on v2, from the mount point down.

A controller works in a cgroup only if every cgroup above names it in cgroup.subtree_control. It must not
import config, resources or devices.
"""

from __future__ import annotations

import errno

from ociruntime.errors import StepFailed
from ociruntime.linux.cgroups.v1 import read, write

# Good to have even without a limit: for `events`, `update` and engines' statistics.
_USEFUL = (b"cpu", b"cpuset", b"io", b"memory", b"pids", b"hugetlb")


def enable(directory: str, mount: str, needed: list[str]) -> None:
    """Enable `needed`, and what is useful as far as possible, for `directory`.

    Raises StepFailed if a needed controller can't be enabled (R154), OSError otherwise.
    """
    place = mount
    for name in directory[len(mount) :].strip("/").split("/"):
        _enable_below(place, [word.encode() for word in needed])
        place = f"{place}/{name}"


def _enable_below(place: str, needed: list[bytes]) -> None:
    enabled = read(f"{place}/cgroup.subtree_control").split()
    available = read(f"{place}/cgroup.controllers").split()
    for controller in needed:
        if controller not in available:
            raise StepFailed(
                f"the cgroup controller {controller.decode()!r} is not in {place}/cgroup.controllers"
            )
    useful = [name for name in _USEFUL if name in available and name not in needed]
    for controller in [name for name in (*needed, *useful) if name not in enabled]:
        try:
            write(f"{place}/cgroup.subtree_control", b"+" + controller)
        except OSError as failure:
            if controller not in needed:
                continue
            if failure.errno == errno.EBUSY:
                # "no internal processes": only the root may have both processes and children with limits
                raise StepFailed(
                    f"the cgroup controller {controller.decode()!r} can't be enabled below {place}, "
                    "because processes are in that cgroup",
                    errno=errno.EBUSY,
                    hint="use an absolute cgroupsPath below a cgroup without processes",
                ) from None
            raise
