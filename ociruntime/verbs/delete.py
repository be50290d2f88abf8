# SPDX-License-Identifier: Apache-2.0
"""`delete`: remove a stopped container and everything that `create` made for it."""

from __future__ import annotations

from ociruntime.errors import NoSuchContainer
from ociruntime.operations import delete as operation
from ociruntime.verbs import for_each, raise_on_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Delete the container; with --force an unknown id is not an error (engines call it after each delete)."""
    raise_on_signals()  # a hook that is running must not be left behind
    force = given.on("force")

    def delete(container_id: str) -> None:
        try:
            for warning in operation.delete(settings.state_root(), container_id, force):
                settings.log.tell_warning(f"delete: {warning}")
        except NoSuchContainer:
            if not force and not given.on("regex"):  # one that matched may be gone by now
                raise

    return for_each(settings, given, "delete", delete)
