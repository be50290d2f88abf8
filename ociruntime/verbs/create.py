# SPDX-License-Identifier: Apache-2.0
"""`create`: make a container from a bundle; its program waits for `start`.

The reading of the flags is shared with `run` (verbs/run.py), which has the same ones and more.
"""

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
    """Create the container; its standard streams are those of this command."""
    raise_on_signals()
    options = Options(
        container_id=given.words[0],
        cgroup_manager=settings.cgroup_manager,
        no_pivot=given.on("no-pivot"),
        no_new_keyring=given.on("no-new-keyring"),
        preserve_fds=given.number("preserve-fds"),
    )
    made = container.create(
        settings.state_root(),
        bundle.load(given.text("bundle", "."), config_file(given)),
        options,
        pid_file=given.text("pid-file"),
        trace=settings.trace,
    )
    for warning in made.warnings:
        settings.log.tell_warning(f"create: {warning}")
    return 0


def config_file(given: Arguments) -> str | None:
    """--config, which is relative to the current directory and not to the bundle."""
    path = given.text("config")
    return os.path.abspath(path) if path else None
