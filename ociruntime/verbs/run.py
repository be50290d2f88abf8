# SPDX-License-Identifier: Apache-2.0
"""`run`: create, start, wait and delete in one; ends with the exit status of the container's program."""

from __future__ import annotations

import os

from ociruntime import bundle, container
from ociruntime.plan import Options
from ociruntime.verbs import raise_on_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Run the container; until its program runs, a signal undoes everything, and afterwards it is passed on."""
    raise_on_signals()
    options = Options(
        container_id=given.words[0],
        cgroup_manager=settings.cgroup_manager,
        no_pivot=given.on("no-pivot"),
        no_new_keyring=given.on("no-new-keyring"),
        preserve_fds=given.number("preserve-fds"),
    )
    path = given.text("config")
    return container.run(
        settings.state_root(),
        bundle.load(given.text("bundle", "."), os.path.abspath(path) if path else None),
        options,
        pid_file=given.text("pid-file"),
        detach=given.on("detach"),
        keep=given.on("keep"),
        trace=settings.trace,
        forward_signals=True,
        warn=lambda warning: settings.log.tell_warning(f"run: {warning}"),
    )
