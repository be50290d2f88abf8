# SPDX-License-Identifier: Apache-2.0
"""What does a probe answer, and what is it asked about? Imports no probe."""

from __future__ import annotations

import posixpath

from ociruntime.errors import errno_text
from ociruntime.linux import namespace_entries
from ociruntime.linux.refusals import Remedy, facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.config import Node
    from ociruntime.linux.cgroups.layout import Layout

WORKS = "works"
RESTRICTED = "restricted"
MISSING = "missing"
STATES = (WORKS, RESTRICTED, MISSING)


class Answer:
    """How one thing is on this host.

    state    one of STATES
    detail   what was found, where that says more than the state: "hybrid"
    cause    why it is restricted or missing
    cure     the command that gives it, or what can be done
    error    the call that failed, and the kernel's reason
    root     only root has it, or can give it
    """

    __slots__ = ("cause", "cure", "detail", "error", "root", "state")

    def __init__(
        self,
        state: str,
        detail: str = "",
        *,
        cause: str = "",
        cure: str = "",
        error: str = "",
        root: bool = False,
    ) -> None:
        self.state = state
        self.detail = detail
        self.cause = cause
        self.cure = cure
        self.error = error
        self.root = root

    def as_dict(self) -> dict[str, object]:
        """Its members by name."""
        return {name: getattr(self, name) for name in ("state", "detail", "cause", "cure", "error", "root")}


def works(detail: str = "") -> Answer:
    """It does what a container needs."""
    return Answer(WORKS, detail)


def restricted(remedy: Remedy, detail: str = "") -> Answer:
    """It does a part of it."""
    return Answer(RESTRICTED, detail, cause=remedy.cause, cure=remedy.cure, root=remedy.root)


class Lacking(Exception):
    """A probe has found that something does not work.

    what     the call, or what was tried
    number   errno, or 0
    remedy   cause and cure, if they can be told
    """

    def __init__(self, what: str, number: int = 0, remedy: Remedy | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.number = number
        self.remedy = remedy

    def answer(self) -> Answer:
        """As the answer of the probe."""
        error = f"{self.what}: {errno_text(self.number)}" if self.number else self.what
        if self.remedy is None:
            return Answer(MISSING, cause=error)
        remedy = self.remedy
        return Answer(
            MISSING,
            cause=remedy.cause,
            cure=remedy.cure,
            error=error if self.number else "",
            root=remedy.root,
        )


def lacking(remedy: Remedy) -> Lacking:
    """Something is known to be missing before it is tried."""
    return Lacking("", 0, remedy)


class Case:
    """What the probes are asked about: a container of this config on this host.

    config      config.json, valid
    directory   the bundle's, "/" where there is none: relative sources of binds are relative to it
    rootfs      absolute path of its root; "/" where the config is not a bundle's
    state_root  where containers are kept
    manager     cgroup manager: "cgroupfs", "systemd" or "disabled"
    name        of what a probe must make under a name that others could see; unique
    layout      the cgroup hierarchies
    powerful    this process has CAP_SYS_ADMIN where it runs
    users       the container is made in a new user namespace
    """

    __slots__ = (
        "config",
        "directory",
        "layout",
        "manager",
        "name",
        "powerful",
        "rootfs",
        "state_root",
        "users",
    )

    def __init__(
        self, config: Node, layout: Layout, *, directory: str, state_root: str, manager: str, name: str
    ) -> None:
        self.config = config
        self.layout = layout
        self.directory = directory
        self.rootfs = posixpath.join(directory, config.at("root", "path").text("/"))
        self.state_root = state_root
        self.manager = manager
        self.name = name
        self.powerful = facts.has(facts.CAP_SYS_ADMIN)
        self.users = namespace_entries.is_new(config, "user")
