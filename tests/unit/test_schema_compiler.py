# SPDX-License-Identifier: Apache-2.0
"""Does the compiler keep the schema's meaning, and does it stop where it could not?"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from ociruntime.check import schema, schema_compiler
from ociruntime.check.schema_compiler import PATTERNS, SchemaError, compile_schema

if TYPE_CHECKING:
    from collections.abc import Callable

PATTERN_SEED = 7
GENERATED = Path(schema.__file__).with_name("_config_validator.py")


def valid_of(document: dict[str, Any]) -> Callable[[Any], bool]:
    """The function that a schema compiles to."""
    namespace: dict[str, Any] = {}
    exec(compile_schema(document), namespace)  # the compiler's own output
    valid: Callable[[Any], bool] = namespace["valid"]
    return valid


def test_the_generated_validator_is_that_of_the_present_schema() -> None:
    """A validator that was built from an older schema is found out."""
    assert GENERATED.exists(), (
        "build the package (pip install -e .) or run python -m ociruntime.check.schema_compiler"
    )
    current = compile_schema(schema.load("config"))
    assert GENERATED.read_text("utf-8") == current, "run python -m ociruntime.check.schema_compiler"


def test_the_generated_validator_imports_nothing() -> None:
    """It is on the path of create and run, where every import costs."""
    tree = ast.parse(compile_schema(schema.load("config")))
    assert not [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"type": "object", "minProperties": 1}, "/: the keyword minProperties is not known for object"),
        ({"type": "string", "format": "uri"}, "/: the keyword format is not known for string"),
        ({"type": "string", "minimum": 1}, "/: the keyword minimum is not known for string"),
        ({"minLength": 1}, "/: the keyword minLength is not known for no type"),
        ({"type": "string", "pattern": "^a$"}, "the pattern ^a$ has no row in PATTERNS"),
        ({"type": "number"}, "type number is not known"),
        ({"type": ["string", "integer"]}, "at most one type beside null"),
        ({"type": "string", "enum": ["a", 1]}, "enum must list strings"),
        ({"type": ["string", "null"], "enum": ["a"]}, "null must be in both type and enum, or in neither"),
        ({"type": "array", "items": True}, "/items: a schema must be an object here"),
        ({"type": "array", "items": {"$ref": "#/$defs/a"}}, "/items: $ref #/$defs/a leads nowhere"),
        ({"type": "array", "items": {"$ref": "#/$defs/a", "minimum": 1}}, "/items: minimum beside $ref"),
        ({"type": "object", "then": {"type": "object"}}, "then or else without if"),
        ({"type": "object", "additionalProperties": False}, "additionalProperties must be a schema"),
        ({"type": "object", "properties": {"a": {"title": "b"}}}, "/properties/a: a property needs a type"),
        (
            {"type": "object", "properties": {"a_b": {"type": "object"}, "a/b": {"type": "object"}}},
            "its function _c_a_b would also be that of /properties/a_b",
        ),
    ],
)
def test_what_is_not_understood_stops_the_build(document: dict[str, Any], complaint: str) -> None:
    """An unknown keyword, pattern or construct is an error that names the place, never a weaker check."""
    with pytest.raises(SchemaError, match=re.escape(complaint)):
        compile_schema(document)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_and_its_hand_made_check_agree(pattern: str) -> None:
    """On 60,000 random texts, and on near misses, the expression says what `re` says."""
    valid = valid_of({"type": "string", "pattern": pattern})
    random = Random(PATTERN_SEED)
    pieces: tuple[str, ...] = (
        "/",
        "\0",
        "\n",
        " ",
        ",",
        "-",
        ".",
        "+",
        "0",
        "1",
        "12",
        "00",
        "a",
        "Z",
        "\ud800",
        "\udc80",
        "\u0663",
        "\u00c9",
    )
    pieces += (
        "rw",
        "m",
        "KB",
        "MB",
        "MB:",
        "RLIMIT_",
        "CPU",
        "_",
        "1.2.3",
        "-rc.1",
        "0-3",
        "\u00b2",
        "\U0001f600",
    )
    accepted = 0
    for _ in range(60_000):
        text = "".join(random.choice(pieces) for _ in range(random.randint(0, 5)))
        expected = re.search(pattern, text) is not None
        accepted += expected
        assert valid(text) is expected, f"{text!r} with seed {PATTERN_SEED}"
    assert 20 < accepted < 59_980, "the random texts say nothing about this pattern"


@pytest.mark.parametrize(
    "document",
    [
        {"type": "null"},
        {"type": ["object", "null"], "properties": {"a": {"type": "boolean"}}},
        {
            "type": "object",
            "required": ["b"],
            "properties": {"a": {"type": ["integer", "null"], "minimum": 1}},
        },
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"type": ["integer", "null"], "maximum": 1}},
        },
        {"type": ["array", "null"], "maxItems": 2, "items": {"type": ["string", "null"], "maxLength": 1}},
        {"type": "array", "items": {"type": "array", "minItems": 1, "items": {"type": "integer"}}},
        {"type": "object", "additionalProperties": {"type": ["string", "null"], "enum": ["a", None]}},
        {"type": "object", "propertyNames": {"type": "string", "minLength": 1}},
        {
            "type": ["object", "null"],
            "if": {"type": "object", "required": ["a"]},
            "then": {"type": "object", "required": ["b"]},
            "else": {"type": ["object", "null"], "properties": {"b": {"type": "null"}}},
        },
        {
            "allOf": [
                {"anyOf": [{"type": "string"}, {"type": "object", "required": ["a"]}]},
                {"type": ["string", "object"][0]},
            ]
        },
        {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/x"}},
            "$defs": {"x": {"type": ["array", "null"]}},
        },
        {"type": "integer", "exclusiveMinimum": 0, "maximum": 2},
    ],
)
def test_a_construct_means_what_jsonschema_says(document: dict[str, Any]) -> None:
    """Each construct, alone, agrees with jsonschema on a grid of small values."""
    scalars: list[Any] = [None, True, False, 0, 1, 2, 3, 1.0, 1.5, float("inf"), "", "a", "ab"]
    values: list[Any] = [*scalars, [], {}, *([scalar] for scalar in scalars), [[1]], [[]], [None, "a", "b"]]
    values += [{name: value} for name in ("a", "b", "") for value in [*scalars, [], {}]]
    values += [{"a": one, "b": two} for one in scalars for two in scalars]
    valid, judge = valid_of(document), Draft202012Validator(document)
    verdicts = set()
    for value in values:
        verdicts.add(judge.is_valid(value))
        assert valid(value) is judge.is_valid(value), value
    assert verdicts == {True, False}, "the values say nothing about this construct"


def test_a_failed_build_leaves_the_old_validator(tmp_path: Path) -> None:
    """The module is replaced in one step, and only by one that compiles."""
    (tmp_path / "schema.json").write_text('{"type": "object"}')
    target = tmp_path / "validator.py"
    schema_compiler.write_validator(str(tmp_path / "schema.json"), str(target))
    before = target.read_text()
    (tmp_path / "schema.json").write_text('{"type": "object", "oneOf": []}')
    with pytest.raises(SchemaError, match="oneOf"):
        schema_compiler.write_validator(str(tmp_path / "schema.json"), str(target))
    assert target.read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["schema.json", "validator.py"]
