# SPDX-License-Identifier: Apache-2.0
"""`create`: create a container from a bundle; its program waits for `start`."""

from __future__ import annotations

from ociruntime.container import Container
from ociruntime.verbs import bundle_and_options, raise_on_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Create the container; its standard streams are those of this command."""
    raise_on_signals()
    bundle, options = bundle_and_options(settings, given)
    from ociruntime.operations.create import create

    made = create(
        settings.state_root(),
        bundle,
        options,
        pid_file=given.text("pid-file"),
        trace=settings.trace,
        kind=Container,
    )
    for warning in made.warnings:
        settings.log.tell_warning(f"create: {warning}")
    return 0
