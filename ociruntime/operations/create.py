# SPDX-License-Identifier: Apache-2.0
"""The create operation: check, plan, launch, record; after any failure everything is undone.

This module must not import a verb.
"""

from __future__ import annotations

import os
import time

from ociruntime import host
from ociruntime.check import check
from ociruntime.errors import BundleError, ContainerExists, ForeignContainer, NoSuchContainer, RuntimeFailure
from ociruntime.identity import reap
from ociruntime.launch.context import Context
from ociruntime.launch.launch import Launch
from ociruntime.launch.trace import Trace
from ociruntime.launch.undo import undo
from ociruntime.linux import awake, credentials, namespace_entries
from ociruntime.operations.pid_file import remove_pid_file, write_pid_file
from ociruntime.plan import order
from ociruntime.statedir import Record, StateDir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from ociruntime.bundle import Bundle
    from ociruntime.container import Container
    from ociruntime.host import Host
    from ociruntime.launch.trace_origin import Command
    from ociruntime.plan.order import Options

    Made = TypeVar("Made", bound=Container)


def create(
    root: str,
    bundle: Bundle,
    options: Options,
    *,
    pid_file: str = "",
    stdio: tuple[int, int, int] = (-1, -1, -1),
    keep_terminal: bool = False,
    trace: str | Command = "",
    kind: type[Made],
) -> Made:
    """Make a container; see api.create.

    kind   the class of what is returned, so that nothing comes between the container's being there and the caller's
           having it
    """
    timeline = Trace(trace, "create")
    try:
        return make(
            root,
            bundle,
            options,
            pid_file=pid_file,
            stdio=stdio,
            keep_terminal=keep_terminal,
            timeline=timeline,
            done=timeline.write,
            kind=kind,
        )
    except BaseException as failure:  # also of a config that is refused before the first step
        timeline.write(failure)
        raise


def make(
    root: str,
    bundle: Bundle,
    options: Options,
    *,
    pid_file: str,
    stdio: tuple[int, int, int],
    keep_terminal: bool,
    timeline: Trace,
    kind: type[Made],
    done: Callable[[], None] | None = None,
) -> Made:
    """As create, for a caller who has the timeline.

    done   is called when all steps have been done; if it raises, the container is removed
    """
    if options.notify:
        from ociruntime.foreground.readiness import with_notify_socket

        bundle = with_notify_socket(bundle, options.notify)
    warnings = _require(root, bundle, options, keep_terminal)
    machine = host.probe_for(bundle.config, options)
    options.home = credentials.home_of(bundle.config.at("process", "user", "uid").number(), bundle.rootfs)
    creation = _Creation(_claim(root, options.container_id), bundle, options, pid_file, machine)
    try:
        made = order.make(bundle, machine, options)
        creation.launch = Launch(
            made,
            creation.context,
            creation.directory,
            fd_base=3 + options.passed_fds(),
            stdio=stdio,
            commit=creation.commit,
            trace=timeline,
            meanwhile=creation.keep_config,
        )
        creation.launch.carry_out()
        warnings += [*(str(violation) for violation in made.warnings), *creation.context.warnings]
        container = creation.container(kind, warnings)
        creation.launch.finish(keep_terminal)
        if done is not None:
            done()
        creation.let_go(container)
        return container
    except BaseException as failure:
        creation.undo(failure)
        raise


def _require(root: str, bundle: Bundle, options: Options, keep_terminal: bool) -> list[str]:
    """Refuse what can't be made, before anything is touched; returns the warnings."""
    warnings = [str(violation) for violation in check.require(bundle.config)]
    if not os.path.isdir(bundle.rootfs):
        raise BundleError(
            f"{bundle.rootfs}: no such directory", pointer="/root/path", hint="the root filesystem"
        )
    if options.console_socket or bundle.config.at("process", "terminal").flag():
        from ociruntime.linux import console

        console.refuse(bundle.config, options.console_socket, detached=not keep_terminal)
    if awake(bundle.config, "seccomp"):
        from ociruntime.linux import seccomp

        seccomp.foresee(root, bundle.config)
    return warnings


