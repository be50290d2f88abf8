# SPDX-License-Identifier: Apache-2.0
"""What do the specification's own schemas say of a config, and which differences from ours have a reason?

The other schemas are draft 4, spread over files that refer to each other; they are read from where
they are installed or checked out, and nothing of them is kept here. The reasons are the table in
docs/internals/schema.md.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jsonschema import Draft4Validator

from ociruntime.check import schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema import ValidationError

TABLE = Path(__file__).parents[2] / "docs/internals/schema.md"
_OTHER_PLATFORMS = ("windows", "vm", "solaris", "zos", "freebsd")
_RANGE = ("minimum", "maximum", "exclusiveMinimum")


class Row(NamedTuple):
    """One line of the table: differences that have a reason."""

    schema: str
    verdict: str
    where: tuple[str, ...]
    what: str


class Difference(NamedTuple):
    """One thing that one schema refuses in a config that the other accepts."""

    verdict: str
    where: str
    what: str


def oracle(directory: Path, name: str) -> Draft4Validator:
    """The validator of one of the specification's schemas: all files in one document, references rewritten."""

    def local(value: Any, file: str) -> Any:
        if isinstance(value, dict):
            return {
                key: target(member, file) if key == "$ref" else local(member, file)
                for key, member in value.items()
            }
        return [local(member, file) for member in value] if isinstance(value, list) else value

    def target(reference: Any, file: str) -> Any:
        if not isinstance(reference, str):
            return local(reference, file)
        whole = f"{file}{reference}" if reference.startswith("#") else reference
        return f"#/files/{whole.replace('#', '')}"

    files = {
        path.name: local(json.loads(path.read_text("utf-8")), path.name) for path in directory.glob("*.json")
    }
    return Draft4Validator({"$ref": f"#/files/{name}", "files": files})


def rows() -> list[Row]:
    """The lines of the table in docs/internals/schema.md."""
    found = []
    for line in TABLE.read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 5 and cells[1] in ("we refuse", "we accept"):
            found.append(Row(cells[0], cells[1], tuple(re.findall(r"`([^`]*)`", cells[2])), cells[3]))
    return found


class Comparison:
    """Our verdict beside that of an oracle."""

    def __init__(self, name: str, other: Draft4Validator, since: tuple[int, ...]) -> None:
        self.rows = [row for row in rows() if row.schema in (name, "both")]
        self.other = other
        self.since = since
        self.properties = dict(schema.properties())
        self.used: set[Row] = set()

    def unexplained(self, config: Any) -> list[Difference]:
        """The differences on one config that no row has; the rows that have one are marked as used."""
        ours = list(schema.validator().iter_errors(config))
        theirs = [leaf for error in self.other.iter_errors(config) for leaf in _leaves(error)]
        if bool(ours) == bool(theirs):
            return []
        verdict = "we refuse" if ours else "we accept"
        differences = {
            Difference(verdict, where, what)
            for error in ours or theirs
            for where, what in self._places(verdict, error)
        }
        return [difference for difference in differences if not self._has_a_row(difference)]

    def _has_a_row(self, difference: Difference) -> bool:
        for row in self.rows:
            same = (row.verdict, row.what) == (difference.verdict, difference.what)
            if same and any(_covers(where, difference.where) for where in row.where):
                self.used.add(row)
                return True
        return False

    def _places(self, verdict: str, error: ValidationError) -> Iterator[tuple[str, str]]:
        """(property, what) of one error; a `required` may name several."""
        path = [str(token) for token in error.absolute_path]
        keyword = str(error.validator)
        instance: Any = error.instance
        if keyword == "required":
            names: Any = error.validator_value
            missing = [name for name in names if name not in instance]
            for where in (self._pattern([*path, name]) for name in missing):
                yield where, self._kind(verdict, where, keyword, {})
            return
        if "propertyNames" in error.absolute_schema_path:
            where = self._pattern([*path, str(instance)])
            keyword = "name"
        else:
            where = self._pattern(path)
        yield where, self._kind(verdict, where, keyword, instance)

    def _kind(self, verdict: str, where: str, keyword: str, instance: Any) -> str:
        if verdict == "we refuse" and self._is_newer(where):
            return "newer"
        if where.split("/")[1:2] and where.split("/")[1] in _OTHER_PLATFORMS:
            return "other platform"
        if instance is None and keyword in ("type", "enum"):
            return "null"
        if isinstance(instance, float) and keyword == "type":
            return "5.0"
        if isinstance(instance, str) and re.search(r"[\0\ud800-\udc7f\udd00-\udfff]", instance):
            return "text"
        if isinstance(instance, str) and keyword in ("pattern", "enum") and instance.endswith("\n"):
            return "newline"
        return "range" if keyword in _RANGE else keyword

    def _is_newer(self, where: str) -> bool:
        tokens = where.split("/")
        for end in range(2, len(tokens) + 1):
            since = self.properties.get("/".join(tokens[:end]), {}).get("x-since")
            if since and tuple(int(number) for number in since.split(".")) > self.since:
                return True
        return False

    def _pattern(self, path: list[str]) -> str:
        """/mounts/3/options as the schema writes it: /mounts/*/options."""
        if path and path[0] in _OTHER_PLATFORMS:
            return f"/{path[0]}"
        where = ""
        for token in path:
            named = f"{where}/{token}"
            where = named if named in self.properties else f"{where}/*"
        return where


def _covers(pattern: str, where: str) -> bool:
    """Whether a row's property is this one; a * in the row stands for any one step, alone for everything."""
    if pattern == "*":
        return True
    asked, given = pattern.split("/"), where.split("/")
    if asked[1:3] == ["hooks", "*"] and len(given) == len(asked) + 1:
        given = [*given[:3], *given[4:]]  # /hooks/KIND/NUMBER/path
    return len(asked) == len(given) and all(a in ("*", g) for a, g in zip(asked, given, strict=True))


def _leaves(error: ValidationError) -> Iterator[ValidationError]:
    if error.context:
        for inner in error.context:
            yield from _leaves(inner)
    else:
        yield error
