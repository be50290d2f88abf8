# SPDX-License-Identifier: Apache-2.0
"""THE ORDER of exec: which steps make one more process in a container, and when does each happen?

plan/order.py has the order of create and start. It imports what mounts, devices and cgroups need, 3 ms in every health
probe; so this order has a file of its own. Pure, as plan/order.py is. This module must not import launch, container,
an operation or a verb.
"""

from __future__ import annotations

from ociruntime.linux import awake, namespace_entries, process
from ociruntime.plan import entering, shared_order
from ociruntime.step import HostStep, Plan, SyncStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.plan.entering import Target
    from ociruntime.step import Step


class Options:
    """What the caller says besides the process.

    keyring       name of the container's session keyring, or "" if the caller's stays
    preserve_fds  how many descriptors, from 3 on, are passed to the program
    home          the user's home according to the container's /etc/passwd, or None; see credentials.home_of
    pid_file      where the process id goes, or ""
    container_id  for the Intel RDT group
    foreground    the caller of exec takes the terminal
    signals       the caller of exec forwards the signals that it gets
    console_socket, pidfd_socket   sockets to send the terminal, or a pidfd, to; or ""
    move          enter the cgroup2 cgroup by a step: in a frozen one the clone would be frozen before its exec
    """

    __slots__ = (
        "console_socket",
        "container_id",
        "foreground",
        "home",
        "keyring",
        "move",
        "pid_file",
        "pidfd_socket",
        "preserve_fds",
        "signals",
    )

    def __init__(
        self,
        *,
        keyring: str = "",
        preserve_fds: int = 0,
        home: str | None = None,
        pid_file: str = "",
        move: bool = False,
        container_id: str = "",
        foreground: bool = False,
        signals: bool = False,
        console_socket: str = "",
        pidfd_socket: str = "",
    ) -> None:
        self.move = move
        self.container_id = container_id
        self.foreground = foreground
        self.signals = signals
        self.console_socket = console_socket
        self.pidfd_socket = pidfd_socket
        self.keyring = keyring
        self.preserve_fds = preserve_fds
        self.home = home
        self.pid_file = pid_file


def make(config: Node, host: Host, target: Target, options: Options) -> Plan:
    """The plan for a checked process in a container; `config` is the container's, with that process. Pure."""
    return Plan([*_steps(config, host, target, options)], 0, [*shared_order.warnings(config, host)])


def _steps(config: Node, host: Host, target: Target, options: Options) -> Iterator[Step]:
    initial, final = _affinity(config, host)
    sockets = bool(options.console_socket or options.pidfd_socket)
    if sockets:
        from ociruntime.linux import console

        yield from console.plan_connect(options.console_socket, options.pidfd_socket)
    # R060: `initial` holds before the cgroup is entered, so the process can't be born in it.
    move = options.move or bool(initial)
    if awake(config, "seccomp"):
        from ociruntime.linux import seccomp

        yield from seccomp.plan_compile(config, host)
    yield from entering.plan_open(config, target, move)
    yield from initial
    yield from entering.plan_cgroups(config, target, move)
    yield from final
    yield from entering.plan_enter(config)

    # In the container, still with all privileges.
    if namespace_entries.has(config, "user"):
        from ociruntime.linux import idmap

        # At once: until then it is the host's root, which would own the files and the keyring that it makes.
        yield from idmap.plan_root(config, host)
    yield from shared_order.plan_session(config, host, options.keyring, new=False)
    yield from entering.plan_root(config, target)
    if awake(config, "console"):
        from ociruntime.linux import console

        yield from console.plan_terminal(config.at("process"))
    yield from process.plan_enter_existing(config)
    outside = [*process.plan(config, host), *_rdt(config, host, options)]
    yield from shared_order.plan(config, host, options.preserve_fds, outside)

    # The last moment at which this process ends if the runtime does.
    yield SyncStep("entered", "it runs as its user in the container, and has found its program")
    if sockets:
        yield from console.plan_send(config, options.console_socket, options.pidfd_socket)
    committed = [f"write pid file {options.pid_file}"] if options.pid_file else []
    if options.foreground:
        committed.insert(0, "give the terminal to the caller")
    if options.signals:
        committed.append("forward the caller's signals")
    if committed:
        yield HostStep("commit", {}, text=", ".join(committed))
    yield from process.plan_no_new_privs(config, host)
    yield from shared_order.plan_last(config, options.preserve_fds)
    yield from process.plan_exec(config, options.home)


def _affinity(config: Node, host: Host) -> tuple[list[Step], list[Step]]:
    """Before and after the cgroup is entered; without the property the caller's CPU affinity is not kept."""
    if not config.at("process", "execCPUAffinity"):
        return [], [*process.plan_affinity(host)]
    from ociruntime.linux import scheduling

    return scheduling.exec_affinity(config.at("process"))


def _rdt(config: Node, host: Host, options: Options) -> Iterator[Step]:
    if awake(config, "intelrdt"):
        from ociruntime.linux import intelrdt

        yield from intelrdt.plan_join(config, host, options.container_id)
