# SPDX-License-Identifier: Apache-2.0
"""What is the container called? (config.md, "Hostname" and "Domainname")

Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.linux import namespace_entries
from ociruntime.step import InitStep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node
    from ociruntime.host import Host
    from ociruntime.step import Step

KEYS = ("/hostname", "/domainname")

_RULES = {"hostname": "R065", "domainname": "R066"}
_LONGEST = 64  # bytes; __NEW_UTS_LEN of uname(2)


def check(config: Node) -> Iterator[Violation]:
    """A name needs a uts namespace (it would rename the host) and has at most 64 bytes."""
    own_names = namespace_entries.has(config, "uts")
    for property_name, rule in _RULES.items():
        name = config.at(property_name)
        if not name.text():
            continue
        if not own_names:
            yield Violation(name.pointer, f"{property_name} needs a uts namespace", rule)
        length = len(name.text().encode("utf-8", "replace"))  # the schema refuses lone surrogates
        if length > _LONGEST:
            yield Violation(
                name.pointer,
                f"{property_name} has {length} bytes, and the kernel takes up to {_LONGEST}",
                rule,
            )


def plan(config: Node, host: Host) -> Iterator[Step]:  # noqa: ARG001 - the signature of every subject
    """Set the names; an empty name counts as none, as with runc."""
    for property_name in _RULES:
        name = config.at(property_name)
        if name.text():
            yield InitStep(property_name, name.text(), pointer=name.pointer, text=name.text())
