# SPDX-License-Identifier: Apache-2.0
"""Spine 4: THE ORDER. Which steps make this container, and when does each happen?

The order is decided here and nowhere else; what a step is made of is the subjects' business.
Everything is pure: the plan for another machine can be printed on this one.
This module must not import launch, container, statedir or a verb.
"""

from __future__ import annotations

from ociruntime import hooks
from ociruntime.linux import (
    capabilities,
    cgroups,
    credentials,
    devices,
    hostname,
    mounts,
    namespaces,
    network,
    paths,
    process,
    rlimits,
    rootfs,
    sysctl,
)
from ociruntime.step import HostStep, InitStep, Slot, SyncStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.bundle import Bundle
    from ociruntime.config import Node
    from ociruntime.errors import Violation
    from ociruntime.host import Host
    from ociruntime.step import Step

_SCHEDULING = (
    ("process", "scheduler"),
    ("process", "ioPriority"),
    ("linux", "memoryPolicy"),
    ("linux", "personality"),
)
# keyctl(2): all for whoever possesses it; view, read, search and link for its user (search is runc's addition)
KEYRING_SEARCHABLE = 0x3F1B0000
INHERITED_UMASK = 0xFFFFFFFF


class Options:
    """What the caller of create says besides the config.

    container_id    the id, for names (cgroup, keyring, hooks' state)
    cgroup_manager  "cgroupfs" or "disabled"
    no_pivot        use MS_MOVE and chroot instead of pivot_root
    no_new_keyring  stay in the caller's session keyring
    preserve_fds    so many descriptors are passed to the program, from 3 on or after those of listen_fds
    listen_fds      so many sockets from 3 on are passed to it as well, and it is told so (sd_listen_fds(3))
    listen_names    their names, separated by colons, or ""
    console_socket  path of a socket that gets the master of the program's terminal, or ""
    pidfd_socket    path of a socket that gets a pidfd of init, or ""
    notify          directory for the socket on which the program says that it is ready, or ""; see notify.py
    home            the user's home by the container's /etc/passwd, or None; see credentials.home_of
    """

    __slots__ = (
        "cgroup_manager",
        "console_socket",
        "container_id",
        "home",
        "listen_fds",
        "listen_names",
        "no_new_keyring",
        "no_pivot",
        "notify",
        "pidfd_socket",
        "preserve_fds",
    )

    def __init__(
        self,
        container_id: str = "",
        *,
        cgroup_manager: str = "cgroupfs",
        no_pivot: bool = False,
        no_new_keyring: bool = False,
        preserve_fds: int = 0,
        listen_fds: int = 0,
        listen_names: str = "",
        notify: str = "",
        console_socket: str = "",
        pidfd_socket: str = "",
        home: str | None = None,
    ) -> None:
        self.container_id = container_id
        self.cgroup_manager = cgroup_manager
        self.no_pivot = no_pivot
        self.no_new_keyring = no_new_keyring
        self.preserve_fds = preserve_fds
        self.listen_fds = listen_fds
        self.listen_names = listen_names
        self.notify = notify
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.home = home

    def passed_fds(self) -> int:
        """How many descriptors from 3 on are the program's."""
        return self.listen_fds + self.preserve_fds

    def kept(self) -> dict[str, object]:
        """What state.json keeps, so that start can make the same plan again."""
        return {name: getattr(self, name) for name in self.__slots__ if name != "container_id"}


class Plan:
    """The steps of one container, from nothing to its program.

    steps        all of them, in order; create does those before the sync "start", start the others
    clone_flags  CLONE_NEW* flags of the clone that makes init (or its helper: then 0)
    slots        keys of the descriptors that host steps open for init, in init's order
    warnings     what the config asks for and does not get
    """

    __slots__ = ("clone_flags", "slots", "steps", "warnings")

    def __init__(self, steps: list[Step], clone_flags: int, warnings: list[Violation]) -> None:
        self.steps = steps
        self.clone_flags = clone_flags
        self.warnings = warnings
        keys: dict[str, None] = {}
        for step in steps:
            if isinstance(step, InitStep):
                keys.update((argument.key, None) for argument in step.args if isinstance(argument, Slot))
        self.slots = list(keys)

    def start_index(self) -> int:
        """Number of the step at which create ends and start begins."""
        return self._index_of("start")

    def steps_at(self, point: str) -> list[tuple[int, HostStep]]:
        """(number, step) of the host steps that are done while init waits at a sync point."""
        found: list[tuple[int, HostStep]] = []
        first = self._index_of(point) + 1
        for index, step in enumerate(self.steps[first:], first):
            if not isinstance(step, HostStep):
                break
            found.append((index, step))
        return found

    def _index_of(self, point: str) -> int:
        for index, step in enumerate(self.steps):
            if isinstance(step, SyncStep) and step.point == point:
                return index
        raise AssertionError(f"the plan has no sync named {point}")

    def init_steps(self) -> list[tuple[int, Step]]:
        """(number, step) of what init does: its records, in order."""
        return [(index, step) for index, step in enumerate(self.steps) if not isinstance(step, HostStep)]

    def forks(self) -> bool:
        """True if init is made by a helper that joins namespaces first."""
        return any(isinstance(step, InitStep) and step.op == "fork" for step in self.steps)


