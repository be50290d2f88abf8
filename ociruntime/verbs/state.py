# SPDX-License-Identifier: Apache-2.0
"""`state`: print the state of a container as JSON (the specification's state, and runc's additions)."""

from __future__ import annotations

from ociruntime.cli.log import emit
from ociruntime.container import Container
from ociruntime.jsontext import indented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Print the state; what is wrong with the container's files is a warning. Nothing is changed."""
    container = Container.load(settings.state_root(), given.words[0])
    emit(indented(container.state()) + "\n")
    for warning in container.warnings:
        settings.log.tell_warning(f"state: {container.id}: {warning}")
    return 0
