# SPDX-License-Identifier: Apache-2.0
"""What the `apply` and `undo` functions of the subjects are given: the container being made.

Plain data and nothing else, so that a subject needs neither launch nor statedir.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.config import Node
    from ociruntime.host import Host


class Run:
    """One container while its plan is carried out.

    container_id  its id
    bundle        absolute path of the bundle
    rootfs        absolute path of its root filesystem
    directory     its state directory
    config        the config
    host          the machine; None where no step needs it (delete)
    home          the user's home directory, or None if the container's /etc/passwd has none
    environment   the environment of the runtime's caller, for hooks
    pid           init's process id in the runtime's pid namespace; 0 before the clone
    start_time    its start time, which tells it from a later process of the same number; 0 if not known yet
    slots         descriptors opened by host steps for init, by the key of their Slot
    held          descriptors that undoing a failed create needs; closed when create has ended
    committed     the container came into being: what is undone is its end, not a create that failed
    terminal      master of the program's terminal, until somebody takes it; -1 if there is none
    blobs         bytes made by host steps for init, by the key of their Blob
    listener      notify descriptor of the filter that init has loaded, or -1; whoever took it closes it
    keyring       name of the container's session keyring, or "" if it has the caller's
    init_pid      init's process id where `pid` is another process (hook, exec); else 0
    status        the container's status, as agents are told it
    soft_limit    the caller's soft RLIMIT_NOFILE, if this one had to be raised; see descriptors.py
    needs_descriptors  it is raised for this container
    facts         what later verbs need and state.json keeps, by subject: {"cgroups": {...}}
    hooked        a hook has been begun: the container goes through the rest of its life, also after a failure
    warnings      what went not quite as the config says; logged by whoever called
    """

    __slots__ = (
        "blobs",
        "bundle",
        "committed",
        "config",
        "container_id",
        "directory",
        "environment",
        "facts",
        "held",
        "home",
        "hooked",
        "host",
        "init_pid",
        "keyring",
        "listener",
        "needs_descriptors",
        "pid",
        "rootfs",
        "slots",
        "soft_limit",
        "start_time",
        "status",
        "terminal",
        "warnings",
    )

    def __init__(
        self,
        container_id: str,
        bundle: str,
        directory: str,
        config: Node,
        host: Host | None = None,
        *,
        rootfs: str = "",
        home: str | None = None,
    ) -> None:
        self.container_id = container_id
        self.bundle = bundle
        self.rootfs = rootfs
        self.directory = directory
        self.config = config
        self.host: Host | None = host
        self.home = home
        self.environment: dict[str, str] = dict(os.environ)
        self.pid = 0
        self.start_time = 0
        self.hooked = False
        self.committed = False
        self.slots: dict[str, int] = {}
        self.soft_limit = -1
        self.needs_descriptors = False
        self.held: dict[str, int] = {}
        self.terminal = -1
        self.blobs: dict[str, bytes] = {}
        self.listener = -1
        self.keyring = ""
        self.init_pid = 0
        self.status = "created"
        self.facts: dict[str, object] = {}
        self.warnings: list[str] = []

    def state(self, status: str, pid: int | None) -> dict[str, object]:
        """The state (runtime.md, "State") as hooks and agents are told it; pid None: without one."""
        state: dict[str, object] = {"ociVersion": "1.3.0", "id": self.container_id, "status": status}
        if pid is not None:
            state["pid"] = pid
        state["bundle"] = self.bundle
        annotations = self.config.at("annotations").value
        if annotations:
            state["annotations"] = annotations
        return state

    def pid_inside(self) -> int:
        """Init's process id in its own pid namespace (R203); proc(5), NSpid."""
        try:
            with open(f"/proc/{self.pid}/status", "rb", buffering=0) as file:
                for line in file.read().split(b"\n"):
                    if line.startswith(b"NSpid:"):
                        return int(line.split()[-1])
        except FileNotFoundError:
            return 0
        return self.pid

    def take_terminal(self) -> int:
        """The master of the program's terminal, which is the caller's from now on; -1 if there is none."""
        master, self.terminal = self.terminal, -1
        return master

    def close_slots(self) -> None:
        """Close what the host steps opened for init (it has its own copies after the clone), terminal and listener."""
        while self.slots:
            os.close(self.slots.popitem()[1])
        for descriptor in (self.take_terminal(), self.listener):
            if descriptor >= 0:
                os.close(descriptor)
        self.listener = -1

    def close_held(self) -> None:
        """Close what was kept for undo."""
        while self.held:
            os.close(self.held.popitem()[1])
