# SPDX-License-Identifier: Apache-2.0
"""Does a config follow specs/config.schema.json, and if not, where and why?

`fast_valid` answers yes or no with the module that check/schema_compiler.py generated at build time; that
is all that create and run need for a good config. `explain` lists every violation with jsonschema,
which takes 50 ms to import and is therefore loaded only here, and only then.

Rules between properties are the subjects' business (check/check.py). This module must not import a
subject, nor at its top level anything that the hot path may not load.
"""

from __future__ import annotations

import os

from ociruntime.config import escape
from ociruntime.errors import MOST_VIOLATIONS, BundleError, Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from jsonschema import Draft202012Validator, ValidationError

    Schema = dict[str, Any]

_KINDS = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "integer": "an integer",
    "boolean": "true or false",
    "null": "null",
}
_BOUNDS = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"))
_CONDITIONAL = frozenset(("then", "else", "allOf", "anyOf"))
_OF_MEMBERS = ("items", "additionalProperties", "propertyNames")
_MANY = 50
_SHOWN = 60  # characters of a wrong value that an error repeats
_validators: dict[str, Draft202012Validator] = {}


def fast_valid(value: object) -> bool:
    """True if the config follows the schema; about 0.01 ms for an ordinary one."""
    from ociruntime.check._config_validator import valid

    return valid(value)


def explain(value: object, schema: str = "config") -> list[Violation]:
    """Every violation of a schema, sorted by pointer; empty if there is none, and only the first ones if there are many.

    value   the parsed document (dict, list, str, int, float, bool, None)
    schema  "config", "state" or "features"
    One value gives one violation: the pointer is exactly that of the value, and for a required
    property that is missing, that of the missing property.
    """
    from itertools import islice

    from ociruntime.native import full_python

    if full_python.ask is not None:
        return [Violation(**fields) for fields in full_python.ask(__name__, "explained", value, schema)]
    full_python.need()  # jsonschema has parts that are not Python text
    found: dict[str, Violation] = {}
    judge = validator(schema)
    document: Any = judge.schema
    # One more than is shown, to know whether there are more.
    errors = islice(judge.iter_errors(value), MOST_VIOLATIONS + 1)
    # What an ordinary keyword says about a value takes precedence over what a condition says about it.
    for error in sorted(errors, key=lambda error: not _CONDITIONAL.isdisjoint(error.absolute_schema_path)):
        for violation in _violations(document, error):
            found.setdefault(violation.pointer, violation)
    return sorted(found.values(), key=lambda violation: _sort_key(violation.pointer))


def explained(value: object, schema: str) -> list[dict[str, str]]:
    """The same for JSON."""
    return [violation.as_dict() for violation in explain(value, schema)]


def validator(schema: str = "config") -> Draft202012Validator:
    """The jsonschema validator of one of our schemas, made once."""
    if schema not in _validators:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import extend

        document = load(schema)
        rules = {name: _passing_over(name, document) for name in _OF_MEMBERS}
        made = extend(Draft202012Validator, rules)  # type: ignore[no-untyped-call]
        _validators[schema] = made(document)
    return _validators[schema]


def _passing_over(keyword: str, document: Schema) -> Callable[..., Iterator[ValidationError]]:
    """The rule of a keyword for the members of a value, which looks only at those that are wrong.

    jsonschema takes 50 us for each member, so that it would need 15 s to find one mistake among 300,000.
    """
    from jsonschema import Draft202012Validator

    from ociruntime.check.schema_compiler import SchemaError, compile_schema

    ordinary: Any = Draft202012Validator.VALIDATORS[keyword]
    compiled: dict[int, Any] = {}

    def is_right(rule: Schema) -> Any:
        if id(rule) not in compiled:
            names: dict[str, Any] = {}
            try:
                source = compile_schema({**rule, "$defs": document.get("$defs", {})})
            except SchemaError:  # the other schemas have keywords that the compiler does not know
                source = "valid = None"
            exec(source, names)  # noqa: S102 - made of our own schema, as at build time
            compiled[id(rule)] = names["valid"]
        return compiled[id(rule)]

    def rule_of_members(judge: Any, rule: Any, value: Any, schema: Any) -> Iterator[ValidationError]:
        is_many = isinstance(value, (list, dict)) and len(value) > _MANY and isinstance(rule, dict)
        valid = is_right(rule) if is_many else None
        if valid is None:
            yield from ordinary(judge, rule, value, schema)
        elif keyword == "propertyNames":
            for name in value:
                if not valid(name):
                    yield from judge.descend(name, rule)
        else:
            for key, member in value.items() if isinstance(value, dict) else enumerate(value):
                if not valid(member):
                    yield from judge.descend(member, rule, path=key)

    return rule_of_members


