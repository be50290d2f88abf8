# SPDX-License-Identifier: Apache-2.0
"""The run operation: create, start, wait, delete; and the signals meanwhile.

Until the program runs, a signal undoes everything (the caller has made it raise Interrupted);
afterwards it is forwarded to the program. Any exception that comes before the program's end removes the container. A
program's terminal is connected to the caller's: foreground/terminal.py; a program without one gets pipes where the caller has a
terminal: foreground/streams.py. Each is imported only when needed. This module must not import a verb.
"""

from __future__ import annotations

import os

from ociruntime.container import Container, ignored
from ociruntime.errors import NoSuchContainer, RuntimeFailure
from ociruntime.foreground import forwarding, pipes
from ociruntime.launch.trace import Trace
from ociruntime.operations.create import make
from ociruntime.operations.delete import delete
from ociruntime.operations.start import begin

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.bundle import Bundle
    from ociruntime.foreground.readiness import News
    from ociruntime.foreground.streams import Streams
    from ociruntime.foreground.terminal import Terminal
    from ociruntime.launch.trace_origin import Command
    from ociruntime.operations.report import Report
    from ociruntime.plan.order import Options


def run(
    root: str,
    bundle: Bundle,
    options: Options,
    *,
    pid_file: str = "",
    detach: bool = False,
    keep: bool = False,
    trace: str | Command = "",
    forward_signals: bool = False,
    notify: str = "",
    report: Report | None = None,
    warn: Callable[[str], None] = ignored,
) -> int:
    """Run a container, as the command does; api.run is the library's form.

    forward_signals  forward this process's signals to the program, and connect its terminal to this process's own, or
                     give it pipes in place of this process's terminal
    notify           the service manager's socket ($NOTIFY_SOCKET), if options.notify is set, or ""
    Returns the program's exit status (128 + n for signal n), 0 if detached.
    """
    timeline = Trace(trace, "run")
    terminal = None if detach or options.console_socket else _terminal(bundle, forward_signals)
    streams = None if detach or terminal is not None or not forward_signals else pipes()
    joined = terminal or streams
    container, to_stay = None, False
    try:
        with timeline:
            container = make(
                root,
                bundle,
                options,
                pid_file=pid_file,
                stdio=(-1, -1, -1) if streams is None else streams.given,
                keep_terminal=not detach,
                timeline=timeline,
                kind=Container,
            )
            for warning in container.warnings:
                warn(warning)
            _join(container, terminal, forward_signals)
            news = _news(container, notify, detach, warn)
            begin(container, timeline)
        to_stay = detach or keep
        if news is not None:
            news.pass_on(wait=detach)
        if detach:
            return 0
        code = _wait(container, joined, news, report)
        if not keep:
            _delete(root, container, warn)
        return code
    except BaseException:
        if container is not None and not to_stay:
            _delete_after_failure(root, container)
        raise
    finally:
        if joined is not None:
            joined.close()


def _wait(
    container: Container, joined: Terminal | Streams | None, news: News | None, report: Report | None
) -> int:
    """Wait for the program's end; what it has printed and said is passed on before the poststop hooks run."""
    if joined is not None:
        joined.copy(container.pid)
    code = container.wait() if report is None else report.finish(container.pid, container.record.cgroup_paths)
    if news is not None:
        news.finish()
    if joined is not None:
        joined.close()
    return code


def _delete(root: str, container: Container, warn: Callable[[str], None]) -> None:
    try:
        for warning in delete(root, container.id, True):
            warn(warning)
    except NoSuchContainer:
        return  # another call has deleted it


def _news(container: Container, manager: str, detach: bool, warn: Callable[[str], None]) -> News | None:
    """What forwards the readiness notification, if a service manager wants it."""
    if not manager or not container.notify_directory():
        return None
    from ociruntime.foreground.readiness import News

    return News(container, manager, container.pid if detach else os.getpid(), warn)


def _terminal(bundle: Bundle, forward_signals: bool) -> Terminal | None:
    """The caller's terminal if the program gets one; found before anything is made, and changed later."""
    wanted = bundle.config.at("process", "terminal")
    if not wanted.flag():
        return None
    if not forward_signals:
        raise RuntimeFailure(
            "the program wants a terminal, and the caller has not offered its own",
            pointer=wanted.pointer,
            hint="forward_signals=True, or create(keep_terminal=True)",
        )
    from ociruntime.foreground.terminal import Terminal

    return Terminal()


def _join(container: Container, terminal: Terminal | None, forward_signals: bool) -> None:
    if terminal is not None:
        terminal.begin(container.terminal)
    if forward_signals:
        _forward(container, terminal)


def _delete_after_failure(root: str, container: Container) -> None:
    """The failure of start is the error to report; if a hook of start has failed, the container is deleted already."""
    try:
        delete(root, container.id, True)
    except RuntimeFailure as second:
        container.warnings.append(str(second))
    container.reap()


def _forward(container: Container, terminal: Terminal | None) -> None:
    """Forward signals to the program; if it has ended, `wait` is about to say so."""
    # Now, and not in the handler: the next signal may come in the middle of an import.
    from ociruntime.operations.signal import kill

    forwarding.forward_signals(container.has_begun, lambda number: kill(container, number), terminal)
