# SPDX-License-Identifier: Apache-2.0
"""Spine 4: THE ORDER. Which steps make this container, and when does each happen?

The order is decided here and nowhere else; what a step is made of is the subjects' business.
Everything is pure: the plan for another machine can be printed on this one.
This module must not import launch, container, statedir or a verb.
"""

from __future__ import annotations

from ociruntime.linux import (
    awake,
    devices,
    hooks,
    hostname,
    mounts,
    namespace_entries,
    namespaces,
    network,
    paths,
    process,
    rootfs,
    sysctl,
)
from ociruntime.linux.cgroups import membership, planner as cgroups
from ociruntime.linux.cgroups.placement import place
from ociruntime.plan import shared_order
from ociruntime.step import HostStep, InitStep, Plan, SyncStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.bundle import Bundle
    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.linux.cgroups.placement import Placement
    from ociruntime.step import Step

# Any limit that a program can live with leaves room for this many.
_FEW_DESCRIPTORS = 64


class Options:
    """What the caller of create says besides the config.

    container_id    the id, for names (cgroup, keyring, hooks' state)
    cgroup_manager  "cgroupfs", "systemd" or "disabled"
    no_pivot        use MS_MOVE and chroot instead of pivot_root
    no_new_keyring  stay in the caller's session keyring
    preserve_fds    how many descriptors are passed to the program, from 3 on or after those of listen_fds
    listen_fds      how many sockets, from 3 on, are passed to it as well; it is told of them (sd_listen_fds(3))
    listen_names    their names, separated by colons, or ""
    console_socket  path of a socket that gets the master of the program's terminal, or ""
    pidfd_socket    path of a socket that gets a pidfd of init, or ""
    notify          directory for the socket on which the program says that it is ready, or ""; see foreground/readiness.py
    rootless        "auto": cgroups that can't be made are left out if the runtime has no power over the host; "true": also
                    for root; "false": never
    maker           the process with which the container ends, as api/life_line.py names it, or ""
    home            the user's home according to the container's /etc/passwd, or None; see credentials.home_of
    """

    __slots__ = (
        "cgroup_manager",
        "console_socket",
        "container_id",
        "home",
        "listen_fds",
        "listen_names",
        "maker",
        "no_new_keyring",
        "no_pivot",
        "notify",
        "pidfd_socket",
        "preserve_fds",
        "rootless",
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
        rootless: str = "auto",
        maker: str = "",
    ) -> None:
        self.rootless = rootless
        self.maker = maker
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


def make(bundle: Bundle, host: Host, options: Options) -> Plan:
    """The plan for a checked config on this host; pure."""
    config = bundle.config
    flags = 0 if namespaces.forks(config) else namespaces.clone_flags(config)
    steps = [*_create(bundle, host, options), *_start(bundle, host, options)]
    if awake(config, "lsm"):
        from ociruntime.linux import lsm

        steps = [*lsm.labelled(steps, config, host)]
    made = Plan(steps, flags, [*shared_order.warnings(config, host)])
    if len(made.slots) > _FEW_DESCRIPTORS:
        from ociruntime.linux import descriptor_limit

        limits = {entry.at("type").text() for entry in config.at("process", "rlimits")}
        made.steps = descriptor_limit.plan(steps, len(made.slots), "RLIMIT_NOFILE" in limits)
    return made


def _create(bundle: Bundle, host: Host, options: Options) -> Iterator[Step]:
    config = bundle.config
    placement = place(config, host.groups, options.container_id, options.cgroup_manager)
    mounted = mounts.read(config, bundle.directory, rootfs.path_of(config, bundle.directory), host)

    # Before there is a process: what can fail without one.
    if options.console_socket or options.pidfd_socket:
        from ociruntime.linux import console

        yield from console.plan_connect(options.console_socket, options.pidfd_socket)
    yield from _open_and_compile(config, host)
    yield from rootfs.plan_host(config, bundle.directory)
    yield from cgroups.plan_make(config, placement)
    if options.notify:
        args: dict[str, object] = {"path": options.notify}
        yield HostStep("make_notify_directory", args, text=options.notify, undoable=True)
    # A tree that is opened after the cgroups were made shows them.
    yield from mounts.plan_sources(config, host, mounted, placement.paths)
    yield from devices.plan_nodes(config, host)
    yield from membership.plan_open(placement.paths, placement.pointer)
    rdt: list[Step] = []
    if awake(config, "intelrdt"):
        from ociruntime.linux import intelrdt

        yield from intelrdt.plan_make(config, host, options.container_id)
        rdt += intelrdt.plan_join(config, host, options.container_id)
    yield HostStep("clone_init", {}, pointer="/linux/namespaces", text=_clone_text(config), undoable=True)
    yield from cgroups.plan_release(placement, joins_itself=False)
    # A helper enters what other namespaces own, then forks init into the new ones.
    yield from namespaces.plan_join(config, host)
    outside: list[Step] = [*_write_id_maps(config, host), *process.plan(config, host), *rdt]
    outside += cgroups.plan_late(config, placement)
    # Devices before lo comes up, as in runc, so that hooks and whatever init does find the network complete.
    outside += network.plan_devices(config)
    if outside or namespaces.forks(config):
        started = SyncStep("started", "init runs in its namespaces, and its pid is known")
        needed = _needs_exposure(config, host) and namespace_entries.is_new(config, "user")
        yield from _exposed("who writes the id maps", [started, *outside], needed=needed)
    yield from membership.plan_join_self(placement.paths, placement.pointer)
    yield from process.plan_affinity(host)  # which CPUs are allowed is known once it is in the cgroup

    # Only now does /proc/self/cgroup show "/": a cgroup namespace begins at the cgroup of its maker.
    yield from namespaces.plan_cgroup(config)
    yield from _session_and_root(bundle, host, options)
    yield from mounts.plan(config, host, mounted, placement.paths)
    yield from devices.plan(config, host)
    yield from devices.plan_links(config, host)
    yield from _terminal(config)
    yield from mounts.plan_read_only(mounted)
    hooked = list(hooks.plan_create(config))
    if hooked:
        mounts_done = SyncStep("mounted", "everything is mounted and the host's root is still there: hooks")
        # Not in a namespace that is joined: who is in it could trace init, which still has the host's root.
        new = namespace_entries.is_new(config, "user")
        needed = new and _needs_exposure(config, host) and len(config.at("hooks", "createContainer")) > 0
        yield from _exposed("whose hooks enter its namespaces", [mounts_done, *hooked], needed=needed)
    yield from _enter(bundle, host, options, placement)


