# SPDX-License-Identifier: Apache-2.0
"""Which names of a config does no version of the specification know, and what was probably meant?

The specification says that unknown properties are ignored (R091), so that `raedonly` changes nothing, silently.
For `validate` only: newer engines write properties that are newer than this version. Pure, apart from the schema's file.
Must not be imported on the way of create.
"""

from __future__ import annotations

from ociruntime.check import schema
from ociruntime.errors import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ociruntime.config import Node

_NEAR = 0.7  # similarity from which a name is suggested, of difflib's 0 to 1: one letter of four is wrong


def unknown_names(config: Node) -> Iterator[Violation]:
    """A warning for each property that the schema doesn't have, with the known name that is most like it."""
    document = schema.load("config")
    yield from _walk(config, document, document)


def near(name: str, known: list[str]) -> str:
    """The known name that is most like `name`, or is its beginning, whatever the case; "" if none is."""
    from difflib import get_close_matches

    by_lower = {one.lower(): one for one in known}
    found = get_close_matches(name.lower(), list(by_lower), n=1, cutoff=_NEAR)
    found += [one for one in by_lower if len(one) > 2 and name.lower().startswith(one)]
    return by_lower[found[0]] if found else ""


def _walk(node: Node, rule: dict[str, Any], document: dict[str, Any]) -> Iterator[Violation]:
    rule = _resolved(rule, document)
    if isinstance(node.value, list):
        for entry in node:
            yield from _walk(entry, rule.get("items", {}), document)
        return
    known = rule.get("properties", {})
    others = rule.get("additionalProperties")  # of an object whose names are free, such as annotations
    for name, value in node.members():
        if name in known:
            yield from _walk(value, known[name], document)
        elif others is not None:
            yield from _walk(value, others, document)
        elif known:
            yield Violation(value.pointer, _words(name, list(known), document), "R091", "warning")


def _words(name: str, known: list[str], document: dict[str, Any]) -> str:
    said = "no version of the specification has this name, so it has no effect"
    homes = sorted(pointer for pointer, names in _objects(document, document, "") if name in names)
    if 0 < len(homes) < 3:  # a name such as "type" is everywhere
        return f"has no effect here: {name} is a property of {' or of '.join(homes)}"
    meant = near(name, known)
    return f"{said} (did you mean {meant}?)" if meant else said


def _objects(rule: dict[str, Any], document: dict[str, Any], pointer: str) -> Iterator[tuple[str, list[str]]]:
    """Every object of the schema: its place, and the names of its properties."""
    rule = _resolved(rule, document)
    known = rule.get("properties", {})
    if known:
        yield pointer or "/", list(known)
    for name, inner in known.items():
        yield from _objects(inner, document, f"{pointer}/{name}")
    for keyword in ("items", "additionalProperties"):
        if isinstance(rule.get(keyword), dict):
            yield from _objects(rule[keyword], document, f"{pointer}/*")


def _resolved(rule: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """The rule to which "$ref" leads; the schema has no longer chains, and no circles."""
    name = rule.get("$ref", "").removeprefix("#/$defs/")
    found: dict[str, Any] = document["$defs"][name] if name else rule
    return found