def make(bundle: Bundle, host: Host, options: Options) -> Plan:
    """The plan for a checked config on this host; pure."""
    config = bundle.config
    joins = namespaces.joins(config)
    flags = 0 if joins else namespaces.clone_flags(config)
    steps = [*_create(bundle, host, options), *_start(bundle, host, options)]
    warnings = [*capabilities.warnings(config, host)]
    if _has_label(config):
        from ociruntime.linux import lsm

        steps = [*lsm.labelled(steps, config, host)]
        warnings += lsm.warnings(config, host)
    return Plan(steps, flags, warnings)


def _has_label(config: Node) -> bool:
    """The subject lsm is imported only for configs that are about it."""
    process = config.at("process")
    labels = (process.at("apparmorProfile"), process.at("selinuxLabel"), config.at("linux", "mountLabel"))
    return any(label.text() for label in labels)


def _create(bundle: Bundle, host: Host, options: Options) -> Iterator[Step]:
    config = bundle.config
    own_cgroups = cgroups.directories(config, host, options.container_id, options.cgroup_manager)

    # Before there is a process: what can fail without one.
    if options.console_socket or options.pidfd_socket:
        from ociruntime.linux import console

        yield from console.plan_connect(options.console_socket, options.pidfd_socket)
    yield from _open_and_compile(config, host)
    yield from rootfs.plan_host(config, bundle.directory)
    yield from cgroups.plan_make(config, host, options.container_id, options.cgroup_manager)
    if options.notify:
        args: dict[str, object] = {"path": options.notify}
        yield HostStep("notify", "make notify directory", args, text=options.notify, undoable=True)
    # A tree that is opened after the cgroups were made shows them.
    yield from mounts.plan_sources(config, host, bundle.directory, own_cgroups)
    yield from cgroups.plan_open(config, host, options.container_id, options.cgroup_manager)
    rdt: list[Step] = []
    if config.at("linux", "intelRdt"):
        from ociruntime.linux import intelrdt

        yield from intelrdt.plan_make(config, host, options.container_id)
        rdt += intelrdt.plan_join(config, host, options.container_id)
    yield HostStep(
        "launch", "clone init", {}, pointer="/linux/namespaces", text=_clone_text(config), undoable=True
    )
    # A helper enters what other namespaces own, then forks init into the new ones.
    yield from namespaces.plan_join(config)
    outside: list[Step] = [*process.plan(config, host), *rdt]
    outside += cgroups.plan_late(config, host, options.container_id, options.cgroup_manager)
    # Devices before lo comes up, as in runc, so that hooks and whatever init does find the network complete.
    outside += network.plan_devices(config)
    if outside or namespaces.joins(config):
        yield SyncStep("started", "init runs in its namespaces, and its pid is known")
        yield from outside
    yield from cgroups.plan_join_self(config, host, options.container_id, options.cgroup_manager)
    yield from process.plan_affinity(host)  # what is allowed is known in the cgroup

    # Only now does /proc/self/cgroup show "/": a cgroup namespace begins at the cgroup of its maker.
    yield from namespaces.plan_cgroup(config)
    yield from _session(config, host, options)
    yield from network.plan(config)

    # The root filesystem, while the host's paths are still there.
    yield from rootfs.plan(config, bundle.directory)
    yield from mounts.plan(config, host, own_cgroups)
    yield from devices.plan(config)
    yield from devices.plan_links(config, host)
    yield from _terminal(config)
    yield from mounts.plan_read_only(config)
    hooked = list(hooks.plan_create(config))
    if hooked:
        yield SyncStep("mounted", "everything is mounted and the host's root is still there: hooks")
        yield from hooked
    yield from _enter(bundle, host, options)


