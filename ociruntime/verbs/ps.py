# SPDX-License-Identifier: Apache-2.0
"""`ps`: the processes of a container, as the host's ps prints them, or their ids as JSON."""

from __future__ import annotations

from ociruntime.cli.log import emit
from ociruntime.container import Container
from ociruntime.jsontext import compact
from ociruntime.operations import ps as processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.cli.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Print the processes; what follows the id goes to ps."""
    pids = processes.of(Container.load(settings.state_root(), given.words[0]))
    if given.text("format") == "json":
        emit((compact(pids) if pids else "null") + "\n")  # null: what runc prints if there are none
    else:
        emit(processes.table(pids, given.words[1:]))
    return 0
