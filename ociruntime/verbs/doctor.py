# SPDX-License-Identifier: Apache-2.0
"""`doctor`: try on this host what a container, or this bundle, needs, and say what does not work, why, and what cures it."""

from __future__ import annotations

from ociruntime import bundle
from ociruntime.check import check
from ociruntime.cli.log import emit
from ociruntime.config import Node
from ociruntime.errors import EXIT_ERROR
from ociruntime.host_path import absolute
from ociruntime.inspect.doctor import examine
from ociruntime.inspect.doctor.ordinary import ordinary_config
from ociruntime.jsontext import indented
from ociruntime.verbs import config_of, raise_on_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """The exit code is 0 if everything works that the bundle needs, or an ordinary container."""
    whose, bundle_path = "", "/"
    if given.words:
        directory, path = config_of(given.words)
        loaded = bundle.load(directory, path)
        config = loaded.config
        check.require(config)
        whose = path
        bundle_path = absolute(directory)
    else:
        config = Node(ordinary_config())
    raise_on_signals()  # what probes have made is removed first
    report = examine(
        config,
        whose=whose,
        directory=bundle_path,
        state_root=settings.state_root(),
        manager=settings.cgroup_manager,
    )
    emit(indented(report.as_document()) + "\n" if given.text("format") == "json" else report.as_text())
    return EXIT_ERROR if report.lacking() else 0
