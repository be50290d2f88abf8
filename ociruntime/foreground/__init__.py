# SPDX-License-Identifier: Apache-2.0
"""How does a command stay in front of its program: terminal, streams, signals, readiness?"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.foreground.streams import Streams


def pipes() -> Streams | None:
    """Pipes in place of the caller's terminal; engines and health probes pass none, and pay three ioctls for the check."""
    if not any(os.isatty(number) for number in (0, 1, 2)):
        return None
    from ociruntime.foreground.streams import Streams

    return Streams()
