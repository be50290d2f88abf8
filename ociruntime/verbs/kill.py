# SPDX-License-Identifier: Apache-2.0
"""`kill`: send a signal to the container's init, or to all of its processes."""

from __future__ import annotations

from ociruntime.container import Container
from ociruntime.signals import parse
from ociruntime.verbs import for_each

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Send the signal; the default is the image's stop signal, or TERM if it has none."""
    number = parse(given.words[1]) if len(given.words) > 1 and given.words[1] else None

    def act(container_id: str) -> None:
        container = Container.load(settings.state_root(), container_id)
        from ociruntime.operations.signal import kill

        signal = number
        if signal is None:
            from ociruntime.linux.annotations import stop_signal

            signal = stop_signal(container.record.annotations)
        kill(container, signal, all_processes=given.on("all"))

    return for_each(settings, given, "kill", act)
