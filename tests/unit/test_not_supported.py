# SPDX-License-Identifier: Apache-2.0
"""Is everything in specs/not-supported.md refused by name, and is everything that is refused listed there?"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ociruntime.check import check
from ociruntime.cli import flags, main
from ociruntime.config import Node
from tests.unit.configurations import CONFIGURATIONS

PAGE = Path(__file__).parents[2] / "specs" / "not-supported.md"
BASE: dict[str, Any] = {
    "ociVersion": "1.3.0",
    "root": {"path": "rootfs"},
    "process": {"cwd": "/", "args": ["/bin/true"], "user": {"uid": 0, "gid": 0}},
}


def rows(heading: str) -> list[list[str]]:
    """The cells of the table below a heading, without the back quotes."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]


def merged(base: Any, piece: Any) -> Any:
    """`piece` laid over `base`."""
    if isinstance(base, dict) and isinstance(piece, dict):
        return {name: merged(base.get(name), piece.get(name, base.get(name))) for name in {**base, **piece}}
    return piece


def unsupported(config: Any) -> set[str]:
    """Where a config asks for what this version doesn't do; list indices are `*`."""
    found = [one for one in check.violations(Node(config)) if one.severity == "unsupported"]
    assert all(one.reason.endswith("not supported yet") for one in found)
    return {re.sub(r"/\d+(?=/|$)", "/*", one.pointer) for one in found}


@pytest.mark.parametrize(
    ("pointer", "example"), [(row[0], row[2]) for row in rows("Properties of config.json")]
)
def test_the_property_is_refused_by_name(pointer: str, example: str) -> None:
    """The example is valid, and refused at the property of its line; without it nothing is."""
    assert check.violations(Node(BASE)) == []
    config = merged(BASE, json.loads(example))
    assert [one for one in check.violations(Node(config)) if one.severity == "error"] == []
    assert pointer in unsupported(config)
    with pytest.raises(check.NotSupported, match="not supported yet"):
        check.require(Node(config))


def test_every_refused_property_is_listed() -> None:
    """Of configs that together have every property of the schema, nothing else is refused as not supported."""
    listed = {row[0] for row in rows("Properties of config.json")}
    examples = [merged(BASE, json.loads(row[2])) for row in rows("Properties of config.json")]
    refused = set[str]().union(*(unsupported(config) for config in [*CONFIGURATIONS, *examples]))
    assert len(refused) >= 3
    assert refused <= listed


def test_the_verbs_are_those_of_the_table() -> None:
    """The page and the table in the code name the same verbs, in the same words."""
    assert dict(rows("Verbs")) == flags.LATER


@pytest.mark.parametrize("verb", [row[0] for row in rows("Verbs")])
def test_the_verb_is_refused_by_name(verb: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 and "not supported yet", whatever the arguments."""
    for words in ([verb], [verb, "ID", "x"], [verb, "--flag", "ID"]):
        assert main(words) == 1
        assert capfd.readouterr().err == f"ociruntime: {verb}: not supported yet\n"


def test_no_flag_is_refused() -> None:
    """One that will be again needs a table here, and a line for each."""
    for table in (flags.GLOBAL, *flags.VERB_FLAGS.values()):
        assert [row[0] for row in table if row[3] == flags.REFUSED] == []
