# SPDX-License-Identifier: Apache-2.0
"""Can this process load every module and library? The command as a snapshot is a static program and can't.

Code that is about to need a module that is not Python text, or a library, calls `need`, before anything is made. In a snapshot
that ends in the ordinary launcher, which begins anew; elsewhere it does nothing. Code that starts a Python asks `interpreter`.
Imports nothing at its top. cli/snapshot/boot.py sets the variables.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

go_over: Callable[[], object] | None = None
find_interpreter: Callable[[], tuple[str, list[str]]] | None = None
absent: frozenset[str] = frozenset()  # of what a snapshot may have: "libseccomp", "_blake2"
form = "interpreter"  # or "snapshot": the value of run.ociruntime.form in what `features` prints


def need() -> None:
    """What follows needs the whole interpreter."""
    if go_over is not None:
        go_over()


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
