# SPDX-License-Identifier: Apache-2.0
"""The create operation: check, plan, launch, write down; and after any failure, everything undone.

This module must not import a verb.
"""

from __future__ import annotations

import os
import time

from ociruntime import check, host, plan
from ociruntime.container import Container
from ociruntime.errors import BundleError, ContainerExists, ForeignContainer, NoSuchContainer, RuntimeFailure
from ociruntime.identity import identify
from ociruntime.launch import Launch
from ociruntime.linux import credentials, namespaces
from ociruntime.pid_file import remove_pid_file, write_pid_file
from ociruntime.run import Run
from ociruntime.statedir import StateDir
from ociruntime.undo import undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.bundle import Bundle
    from ociruntime.plan import Options
    from ociruntime.trace import Trace


def create(
    root: str,
    bundle: Bundle,
    options: Options,
    *,
    pid_file: str,
    stdio: tuple[int, int, int],
    keep_terminal: bool = False,
    timeline: Trace,
) -> Container:
    """Make a container; see container.create."""
    terminal = -1
    if options.notify:
        from ociruntime.notify import amended

        bundle = amended(bundle, options.notify)
    warnings = _require(bundle, options, keep_terminal)
    machine = host.probe(bundle.config)
    options.home = credentials.home_of(bundle.config.at("process", "user", "uid").number(), bundle.rootfs)
    directory = _claim(root, options.container_id)
    run = Run(
        options.container_id,
        bundle.directory,
        directory.path,
        bundle.config,
        machine,
        rootfs=bundle.rootfs,
        home=options.home,
    )
    stored = _Record(bundle, directory, run, options, pid_file)
    try:
        made = plan.make(bundle, machine, options)
        launch = Launch(
            made,
            run,
            directory,
            fd_base=3 + options.passed_fds(),
            stdio=stdio,
            commit=stored.commit,
            trace=timeline,
        )
        try:
            launch.carry_out()
            terminal = run.take_terminal() if keep_terminal else -1
        except BaseException:
            launch.give_up()
            raise
        finally:
            launch.close()
    except BaseException as failure:
        stored.forget()
        _undo(directory, run, failure)
        raise
    finally:
        run.close_held()
    directory.unlock()
    container = Container(directory, stored.state)
    container.terminal = terminal
    container.warnings = [*warnings, *(str(violation) for violation in made.warnings), *run.warnings]
    return container


def _require(bundle: Bundle, options: Options, keep_terminal: bool) -> list[str]:
    """Refuse what can't be made, before anything is touched; returns the warnings."""
    warnings = [str(violation) for violation in check.require(bundle.config)]
    if not os.path.isdir(bundle.rootfs):
        raise BundleError(
            f"{bundle.rootfs}: no such directory", pointer="/root/path", hint="the root filesystem"
        )
    if options.console_socket or bundle.config.at("process", "terminal").flag():
        from ociruntime.linux import console

        console.refuse(bundle.config, options.console_socket, detached=not keep_terminal)
    return warnings


def _claim(root: str, container_id: str) -> StateDir:
    """The new container's directory; what an interrupted create or delete left there is finished first."""
    try:
        return StateDir.claim(root, container_id)
    except ContainerExists:
        from ociruntime.deletion import finish, refuse_foreign

        try:
            found = StateDir.within(root, container_id)
            refuse_foreign(found)
            if found.has("state.json") or not finish(found):
                raise
        except ForeignContainer as other:
            raise ContainerExists(container_id, hint=f"{other.reason}; {other.hint}") from None
        except NoSuchContainer:  # deleted meanwhile, or no directory
            if os.path.lexists(os.path.join(root, container_id)):
                hint = f"{root}/{container_id} is no directory"
                raise ContainerExists(container_id, hint=hint) from None
        return StateDir.claim(root, container_id)


def _undo(directory: StateDir, run: Run, failure: BaseException) -> None:
    """Leave nothing behind. After a hook the container goes through the rest of its life (R208-R210)."""
    problems = undo(directory, run)
    if run.hooked:
        from ociruntime.deletion import run_poststop

        problems += run_poststop(run)
    if problems and isinstance(failure, RuntimeFailure):
        failure.reason += f"; and then: {'; '.join(problems)}"
    if any(problem.startswith("undo ") for problem in problems):
        directory.unlock()  # the journal stays: `gc` and the next create try again
    else:
        directory.remove()


class _Record:
    """What the step "commit" writes: pid file, the config's copy, state.json."""

    def __init__(
        self, bundle: Bundle, directory: StateDir, run: Run, options: Options, pid_file: str
    ) -> None:
        self.bundle = bundle
        self.directory = directory
        self.run = run
        self.options = options
        self.pid_file = pid_file
        self.pid_file_written = False
        self.state: dict[str, object] = {}

    def commit(self) -> None:
        """Write everything; state.json last, because the container exists from then on."""
        config = self.bundle.config
        self.directory.write("config.json", self.bundle.raw)
        self.state = {
            "id": self.run.container_id,
            **identify(self.run.pid),
            "bundle": self.run.bundle,
            "rootfs": self.bundle.rootfs,
            "created": _timestamp(time.time_ns()),
            "owner": "",
            "uid": os.getuid(),
            "facts": self.run.facts,
            "hooks": [kind for kind, hooks in config.at("hooks").members() if len(hooks)],
            "shares_pids": not namespaces.is_new(config, "pid"),
            "has_process": bool(config.at("process")),
            "options": self.options.kept(),
        }
        if config.at("annotations"):
            self.state["annotations"] = config.at("annotations").value
        if self.pid_file:
            write_pid_file(self.pid_file, self.run.pid)
            self.pid_file_written = True
        self.directory.write_state(self.state)

    def forget(self) -> None:
        """After a failure: what is not in the state directory."""
        if self.pid_file_written:
            remove_pid_file(self.pid_file)


def _timestamp(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, in UTC."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:09}Z"
