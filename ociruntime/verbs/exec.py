# SPDX-License-Identifier: Apache-2.0
"""`exec`: run another program in a container; exits with its status, or with 255 if it could not be run."""

from __future__ import annotations

from ociruntime.container import Container
from ociruntime.errors import EXIT_EXEC_FAILED, BundleError, Interrupted, RuntimeFailure, UsageError
from ociruntime.foreground import pipes
from ociruntime.foreground.forwarding import forward_signals
from ociruntime.operations.exec_document import Request
from ociruntime.verbs import raise_on_signals, report_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.foreground.streams import Streams
    from ociruntime.foreground.terminal import Terminal
    from ociruntime.operations.exec import ExecProcess
    from ociruntime.operations.report import Report
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Run the program; a signal before it runs ends the operation, and afterwards it is passed on."""
    raise_on_signals()
    try:
        return _execute(settings, given)
    except Interrupted:
        raise
    except RuntimeFailure as failure:
        failure.exit_code = EXIT_EXEC_FAILED  # so that it can be told from the program's own 1
        raise


def _execute(settings: Settings, given: Arguments) -> int:
    container = Container.load(settings.state_root(), given.words[0])
    request = request_of(given)
    from ociruntime.operations.exec import execute

    detach = given.on("detach")
    report = report_of(given)
    if given.text("console-socket") and not detach:
        raise RuntimeFailure("cannot use console socket if ociruntime will not detach or allocate tty")
    terminal = None if detach else _terminal(request)
    streams = None if detach or terminal is not None else pipes()
    joined = terminal or streams
    try:
        made = execute(
            container,
            request,
            pid_file=given.text("pid-file"),
            stdio=(-1, -1, -1) if streams is None else streams.given,
            console_socket=given.text("console-socket"),
            pidfd_socket=given.text("pidfd-socket"),
            take_terminal=None if terminal is None else terminal.begin,
            pass_signals=None if detach else lambda begun, send: forward_signals(begun, send, terminal),
            trace=settings.trace,
        )
        for warning in made.warnings:
            settings.log.tell_warning(f"exec: {warning}")
        return 0 if detach else _wait(made, joined, report)
    finally:
        if joined is not None:
            joined.close()


def _terminal(request: Request) -> Terminal | None:
    """The caller's terminal, if the program gets one: found before anything is made, and changed later."""
    wanted = request.tty if request.document is None else request.document.get("terminal") is True
    if not wanted:
        return None
    from ociruntime.foreground.terminal import Terminal

    try:
        return Terminal()
    except RuntimeFailure as failure:
        failure.pointer = failure.pointer if request.document is None else "/terminal"
        raise


def _wait(made: ExecProcess, joined: Terminal | Streams | None, report: Report | None) -> int:
    if joined is not None:
        joined.copy(made.pid)
    return made.wait() if report is None else report.finish(made.pid, {})


def request_of(given: Arguments) -> Request:
    """What the flags ask for. Raises UsageError; BundleError for a process document that can't be read."""
    if "user" in given.flags and not given.text("user"):
        raise UsageError("flag --user: empty", hint="UID or UID:GID, decimal")
    path = given.text("process")
    return Request(
        given.words[1:],
        document=_document(path) if path else None,
        cwd=given.text("cwd"),
        env=given.all("env"),
        user=given.text("user"),
        additional_gids=given.all("additional-gids"),
        capabilities=given.all("cap"),
        no_new_privs=given.on("no-new-privs") if "no-new-privs" in given.flags else None,
        process_label=given.text("process-label"),
        apparmor=given.text("apparmor"),
        cgroups=given.all("cgroup"),
        tty=given.on("tty"),
        preserve_fds=given.number("preserve-fds"),
        ignore_paused=given.on("ignore-paused"),
    )


def _document(path: str) -> dict[str, object]:
    from ociruntime.bundle import load_config

    value = load_config(path).value
    if not isinstance(value, dict):
        raise BundleError(f"{path}: not a JSON object")
    return value
