# SPDX-License-Identifier: Apache-2.0
"""Time namespaces: the container's clocks are the host's plus the offsets, and its first process is in it.

No peer is compared with: runc 1.1 has no time namespaces, and crun 1.8's init fails in one on a new kernel.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.harness.configuration import Config, with_namespace, with_users

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.stage import Stage

DAY = 86400
SHOW = (
    "cat /proc/self/timens_offsets; cut -d . -f 1 /proc/uptime; "
    "for file in time time_for_children; do readlink -f /proc/1/ns/$file; done"
)


def offsets(*, users: bool = False, path: str = "", **clocks: dict[str, int]) -> Callable[[Config], None]:
    """An edit: a time namespace with these offsets."""

    def edit(config: Config) -> None:
        with_namespace(config, "time", path)
        if clocks:
            config["linux"]["timeOffsets"] = clocks
        if users:
            with_users(config)

    return edit


def clocks(stage: Stage, edit: Callable[[Config], None]) -> list[Any]:
    """What a container says of its offsets, and by how many days it was started before the host."""
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    *lines, uptime, own, children = stage.show(SHOW, edit=edit).split()
    assert own == children  # else only its children would be in it
    return [*lines, round((int(uptime) - before) / DAY, 1)]


def test_the_clocks_have_their_offsets(stage: Stage) -> None:
    """R104: seconds and nanoseconds, both ways, alone and beside a user namespace; and none is fine as well."""
    both = {"monotonic": {"secs": DAY, "nanosecs": 5}, "boottime": {"secs": 2 * DAY}}
    expected = ["monotonic", str(DAY), "5", "boottime", str(2 * DAY), "0", 2.0]
    assert clocks(stage, offsets(**both)) == expected
    assert clocks(stage, offsets(users=True, **both)) == expected
    backwards = offsets(boottime={"secs": -1, "nanosecs": 999999999})
    assert clocks(stage, backwards) == ["monotonic", "0", "0", "boottime", "-1", "999999999", 0.0]
    assert clocks(stage, offsets()) == ["monotonic", "0", "0", "boottime", "0", "0", 0.0]


def test_a_time_namespace_is_joined(stage: Stage) -> None:
    """R097: the clocks of the one at the path, as those of a second container of a pod; they can't be changed then."""
    first = stage.container("sleep", "1000", edit=offsets(boottime={"secs": 3 * DAY}))
    first.create().ok()
    path = f"/proc/{first.state()['pid']}/ns/time"
    assert clocks(stage, offsets(path=path)) == ["monotonic", "0", "0", "boottime", str(3 * DAY), "0", 3.0]
    refused = stage.run("true", edit=offsets(path=path, boottime={"secs": 5}))
    refused.refused("/linux/timeOffsets", "new time namespace")
    first.delete("--force").ok()


def test_an_offset_that_the_kernel_refuses(stage: Stage) -> None:
    """The clocks would be below zero: the error names property, step and errno, and nothing is left."""
    edit = offsets(monotonic={"secs": -(10**9)})
    refused = stage.container("true", edit=edit).create()
    refused.refused("/linux/timeOffsets: set time offsets monotonic -1000000000 0", "ERANGE")
    assert stage.runtime.ids() == []
