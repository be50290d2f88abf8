# SPDX-License-Identifier: Apache-2.0
"""Which share of the caches and of the memory bandwidth? (config-linux.md, "IntelRdt")

Not carried out yet: a config with intelRdt is refused by name, even an empty one, because it asks for a
group of the container's own (R156, R167). Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = (
    "/linux/intelRdt",
    "/linux/intelRdt/closID",
    "/linux/intelRdt/schemata",
    "/linux/intelRdt/l3CacheSchema",
    "/linux/intelRdt/memBwSchema",
    "/linux/intelRdt/enableMonitoring",
)


def check(config: Node) -> Iterator[Violation]:
    """Yield group names that lead elsewhere in resctrl, malformed lines, and what is not supported yet."""
    rdt = config.at("linux", "intelRdt")
    if not rdt:
        return
    group = rdt.at("closID")
    # "/" alone is the default group (R159)
    if group.text() in (".", "..") or ("/" in group.text() and group.text() != "/"):
        yield Violation(group.pointer, "closID is / or the name of a directory", "R159")
    cache = rdt.at("l3CacheSchema")
    if "\n" in cache.text():
        yield Violation(cache.pointer, "l3CacheSchema must be one line", "R160")
    elif cache.text() and not cache.text().startswith("L3:"):
        yield Violation(cache.pointer, "l3CacheSchema should begin with L3:", "R160", "warning")
    yield Violation(
        rdt.pointer, "a share of caches and memory bandwidth is not supported yet", "R156", "unsupported"
    )
