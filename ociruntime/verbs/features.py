# SPDX-License-Identifier: Apache-2.0
"""`features`: print what this runtime supports, as the features document of the specification."""

from __future__ import annotations

from ociruntime.cli.log import emit
from ociruntime.inspect.features import features
from ociruntime.jsontext import indented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Print the document; it is the same on every host (features.md asks for that)."""
    del settings, given
    emit(indented(features(), "    ") + "\n")
    return 0
