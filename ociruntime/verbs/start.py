# SPDX-License-Identifier: Apache-2.0
"""`start`: run the program of a created container."""

from __future__ import annotations

import os

from ociruntime.container import Container
from ociruntime.verbs import raise_on_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Start the container; reports a failing hook and a failing execve."""
    raise_on_signals()  # a hook that is running must not be left behind
    container = Container.load(settings.state_root(), given.words[0])
    from ociruntime.operations.start import start, start_and_tell

    manager = os.environ.get("NOTIFY_SOCKET", "")
    if manager and container.notify_directory():
        warn = settings.log.tell_warning
        start_and_tell(container, manager, settings.trace, lambda text: warn(f"start: {text}"))
    else:
        start(container, settings.trace)
    return 0