def load(schema: str) -> Schema:
    """The document of `specs/<schema>.schema.json`.

    Raises BundleError if the installation lacks it.
    """
    import json

    path = schema_file(schema)
    try:
        with open(path, encoding="utf-8") as stream:
            document: Schema = json.load(stream)
    except OSError as failure:
        raise BundleError(
            f"{path}: {(failure.strerror or 'unreadable').lower()}: the installation is incomplete"
        ) from None
    return document


def schema_file(schema: str) -> str:
    """Where a schema is: in the installed package, or beside it in a working tree."""
    package = os.path.dirname(os.path.dirname(__file__))
    name = f"{schema}.schema.json"
    installed = os.path.join(package, "_specs", name)
    return installed if os.path.exists(installed) else os.path.join(os.path.dirname(package), "specs", name)


def properties(schema: str = "config") -> Iterator[tuple[str, Schema]]:
    """(pointer, its schema) of every property that the schema describes.

    An array's elements and a map's values are written `*`: "/mounts/*/options", "/linux/sysctl/*".
    The root itself and conditions are not listed; `$ref` is followed.
    """
    document = load(schema)
    yield from _properties(document, document, "")


def _properties(document: Schema, schema: Schema, pointer: str) -> Iterator[tuple[str, Schema]]:
    if "$ref" in schema:
        schema = document["$defs"][schema["$ref"].rpartition("/")[2]]
    for name, member in schema.get("properties", {}).items():
        place = f"{pointer}/{escape(name)}"
        yield place, member
        yield from _properties(document, member, place)
    for keyword in ("items", "additionalProperties"):
        if isinstance(schema.get(keyword), dict):
            yield from _properties(document, schema[keyword], f"{pointer}/*")


def _violations(document: Schema, error: ValidationError) -> Iterator[Violation]:
    """What one error of jsonschema says, in our words; `required` may name several properties."""
    pointer = "".join(f"/{escape(str(token))}" for token in error.absolute_path)
    rule = _rule(document, error)
    instance: Any = error.instance
    schema: Schema = error.schema if isinstance(error.schema, dict) else {}
    if error.validator == "required":
        for name in schema.get("required", ()):
            if name not in instance:
                own = schema.get("properties", {}).get(name, {})
                reason = schema.get("x-reason", "is required")
                yield Violation(f"{pointer}/{escape(name)}", reason, own.get("x-rule", rule))
        return
    if "propertyNames" in error.absolute_schema_path:
        # jsonschema points at the object; the offending thing is the member of this name.
        pointer = f"{pointer}/{escape(str(error.instance))}"
        yield Violation(pointer, f"as a name, {_reason(error, schema)}", rule)
        return
    yield Violation(pointer, _reason(error, schema), rule)


def _rule(document: Schema, error: ValidationError) -> str:
    """The x-rule nearest to the failing keyword on the way down from the schema's root."""
    node: Any = document
    rule = ""
    for key in (None, *error.absolute_schema_path):
        if key is not None:
            node = node[key]
        if isinstance(node, dict) and isinstance(node.get("x-rule"), str):
            rule = node["x-rule"]
        if isinstance(node, dict) and "$ref" in node:  # jsonschema's path steps over it
            node = document["$defs"][node["$ref"].rpartition("/")[2]]
        if isinstance(node, dict) and isinstance(node.get("x-rule"), str):
            rule = node["x-rule"]
    return rule


def _reason(error: ValidationError, schema: Schema) -> str:
    """What was expected and what was found, lower case, no full stop."""
    if "x-reason" in schema:
        return str(schema["x-reason"])
    instance: Any = error.instance
    found = _shown(instance)
    if "x-expected" in schema and error.validator != "type":
        return f"expected {schema['x-expected']}, found {found}"
    limit: Any = error.validator_value
    if error.validator == "type":
        kinds = [limit] if isinstance(limit, str) else limit
        return f"expected {_KINDS[kinds[0]]}, found {found}"
    if error.validator == "enum":
        return f"expected {_listed([name for name in limit if name])}, found {found}"
    if error.validator in ("minimum", "maximum", "exclusiveMinimum"):
        bounds = [f"{word} {schema[key]}" for key, word in _BOUNDS if key in schema]
        return f"expected a number, {' and '.join(bounds)}, found {found}"
    if error.validator == "minItems":
        return f"expected at least {limit} {'entry' if limit == 1 else 'entries'}, found {len(instance)}"
    return f"breaks the rule {error.validator}, found {found}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def _shown(value: object) -> str:
    """A value as an error repeats it: short, one line, printable."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "an array"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = ascii(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _sort_key(pointer: str) -> list[tuple[bool, int, str]]:
    """/mounts/2 before /mounts/10."""
    tokens = pointer.split("/")
    return [
        (index := token.isascii() and token.isdigit(), int(token) if index else 0, token) for token in tokens
    ]
