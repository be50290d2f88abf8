# SPDX-License-Identifier: Apache-2.0
"""`features`: print what this runtime supports, as the features document of the specification."""

from __future__ import annotations

from ociruntime.features import features
from ociruntime.jsontext import indented
from ociruntime.log import emit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Print the document; it is the same on every host (features.md asks for that)."""
    del settings, given
    emit(indented(features(), "    ") + "\n")
    return 0
