# SPDX-License-Identifier: Apache-2.0
"""The run operation: create, start, wait, delete; and the signals meanwhile.

Until the program runs a signal undoes everything (whoever calls has made it raise Interrupted);
afterwards it is the program's. This module must not import a verb.
"""

from __future__ import annotations

import _signal

from ociruntime.creation import create
from ociruntime.deletion import delete
from ociruntime.errors import Interrupted, NoSuchContainer, RuntimeFailure
from ociruntime.starting import start
from ociruntime.trace import Trace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.bundle import Bundle
    from ociruntime.container import Container
    from ociruntime.plan import Options

# Not passed on: what this process needs (SIGCHLD), what Go's and other runtimes send themselves
# (SIGURG), what nobody can catch, and SIGPIPE, which is about our own descriptors.
_OWN = frozenset((_signal.SIGCHLD, _signal.SIGURG, _signal.SIGKILL, _signal.SIGSTOP, _signal.SIGPIPE))
# Their default is not to end a process.
_HARMLESS = frozenset((_signal.SIGCONT, _signal.SIGWINCH, _signal.SIGTSTP, _signal.SIGTTIN, _signal.SIGTTOU))
_FAULTS = frozenset((_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGABRT))


def run(
    root: str,
    bundle: Bundle,
    options: Options,
    *,
    pid_file: str,
    detach: bool,
    keep: bool,
    trace: str,
    forward_signals: bool,
    warn: Callable[[str], None],
) -> int:
    """Run a container; see container.run."""
    timeline = Trace(trace, "run")
    try:
        container = create(root, bundle, options, pid_file=pid_file, stdio=(-1, -1, -1), timeline=timeline)
        for warning in container.warnings:
            warn(warning)
        if forward_signals:
            _forward(container)
        try:
            start(container, timeline)
        except BaseException:
            _delete_after_failure(root, container)
            raise
    finally:
        timeline.write()
    if detach:
        return 0
    code = container.wait()
    if not keep:
        try:
            for warning in delete(root, container.id, True):
                warn(warning)
        except NoSuchContainer:
            return code  # another call has ended and deleted it
    return code


def _delete_after_failure(root: str, container: Container) -> None:
    """The failure of start is the error to report; a failing hook of start has deleted it already."""
    try:
        delete(root, container.id, True)
    except RuntimeFailure as second:
        container.warnings.append(str(second))
    container.reap()


def _forward(container: Container) -> None:
    """Pass signals on to the program; before it runs, one that would end a process ends the operation.

    Python's handlers run between the system calls of wait, which are restarted.
    """

    def pass_on(number: int, _frame: object) -> None:
        if not container.has_begun():
            if number in _HARMLESS:
                return
            raise Interrupted(number)
        try:
            container.kill(number)
        except RuntimeFailure:
            return  # it ended meanwhile: wait is about to say so

    for number in _signal.valid_signals():
        if number in _OWN or number in _FAULTS or _signal.getsignal(number) == _signal.SIG_IGN:
            continue
        _signal.signal(number, pass_on)
