# SPDX-License-Identifier: Apache-2.0
"""`mounts`: add mounts to a container that exists, or take away what was added."""

from __future__ import annotations

from ociruntime import config, mounting
from ociruntime.bundle import load_config
from ociruntime.container import Container
from ociruntime.errors import RuntimeFailure, UsageError
from ociruntime.verbs import raise_on_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ociruntime.flags import Arguments
    from ociruntime.verbs import Settings


def run(settings: Settings, given: Arguments) -> int:
    """Read the list, and do it; prints nothing."""
    what, container_id, file = given.words
    if what not in {"add", "remove"}:
        raise UsageError(f"takes add or remove, not {what!r}", hint="--help shows the usage")
    entries, in_object = _entries(load_config(file))
    raise_on_signals()  # what is mounted by then is unmounted again
    container = Container.load(settings.state_root(), container_id)
    try:
        act = mounting.add if what == "add" else mounting.remove
        act(container, entries)
    except RuntimeFailure as failure:
        if not in_object:  # pointers begin in the file
            failure.pointer = failure.pointer.removeprefix("/mounts")
        raise
    return 0


def _entries(document: config.Node) -> tuple[object, bool]:
    """The list, and whether the file is an object that has it as `mounts`."""
    in_object = document.has("mounts")
    found = document.at("mounts") if in_object else document
    if not isinstance(found.value, list):
        raise UsageError("the file is neither a list of mounts nor an object with one as `mounts`")
    return found.value, in_object
