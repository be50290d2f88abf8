# SPDX-License-Identifier: Apache-2.0
"""Can this process load every module and library? The command as a snapshot is a static program and can't.

    a command of the snapshot   calls `need` before anything is made, and so becomes the ordinary launcher, which begins anew
    the shim of the snapshot    never becomes another program: containers depend on it. Whatever needs a module that is not
                                Python text, or a library, is asked of a child, by `ask`, when it is needed
    everything else             can load them

Code that starts a Python asks `interpreter`. Imports nothing at its top. cli/snapshot/boot.py sets the variables.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

go_over: Callable[[], object] | None = None  # of a command
ask: Callable[..., Any] | None = None  # of the shim: native/child.py
find_interpreter: Callable[[], tuple[str, list[str]]] | None = None
absent: frozenset[str] = frozenset()  # of what a snapshot may have: "libseccomp", "_blake2"
LIBSECCOMP = "OCIRUNTIME_LIBSECCOMP"  # variable of a snapshot's doctor: the version that is linked in
form = "interpreter"  # or "snapshot": the value of run.ociruntime.form in what `features` prints


def need(what: str = "this") -> None:
    """What follows needs the whole interpreter.

    what   in words, for the error of a shim, in which this must not come to be called: RuntimeFailure
    """
    if go_over is not None:
        go_over()
    elif ask is not None:
        from ociruntime.errors import RuntimeFailure

        raise RuntimeFailure(
            f"{what} needs a library, which the shim in a snapshot can't load",
            hint="install ociruntime with OCIRUNTIME_COMMAND=launcher",
        )


def interpreter() -> tuple[str, list[str]]:
    """A Python that can load everything: its path, and the directories of its packages, with that of this package.

    Raises OSError if a snapshot can't find it.
    """
    if find_interpreter is not None:
        return find_interpreter()
    import os
    import sys

    package = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    return sys.executable, [package, *(place for place in sys.path if place)]
