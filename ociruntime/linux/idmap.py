# SPDX-License-Identifier: Apache-2.0
"""Which ids of the host do the container's ids stand for? (config-linux.md, User namespace mappings)

User namespaces are not supported yet: this file refuses what it owns by name, so that no mapping is
ever ignored in silence. Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = (
    "/linux/uidMappings",
    "/linux/uidMappings/*/containerID",
    "/linux/uidMappings/*/hostID",
    "/linux/uidMappings/*/size",
    "/linux/gidMappings",
    "/linux/gidMappings/*/containerID",
    "/linux/gidMappings/*/hostID",
    "/linux/gidMappings/*/size",
)


def check(config: Node) -> Iterator[Violation]:
    """Mappings need a user namespace, and user namespaces are not supported yet."""
    has_user = any(entry.at("type").text() == "user" for entry in config.at("linux", "namespaces"))
    for name in ("uidMappings", "gidMappings"):
        mappings = config.at("linux", name)
        if not len(mappings):
            continue
        if has_user:
            yield Violation(mappings.pointer, f"{name} are not supported yet", "R102", "unsupported")
        else:
            yield Violation(mappings.pointer, f"{name} need a user namespace", "R102")
