# SPDX-License-Identifier: Apache-2.0
"""How does a command stay in front of its program: terminal, streams, signals, readiness?"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.foreground.streams import Streams


def pipes() -> Streams | None:
    """Pipes in the place of the caller's terminal. Engines and health probes give none: they pay three ioctls, and no import."""
    if not any(os.isatty(number) for number in (0, 1, 2)):
        return None
    from ociruntime.foreground.streams import Streams

    return Streams()
