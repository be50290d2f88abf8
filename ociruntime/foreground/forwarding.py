# SPDX-License-Identifier: Apache-2.0
"""Which signals does a command forward to the program that it waits for? run and exec in the foreground do so.

For a command, not for a library: it changes this process's signal handlers. Must not import anything of the package
but errors; `signal` itself costs 3 ms, and `_signal`, under it, has the same functions.
"""

from __future__ import annotations

import _signal

from ociruntime.errors import Interrupted, RuntimeFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ociruntime.foreground.terminal import Terminal

# Not forwarded: what this process needs (SIGCHLD), what Go's and other runtimes send themselves
# (SIGURG), what can't be caught, and SIGPIPE, which is about our own descriptors.
_OWN = frozenset((_signal.SIGCHLD, _signal.SIGURG, _signal.SIGKILL, _signal.SIGSTOP, _signal.SIGPIPE))
# By default these do not end a process.
_HARMLESS = frozenset((_signal.SIGCONT, _signal.SIGWINCH, _signal.SIGTSTP, _signal.SIGTTIN, _signal.SIGTTOU))
_FAULTS = frozenset((_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL, _signal.SIGABRT))


def forward_signals(
    has_begun: Callable[[], bool], send: Callable[[int], None], terminal: Terminal | None = None
) -> None:
    """Forward signals to the program; before it runs, one that would end a process ends the operation.

    has_begun  says whether there is a program already
    send       sends one signal to it; a RuntimeFailure means that it has ended in the meantime
    terminal   what concerns the caller's terminal stays here: its size, and job control of the runtime itself
    Python's handlers run between the system calls of wait, which are restarted.
    """

    def pass_on(number: int, _frame: object) -> None:
        if number == _signal.SIGWINCH and terminal is not None:
            terminal.resize()
            return
        if not has_begun():
            if number in _HARMLESS:
                return
            raise Interrupted(number)
        try:
            send(number)
        except RuntimeFailure:
            return  # the caller that waits for it is about to notice

    own = _OWN if terminal is None else _OWN | {_signal.SIGTTIN, _signal.SIGTTOU}
    for number in _signal.valid_signals():
        if number in own or number in _FAULTS or _signal.getsignal(number) == _signal.SIG_IGN:
            continue
        _signal.signal(number, pass_on)
