# SPDX-License-Identifier: Apache-2.0
"""Can this process load every module and library? The command as a snapshot is a static program and can't.

Code that is about to need a module that is not Python text, or a library, calls `need`, before anything is made. In a snapshot
that ends in the ordinary launcher, which begins anew; elsewhere it does nothing. Imports nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

go_over: Callable[[], object] | None = None  # set by cli/snapshot/boot.py


def need() -> None:
    """What follows needs the whole interpreter."""
    if go_over is not None:
        go_over()