def _needs_exposure(config: Node, host: Host) -> bool:
    """True if its user can't reach init through /proc unless it is dumpable: only root of the user namespace in which it was
    executed can. ptrace(2), "Ptrace access mode checking"

    Whoever else has this user's id, and sees init's pid, can trace it then. So it is only for as long as it must be.
    """
    return host.uid != 0 and namespace_entries.has(config, "user")


def _exposed(text: str, steps: list[Step], *, needed: bool) -> Iterator[Step]:
    """The steps, while which init is dumpable if that is needed."""
    if needed:
        yield InitStep("dumpable", 1, name="open to its user", text=text)
    yield from steps
    if needed:
        yield InitStep("dumpable", 0, name="close to its user")


def _session_and_root(bundle: Bundle, host: Host, options: Options) -> Iterator[Step]:
    config = bundle.config
    keyring = "" if options.no_new_keyring else f"_ses.{options.container_id}"
    # The root filesystem, while the host's paths are still there.
    root = [*rootfs.plan(config, bundle.directory)]
    if namespace_entries.has(config, "user"):
        # At once: the new root may lack search permission on the way to it. And a keyring must be the new root's.
        yield from root
        yield from _become_root(config, host)
    yield from shared_order.plan_session(config, host, keyring, new=True)
    yield from network.plan(config)
    if not namespace_entries.has(config, "user"):
        yield from root


def _enter(bundle: Bundle, host: Host, options: Options, placement: Placement) -> Iterator[Step]:
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
    yield from shared_order.plan(config, host, options.passed_fds())
    if _needs_exposure(config, host):
        # From here on it has no more than its program will have.
        yield InitStep(
            "dumpable", 1, name="open to its user", text="whose exec and hooks enter its namespaces"
        )
    yield SyncStep("ready", "the environment is ready")
    yield from cgroups.plan_release(placement, joins_itself=True)
    if options.console_socket or options.pidfd_socket:
        from ociruntime.linux import console

        yield from console.plan_send(config, options.console_socket, options.pidfd_socket)
    yield HostStep("commit", {}, text="write state.json: the container is created")


def _terminal(config: Node) -> Iterator[Step]:
    """While /dev can still be written to; the session that it belongs to has already been made."""
    if awake(config, "console"):
        from ociruntime.linux import console

        yield from console.plan_terminal(config.at("process"))
        yield from console.plan_device(config.at("process"))


def _open_and_compile(config: Node, host: Host) -> Iterator[Step]:
    yield from namespaces.plan_paths(config)
    yield from _id_maps(config)
    if awake(config, "seccomp"):
        from ociruntime.linux import seccomp

        yield from seccomp.plan_compile(config, host)


def _start(bundle: Bundle, host: Host, options: Options) -> Iterator[Step]:
    config = bundle.config
    yield SyncStep("start", "wait for start")
    yield from hooks.plan_start(config)
    yield from process.plan_no_new_privs(config, host)
    yield from shared_order.plan_last(config, options.passed_fds())
    yield from process.plan_exec(config, options.home, options.listen_fds, options.listen_names)
    yield from hooks.plan_poststart(config)


def _id_maps(config: Node) -> Iterator[Step]:
    """Few containers have a user namespace or id-mapped mounts: only they load the subject."""
    if awake(config, "idmap") or mounts.has_mapped(config):
        from ociruntime.linux import idmap

        yield from idmap.plan_host(config)


def _write_id_maps(config: Node, host: Host) -> Iterator[Step]:
    if namespace_entries.is_new(config, "user"):
        from ociruntime.linux import idmap

        yield from idmap.plan_write(config, host)


def _become_root(config: Node, host: Host) -> Iterator[Step]:
    from ociruntime.linux import idmap

    yield from idmap.plan_root(config, host)
    yield from namespaces.plan_ipc(config)


def _clone_text(config: Node) -> str:
    if namespaces.forks(config):
        return "a helper that enters or makes namespaces"
    flags = namespaces.clone_flags(config)
    new = [name for name, flag in namespaces.TYPES.items() if flags & flag]
    return f"with new {', '.join(new)}" if new else "without new namespaces"
