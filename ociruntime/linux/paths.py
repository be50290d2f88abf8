# SPDX-License-Identifier: Apache-2.0
"""Which paths can the container not see, or not change? (config-linux.md, Masked Paths, Readonly Paths)

Both are mounts over what the container's own mounts put there, so they come after pivot_root, read-only
paths first. A path that does not exist needs no mask; any other failure is an error (invariant 7).
Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation
from ociruntime.linux import namespace_entries
from ociruntime.step import InitStep

TYPE_CHECKING = False  # typing itself takes 6 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = ("/linux/maskedPaths", "/linux/readonlyPaths")

_RULES = {"maskedPaths": "R195", "readonlyPaths": "R196"}


def check(config: Node) -> Iterator[Violation]:
    """The paths are absolute, and the container has a mount namespace of its own for such mounts."""
    private = namespace_entries.has(config, "mount")
    for name, rule in _RULES.items():
        paths = config.at("linux", name)
        if len(paths) and not private:
            yield Violation(
                paths.pointer, f"{name} need a mount namespace: {', '.join(paths.texts()[:3])}", rule
            )
        for path in paths:
            if not path.text().startswith("/"):
                yield Violation(path.pointer, f"the path {path.text()!r} must be absolute", rule)


def plan(config: Node) -> Iterator[InitStep]:
    """Steps for after pivot_root; a path that is listed twice is covered once."""
    for path in _once(config.at("linux", "readonlyPaths")):
        yield InitStep(
            "readonly", path.text(), name="make path read-only", pointer=path.pointer, text=path.text()
        )
    for path in _once(config.at("linux", "maskedPaths")):
        yield InitStep("mask", path.text(), None, name="mask path", pointer=path.pointer, text=path.text())


def _once(paths: Node) -> Iterator[Node]:
    # Apart from slashes, another spelling may mean another file, as `..` after a symbolic link does
    seen: set[str] = set()
    for path in paths:
        plain = "/".join(part for part in path.text().split("/") if part not in ("", "."))
        if plain not in seen:
            seen.add(plain)
            yield path
