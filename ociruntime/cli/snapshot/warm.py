# SPDX-License-Identifier: Apache-2.0
"""What has been done before a snapshot is frozen, so that calls need not begin with cold caches?

CPython replaces instructions by faster ones when they have run some times, and keeps what it has looked up. Each of these is a
write to a page, so a call is faster, and copies less, if it finds it done. Nothing is made but files below a directory of the
build: containers would be made by the rights of whoever builds, and two builds would differ. No module of the package keeps
anything from one call to the next (tests/unit/test_frozen.py), so nothing of this is in the snapshot.
"""

from __future__ import annotations

import os

from ociruntime import cli, identity
from ociruntime.removal import remove_tree

_CALLS = (("state", "unknown"), ("start", "unknown"), ("kill", "unknown", "KILL"), ("delete", "unknown"))
# Of a container that runs: `start` and `delete` are refused.
_CALLS_RUNNING = (
    ("state", "running"),
    ("start", "running"),
    ("delete", "running"),
    ("ps", "running"),
    ("list",),
)
# What /proc says of this process and of that container's init, which are the same here. A real line would be another in each
# build: a number of one digit is an object that there is already, and a longer one is new, so that all allocations that follow
# had another number (order.py).
_START_TIME = 123456
_STAT = f"1 (init) S 1 1 1 0 -1 4194560 1000 0 10 0 10 10 0 0 20 0 1 0 {_START_TIME} {'1000 ' * 30}\n"


def up(scratch: str, rounds: int) -> None:
    """Warm up.

    scratch  directory of the build
    rounds   how often
    """
    # Wherever the build has its files: how many directories a path has makes a difference to what is warm.
    place = "/tmp" if os.access("/tmp", os.W_OK) else scratch
    root = f"{place}/ociruntime-warm-{os.urandom(4).hex()}"
    os.mkdir(root, 0o700)
    try:
        identity._PROC = f"{root}/@proc"  # no container's id has an @
        _pretend(root)
        _call(root, rounds)
    finally:
        identity._PROC = "/proc"
        remove_tree(root)


def _call(root: str, rounds: int) -> None:
    kept = [os.dup(number) for number in range(3)]
    nothing = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        for number in range(3):
            os.dup2(nothing, number)
        for _ in range(rounds):
            _plan()
            for words in (*_CALLS, *_CALLS_RUNNING):
                cli.main(["--root", root, *words])
    finally:
        for number in range(3):
            os.dup2(kept[number], number)
            os.close(kept[number])
        os.close(nothing)


def _pretend(root: str) -> None:
    """A running container, as far as its files say, and a /proc with its init."""
    from ociruntime.progress import EXECUTING, STAMPS_OFFSET
    from ociruntime.statedir import Record, StateDir

    os.makedirs(f"{identity._PROC}/{os.getpid()}")
    with open(f"{identity._PROC}/{os.getpid()}/stat", "w", encoding="ascii") as file:
        file.write(_STAT)
    directory = StateDir.claim(root, "running")
    directory.write("progress", (EXECUTING << 32).to_bytes(8, "little") + bytes(STAMPS_OFFSET))
    members: dict[str, object] = {
        "id": "running",
        "pid": os.getpid(),  # a constant: snapshot.c
        "start_time": _START_TIME,
        "bundle": "/bundle",
        "rootfs": "/bundle/rootfs",
        "facts": {"cgroups": {"paths": {}}},
        "hooks": [],
        "options": {},
        "created": "2026-01-01T00:00:00.000000000Z",
        "has_process": True,
        "shares_pids": True,  # else `ps` would look at every process of the machine
    }
    directory.write_state(Record(members))
    directory.unlock()


def _plan() -> None:
    """What create and exec do without touching anything, for the config that `spec` writes."""
    from ociruntime.bundle import Bundle
    from ociruntime.check import check
    from ociruntime.host import Host
    from ociruntime.jsontext import compact
    from ociruntime.linux.cgroups.layout import Layout
    from ociruntime.native.encode import encode
    from ociruntime.operations import exec_document
    from ociruntime.plan import exec_order, order
    from ociruntime.plan.entering import Target
    from ociruntime.verbs.spec import default_config

    document = compact(default_config(True)).encode()
    layouts = (
        Layout("v2", {}, "/sys/fs/cgroup", {"": "/"}, ["cpuset", "cpu", "io", "memory", "pids"]),
        Layout(
            "hybrid", {"memory": "/sys/fs/cgroup/memory"}, "/sys/fs/cgroup/unified", {"memory": "/", "": "/"}
        ),
    )
    for layout in layouts:
        loaded = Bundle("/bundle", "/bundle/config.json", document)
        check.require(loaded.config)
        host = Host(layout)
        made = order.make(loaded, host, order.Options(container_id="warm"))
        encode(made.init_steps(), made.slots, 3)
        config = exec_document.with_process(loaded.config, exec_document.Request(["sh"]))
        exec_document.require(config)
        cgroups = {"": "/sys/fs/cgroup/unified/warm", "memory": "/sys/fs/cgroup/memory/warm"}
        made = exec_order.make(
            config, host, Target(1, 1, "/bundle/rootfs", cgroups), exec_order.Options(keyring="_ses.warm")
        )
        encode(made.init_steps(), made.slots, 3)
