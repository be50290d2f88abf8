# SPDX-License-Identifier: Apache-2.0
"""Under which AppArmor profile or SELinux labels does the program run? (config.md, "Linux Process")

Not carried out yet. A label is refused by name, also on a host without that security module, as with
runc and crun: a config that asks for confinement must never run without it. Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = ("/process/apparmorProfile", "/process/selinuxLabel", "/linux/mountLabel")


def check(config: Node) -> Iterator[Violation]:
    """Yield the labels that would have an effect; an empty one is as good as none."""
    for path, what, rule in (
        (("process", "apparmorProfile"), "an AppArmor profile", "R048"),
        (("process", "selinuxLabel"), "an SELinux label", "R058"),
        (("linux", "mountLabel"), "an SELinux label of mounts", "R197"),
    ):
        label = config.at(*path)
        if label.text():
            yield Violation(label.pointer, f"{what} is not supported yet", rule, "unsupported")