def _session(config: Node, host: Host, options: Options) -> Iterator[Step]:
    yield InitStep("setsid", text="a session without a terminal")
    if not options.no_new_keyring:
        yield from _keyring(config, host, f"_ses.{options.container_id}")
    if _has_label(config):
        from ociruntime.linux import lsm

        # Before the image is in sight, so that it has no part in it; in force from execve on.
        yield from lsm.plan_exec(config.at("process"), host)


def _keyring(config: Node, host: Host, name: str) -> Iterator[Step]:
    if _has_label(config):
        from ociruntime.linux import lsm

        yield from lsm.plan_keyring(config.at("process"), host)
    yield InitStep("session_keyring", name, name="join session keyring", text=name)
    text = "to be found by its name, as exec does"
    yield InitStep("keyring_permissions", KEYRING_SEARCHABLE, name="let keyring be found", text=text)


def _enter(bundle: Bundle, host: Host, options: Options) -> Iterator[Step]:
    config = bundle.config

    # In the new root.
    yield from rootfs.plan_enter(config, options.no_pivot)
    yield from hostname.plan(config, host)
    yield from sysctl.plan(config)
    yield from paths.plan(config)
    yield from process.plan_directory(config, host)
    yield from rootfs.plan_finish(config)

    # The process, as it will be; capabilities last, because the others need them.
    yield from process.plan_enter(config, host)
    yield from _umask(bundle, host)
    limits: list[Step] = [*rlimits.plan(config, host)]
    if any(config.at(*path) for path in _SCHEDULING):
        from ociruntime.linux import scheduling

        yield from scheduling.plan_self(config)
        limits += scheduling.plan(config.at("process"))
    if limits:
        # Late, as a small limit (RLIMIT_AS, RLIMIT_NOFILE) must not break init's own work; but while it is
        # still root: prlimit(2) on a process of another user needs CAP_SYS_RESOURCE.
        yield SyncStep("limits", "the user is still root: limits and priorities")
        yield from limits
    yield from capabilities.plan_early(config, host)
    yield from credentials.plan_late(config, host)
    yield from capabilities.plan_late(config, host, capabilities.ADMIN if _filter_needs_admin(config) else 0)
    yield from process.plan_program(config, host)
    yield SyncStep("ready", "the environment stands")
    if options.console_socket or options.pidfd_socket:
        from ociruntime.linux import console

        yield from console.plan_send(config, options.console_socket, options.pidfd_socket)
    yield HostStep("launch", "commit", {}, text="write state.json: the container is created")


def _terminal(config: Node) -> Iterator[Step]:
    """While /dev can still be written to; the session that it belongs to is new already."""
    process = config.at("process")
    if process.at("terminal").flag():
        from ociruntime.linux import console

        yield from console.plan_terminal(process)
        yield from console.plan_device(process)


def _open_and_compile(config: Node, host: Host) -> Iterator[Step]:
    yield from namespaces.plan_paths(config)
    if config.at("linux", "seccomp"):
        from ociruntime.linux import seccomp

        yield from seccomp.plan_compile(config, host)


def _filter_needs_admin(config: Node) -> bool:
    if not config.at("linux", "seccomp"):
        return False
    from ociruntime.linux import seccomp

    return seccomp.needs_admin(config)


def _umask(bundle: Bundle, host: Host) -> Iterator[Step]:
    steps = list(credentials.plan_early(bundle.config, host))
    if not any(isinstance(step, InitStep) and step.op == "umask" for step in steps):
        yield InitStep("umask", INHERITED_UMASK, text="as the caller's")
    yield from steps


def _start(bundle: Bundle, host: Host, options: Options) -> Iterator[Step]:
    config = bundle.config
    yield SyncStep("start", "wait for start")
    yield from hooks.plan_start(config)
    yield from process.plan_no_new_privs(config, host)
    yield InitStep("close_from", 3 + options.passed_fds(), name="close descriptors", text=_kept(options))
    if config.at("linux", "seccomp"):
        from ociruntime.linux import seccomp

        # Nothing but execve comes after it, so that nothing else has to be allowed.
        yield from seccomp.plan_load(config)
    yield from process.plan_exec(config, options.home, options.listen_fds, options.listen_names)
    yield from hooks.plan_poststart(config)


def _kept(options: Options) -> str:
    return f"all from {3 + options.passed_fds()} on"


def _clone_text(config: Node) -> str:
    if namespaces.joins(config):
        return "a helper that joins namespaces"
    flags = namespaces.clone_flags(config)
    new = [name for name, flag in namespaces.TYPES.items() if flags & flag]
    return f"with new {', '.join(new)}" if new else "without new namespaces"
