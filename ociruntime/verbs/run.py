# SPDX-License-Identifier: Apache-2.0
"""`run`: create, start, wait and delete in one; exits with the status of the container's program."""

from __future__ import annotations

import os

from ociruntime.verbs import bundle_and_options, raise_on_signals, report_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Run the container; until its program runs, a signal undoes everything, and afterwards it is passed on."""
    raise_on_signals()
    bundle, options = bundle_and_options(settings, given)
    from ociruntime.operations import run as operation

    report = report_of(given)

    return operation.run(
        settings.state_root(),
        bundle,
        options,
        pid_file=given.text("pid-file"),
        detach=given.on("detach"),
        keep=given.on("keep"),
        trace=settings.trace,
        forward_signals=True,
        report=report,
        notify=os.environ.get("NOTIFY_SOCKET", ""),
        warn=lambda warning: settings.log.tell_warning(f"run: {warning}"),
    )
