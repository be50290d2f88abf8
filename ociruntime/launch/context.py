# SPDX-License-Identifier: Apache-2.0
"""What the `apply` and `undo` functions of the subjects are given: the container being made.

Plain data and nothing else, so that a subject needs neither launch nor statedir.
"""

from __future__ import annotations

import os

from ociruntime.descriptors import Descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.config import Node
    from ociruntime.host import Host


class Context:
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
    received      descriptors that came from init: "terminal", "listener"
    committed     the container has been created: undoing is the end of its life, not of a create that failed
    blobs         bytes made by host steps for init, by the key of their Blob
    keyring       name of the container's session keyring, or "" if it has the caller's
    init_pid      init's process id where `pid` is another process (hook, exec); else 0
    status        the container's status, as agents are told it
    soft_limit    the caller's soft RLIMIT_NOFILE, if this one had to be raised; see linux/descriptor_limit.py
    needs_descriptors  true while it is raised for this container
    facts         what later verbs need and state.json keeps, by subject: {"cgroups": {...}}
    hooked        a hook has been started: the container goes through the rest of its life cycle, even after a failure
    deadline      when (time.monotonic) undoing stops waiting for processes to end, one for all of them; 0: not set yet
    warnings      what did not go quite as the config says; the caller logs them
    """

    __slots__ = (
        "blobs",
        "bundle",
        "committed",
        "config",
        "container_id",
        "deadline",
        "directory",
        "environment",
        "facts",
        "held",
        "home",
        "hooked",
        "host",
        "init_pid",
        "keyring",
        "needs_descriptors",
        "pid",
        "received",
        "rootfs",
        "slots",
        "soft_limit",
        "start_time",
        "status",
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
        self.slots = Descriptors()
        self.soft_limit = -1
        self.needs_descriptors = False
        self.held = Descriptors()
        self.received = Descriptors()
        self.blobs: dict[str, bytes] = {}
        self.keyring = ""
        self.init_pid = 0
        self.status = "created"
        self.facts: dict[str, object] = {}
        self.deadline = 0.0
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

    @property
    def terminal(self) -> int:
        """Master of the program's terminal, until it is taken; -1 if there is none."""
        return self.received.get("terminal", -1)

    @property
    def listener(self) -> int:
        """Notify descriptor of the filter that init has loaded, or -1."""
        return self.received.get("listener", -1)

    def take_terminal(self) -> int:
        """The master of the program's terminal, which is the caller's from now on; -1 if there is none."""
        return self.received.pop("terminal", -1)

    def close_slots(self, keep_terminal: bool = False) -> None:
        """Close what the host steps opened for init (it has its own copies after the clone), terminal and listener."""
        self.slots.close()
        if not keep_terminal:
            self.received.close()
