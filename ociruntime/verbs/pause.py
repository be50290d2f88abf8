# SPDX-License-Identifier: Apache-2.0
"""`pause`: freeze every process of a container."""

from __future__ import annotations

from ociruntime.container import Container
from ociruntime.operations.signal import pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Return once all of them have stopped."""
    pause(Container.load(settings.state_root(), given.words[0]))
    return 0
