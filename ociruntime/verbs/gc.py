# SPDX-License-Identifier: Apache-2.0
"""`gc`: finish what a runtime that was killed left half done, and print the ids of those containers."""

from __future__ import annotations

from ociruntime import container
from ociruntime.log import emit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Clean up below --root; living containers are left alone. Nothing to do prints nothing."""
    del given
    emit("".join(f"{name}\n" for name in container.gc(settings.state_root())))
    return 0
