# SPDX-License-Identifier: Apache-2.0
"""`inspect`: print everything that is known of a container as JSON, for people and bug reports."""

from __future__ import annotations

from ociruntime.cli.log import emit
from ociruntime.container import Container
from ociruntime.inspect.dossier import dossier
from ociruntime.jsontext import indented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Print it; nothing is changed."""
    emit(indented(dossier(Container.load(settings.state_root(), given.words[0]))) + "\n")
    return 0
