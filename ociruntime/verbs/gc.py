# SPDX-License-Identifier: Apache-2.0
"""`gc`: finish what a runtime that was killed left half done, and print what was done."""

from __future__ import annotations

from ociruntime.cli.log import emit
from ociruntime.errors import EXIT_ERROR, RuntimeFailure
from ociruntime.operations.recover import gc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


_DONE = {
    "create": "its create was interrupted, and is undone",
    "delete": "its delete was interrupted, and is finished",
}


def run(settings: Settings, given: Arguments) -> int:
    """Clean up below --root; live containers are left alone. One line for each; nothing if there is nothing to do.

    What can't be cleaned up now is reported after the others, and the exit code is that of an error.
    """
    del given
    failures: list[RuntimeFailure] = []
    warn = settings.log.tell_warning
    done: list[str] = []
    gc(
        settings.state_root(),
        lambda words: warn(f"gc: {words}"),
        failures.append,
        lambda name, operation: done.append(f"{name}: {_DONE[operation]}\n"),
    )
    emit("".join(done))
    for failure in failures:
        settings.log.failure(failure, "gc")
    return EXIT_ERROR if failures else 0