def _claim(root: str, container_id: str) -> StateDir:
    """The new container's directory; what an interrupted create or delete left there is finished first."""
    try:
        return StateDir.claim(root, container_id)
    except ContainerExists:
        from ociruntime.foreign import refuse
        from ociruntime.operations.recover import finish

        try:
            found = StateDir.within(root, container_id)
            refuse(found)
            if found.has("state.json") or finish(found) is None:
                raise
        except ForeignContainer as other:
            raise ContainerExists(container_id, hint=f"{other.reason}; {other.hint}") from None
        except NoSuchContainer:  # deleted in the meantime, or not a directory
            if os.path.lexists(os.path.join(root, container_id)):
                hint = f"{root}/{container_id} is not a directory"
                raise ContainerExists(container_id, hint=hint) from None
        return StateDir.claim(root, container_id)


class _Creation:
    """One create: what must be undone if it fails, and what the step "commit" writes."""

    def __init__(
        self, directory: StateDir, bundle: Bundle, options: Options, pid_file: str, machine: Host
    ) -> None:
        self.bundle = bundle
        self.directory = directory
        self.options = options
        self.pid_file = pid_file
        self.pid_file_written = False
        self.record = Record()
        self.launch: Launch | None = None
        self.made: Container | None = None
        self.context = Context(
            options.container_id,
            bundle.directory,
            directory.path,
            bundle.config,
            machine,
            rootfs=bundle.rootfs,
            home=options.home,
        )

    def container(self, kind: type[Made], warnings: list[str]) -> Made:
        """The container that has been made."""
        self.made = made = kind(self.directory, self.record)
        made.warnings = warnings
        return made

    def let_go(self, container: Container) -> None:
        """The container exists: init lives on, and everything that only create needed is closed."""
        if self.launch is not None and self.launch.child is not None:
            self.launch.child.let_go()
            self.launch.child.close()
        self.context.held.close()
        container.terminal = self.context.take_terminal()
        self.directory.unlock()

    def undo(self, failure: BaseException) -> None:
        """Leave nothing behind. After a hook the container goes through the rest of its life cycle (R208-R210)."""
        if self.launch is not None:
            self.launch.give_up()
        if self.made is not None and self.made.terminal >= 0:
            os.close(self.made.terminal)
        self._forget()
        problems = undo(self.directory, self.context)
        self.context.held.close()
        if self.context.pid:
            reap(self.context.pid)
        if self.context.hooked:
            from ociruntime.operations.recover import run_poststop

            problems += run_poststop(self.context)
        if isinstance(failure, RuntimeFailure):
            failure.and_then(problems)
        if any(problem.startswith("undo ") for problem in problems):
            self.directory.unlock()  # the journal stays: `gc` and the next create try again
        else:
            self.directory.remove()

    def keep_config(self) -> None:
        """What start, exec and the hooks read later."""
        self.directory.write("config.json", self.bundle.raw)

    def commit(self) -> None:
        """Write the pid file and state.json; this last, because the container exists from then on."""
        config = self.bundle.config
        members: dict[str, object] = {
            "id": self.context.container_id,
            "pid": self.context.pid,
            "start_time": self.context.start_time,
            "bundle": self.context.bundle,
            "rootfs": self.bundle.rootfs,
            "created": _timestamp(time.time_ns()),
            "owner": "",
            "uid": os.getuid(),
            "facts": self.context.facts,
            "hooks": [kind for kind, hooks in config.at("hooks").members() if len(hooks)],
            "shares_pids": not namespace_entries.is_new(config, "pid"),
            "has_process": bool(config.at("process")),
            "options": self.options.kept(),
        }
        if config.at("annotations"):
            members["annotations"] = config.at("annotations").value
        self.record = Record(members)
        if self.pid_file:
            write_pid_file(self.pid_file, self.context.pid)
            self.pid_file_written = True
        self.directory.write_state(self.record)

    def _forget(self) -> None:
        """After a failure: remove what is outside the state directory."""
        if self.pid_file_written:
            remove_pid_file(self.pid_file)


def _timestamp(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, in UTC.

    By arithmetic: time.gmtime reads and parses /etc/localtime first, 0.1 ms in a command.
    """
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    days, second = divmod(seconds, 86_400)
    # From 1 March of year 0 on: then leap days come last in their year, and each 400 years are alike.
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    year += era * 400 + month // 10
    month = month + 3 if month < 10 else month - 9
    return (
        f"{year:04}-{month:02}-{day + 1:02}"
        f"T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}.{rest:09}Z"
    )
