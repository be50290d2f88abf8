# SPDX-License-Identifier: Apache-2.0
"""What should the author of a config.json do differently, although it runs? The specification's rules for authors.

For `validate` only: engines write such configs all the time, and a warning at every create would help no one.
Pure. Must not be imported on the way of create.
"""

from __future__ import annotations

from ociruntime.errors import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

_RESERVED = "org.opencontainers."
# The names that the specifications define in their own namespace for annotations that come from an image: from its
# config (config.md, Annotations; image-spec, conversion.md) and from its labels (image-spec, annotations.md), which
# become annotations unchanged.
_IMAGE_NAMES = frozenset(
    f"{_RESERVED}image.{name}"
    for name in (
        "os", "os.version", "os.features", "architecture", "variant", "author", "created", "stopSignal",
        "exposedPorts",
        "authors", "url", "documentation", "source", "version", "revision", "vendor", "licenses", "ref.name",
        "title", "description", "base.digest", "base.name",
    )
)  # fmt: skip


def advice(config: Node) -> Iterator[Violation]:
    """Warnings about what the specification asks of the author of a config (SHOULD, and names that are reserved)."""
    for part in (_root, _annotations, _mappings, _devices):
        yield from part(config)


def _root(config: Node) -> Iterator[Violation]:
    path = config.at("root", "path")
    if path.text() not in ("", "rootfs"):
        yield Violation(path.pointer, "should be the conventional name rootfs", "R011", "warning")


def _annotations(config: Node) -> Iterator[Violation]:
    for name, value in config.at("annotations").members():
        if name.startswith(_RESERVED):
            if name not in _IMAGE_NAMES:
                yield Violation(
                    value.pointer,
                    f"names in {_RESERVED} are reserved for the specification",
                    "R088",
                    "warning",
                )
        elif name and "." not in name:
            yield Violation(
                value.pointer,
                "should be named in reverse domain notation: org.example.name",
                "R087",
                "warning",
            )


def _mappings(config: Node) -> Iterator[Violation]:
    for entry in config.at("mounts"):
        if entry.at("uidMappings") and not {"idmap", "ridmap"} & set(entry.at("options").texts()):
            yield Violation(
                entry.at("options").pointer,
                "should have idmap or ridmap, because the mount has mappings",
                "R036",
                "warning",
            )


def _devices(config: Node) -> Iterator[Violation]:
    first: dict[tuple[str, int, int], str] = {}
    for entry in config.at("linux", "devices"):
        kind = {"u": "c"}.get(entry.at("type").text(), entry.at("type").text())
        if kind == "p":  # a FIFO has no numbers
            continue
        numbers = (kind, entry.at("major").number(), entry.at("minor").number())
        if numbers in first:
            yield Violation(entry.pointer, f"is the same device as {first[numbers]}", "R110", "warning")
        first.setdefault(numbers, entry.pointer)
