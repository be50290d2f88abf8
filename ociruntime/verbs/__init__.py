# SPDX-License-Identifier: Apache-2.0
"""What every verb is given. One module per verb: its flags are in cli/flags.py, its calls go to the spine.

Each has `run(settings, given) -> int`, the exit code. A verb imports neither another verb nor a subject,
and whatever it does beyond reading flags and printing belongs in the spine.
"""

from __future__ import annotations

import _signal

from ociruntime.errors import EXIT_ERROR, Interrupted, RuntimeFailure, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import NoReturn

    from ociruntime.bundle import Bundle
    from ociruntime.cli.flags import Arguments
    from ociruntime.cli.log import Log
    from ociruntime.launch.trace_origin import Command
    from ociruntime.operations.report import Report
    from ociruntime.plan.order import Options

_ENDING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP)


class Settings:
    """The global flags.

    log             where errors and warnings go
    root            absolute path of --root, or "" for the default
    trace           file of --trace, or ""; for a verb that has steps, the command that writes it
    cgroup_manager  "cgroupfs", "systemd" or "disabled"
    rootless        "auto", "true" or "false"
    """

    __slots__ = ("cgroup_manager", "log", "root", "rootless", "trace")

    def __init__(
        self,
        log: Log,
        root: str = "",
        trace: str | Command = "",
        cgroup_manager: str = "cgroupfs",
        rootless: str = "auto",
    ) -> None:
        self.log = log
        self.root = root
        self.trace = trace
        self.cgroup_manager = cgroup_manager
        self.rootless = rootless

    def state_root(self) -> str:
        """Where the containers' state is: --root or its default."""
        if self.root:
            return self.root
        from ociruntime.stateroot import default_root

        return default_root()


def raise_on_signals() -> None:
    """Make SIGINT, SIGTERM and SIGHUP raise Interrupted, so that what was done until then is undone.

    The `signal` module costs 3 ms (it builds enums); `_signal`, under it, has the same function.
    """
    for number in _ENDING:
        if _signal.getsignal(number) != _signal.SIG_IGN:  # nohup stays nohup
            _signal.signal(number, _interrupt)


def _interrupt(number: int, _frame: object) -> NoReturn:
    """The first signal ends the operation; further ones must not interrupt its undo."""
    for other in _ENDING:
        if _signal.getsignal(other) == _interrupt:
            _signal.signal(other, _swallow)
    raise Interrupted(number)


def _swallow(_number: int, _frame: object) -> None:
    """Not SIG_IGN, which a hook would inherit."""


def for_each(settings: Settings, given: Arguments, verb: str, act: Callable[[str], None]) -> int:
    """Call `act` for the container that the first word names, or with --regex for all whose ids it matches.

    The pattern may match anywhere in an id, as in crun; it is not an error if none matches. A failure is reported, and
    the others still follow. Returns the exit code; without --regex a failure is raised.
    """
    if not given.on("regex"):
        act(given.words[0])
        return 0
    code = 0
    for container_id in _matching(settings.state_root(), given.words[0]):
        try:
            act(container_id)
        except Interrupted:
            raise
        except RuntimeFailure as failure:
            if container_id not in failure.reason:
                failure.reason = f"{container_id}: {failure.reason}"
            settings.log.failure(failure, verb)
            code = EXIT_ERROR
    return code


def _matching(root: str, text: str) -> list[str]:
    """The ids below a root in which the pattern is found. Raises UsageError if the pattern is invalid."""
    import re

    from ociruntime.stateroot import names

    try:
        pattern = re.compile(text)
    except (re.error, OverflowError, RecursionError) as mistake:
        raise UsageError(f"flag --regex: invalid pattern {text!r}: {mistake}") from None
    return [name for name in names(root) if pattern.search(name)]


def bundle_and_options(settings: Settings, given: Arguments) -> tuple[Bundle, Options]:
    """What the flags that create and run share ask for; --config is relative to the current directory."""
    import os

    from ociruntime import bundle
    from ociruntime.host_path import absolute
    from ociruntime.plan.order import Options

    path = given.text("config")
    listen_fds, listen_names = _sockets(os.environ, os.getpid())
    options = Options(
        container_id=given.words[0],
        cgroup_manager=settings.cgroup_manager,
        rootless=settings.rootless,
        no_pivot=given.on("no-pivot"),
        no_new_keyring=given.on("no-new-keyring"),
        preserve_fds=given.number("preserve-fds"),
        listen_fds=listen_fds,
        listen_names=listen_names,
        notify=f"{settings.state_root()}/{given.words[0]}/notify" if os.environ.get("NOTIFY_SOCKET") else "",
        console_socket=given.text("console-socket"),
        pidfd_socket=given.text("pidfd-socket"),
    )
    return bundle.load(given.text("bundle", "."), absolute(path) if path else None), options


def report_of(given: Arguments) -> Report | None:
    """The file of --report, opened. Raises UsageError if it can't be, or if no one would wait for the program."""
    path = given.text("report")
    if not path:
        return None
    if given.on("detach"):
        raise UsageError("flag --report: with --detach nobody waits for the program's end")
    from ociruntime.operations.report import Report

    return Report(path)


def _sockets(environment: Mapping[str, str], pid: int) -> tuple[int, str]:
    """How many sockets an activating service manager has opened for this process, and their names (sd_listen_fds(3)).

    As in runc, a container that is started on demand gets them. LISTEN_PID says which process they are for: one that
    has only inherited the variables has none.
    """
    number = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(pid) or not (number.isascii() and number.isdigit()):
        return 0, ""
    return int(number), environment.get("LISTEN_FDNAMES", "")


def config_of(words: list[str]) -> tuple[str, str]:
    """The [BUNDLE|FILE] argument of validate and plan as (bundle's directory, path of the config file)."""
    import os

    from ociruntime.host_path import absolute

    target = words[0] if words else "."
    if os.path.isdir(target):
        return target, os.path.join(target, "config.json")
    return os.path.dirname(target) or ".", absolute(target)
