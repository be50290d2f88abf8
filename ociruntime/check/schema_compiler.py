# SPDX-License-Identifier: Apache-2.0
"""How does specs/config.schema.json become a validator that costs next to nothing to import and to run?

`compile_schema` turns the schema into the source of one module with `valid(document) -> bool`. The
build writes it to ociruntime/check/_config_validator.py; `python -m ociruntime.check.schema_compiler` does the
same in a working tree. It says yes or no; jsonschema explains (check/schema.py), and a differential test
holds the two together.

It understands the part of JSON Schema 2020-12 that our schema uses. An unknown keyword, a pattern
without a row in PATTERNS or a construct whose meaning would not be kept stops the build.

Values are what a JSON parser makes (dict, list, str, int, float, bool, None and nothing derived from
them). The generated module imports nothing: `re` would cost 4 ms, and so patterns become string
methods. Measured on 2 cores, Python 3.11: importing the generated module from its .pyc 0.3 to 0.4 ms,
`runc spec`'s config 0.01 ms.

This module runs at build time and in tests, and where a very long list is explained (check/schema.py); nothing that a verb
loads for a valid config may import it, and it imports nothing of the package.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

Schema = dict[str, Any]

# What no string of a config may hold: NUL ends a C string, and a lone surrogate has no UTF-8 form.
# U+DC80..U+DCFF stay allowed: that is how Python writes bytes that are not UTF-8 (os.fsencode).
_BAD = r"\u0000\ud800-\udc7f\udd00-\udfff"
# In Python `$` also matches before a last newline; the look-ahead makes it mean what ECMA 262 means.
_END = r"$(?!\n)"
_SEMVER_ID = r"(0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER_NUMBER = r"(0|[1-9][0-9]*)"
_RANGE = r"[0-9]+(-[0-9]+)?"

# pattern -> expression that is true if the string {x} does NOT match
PATTERNS: dict[str, str] = {
    rf"^[^{_BAD}]*$": '"\\0" in {x} or not {x}.isascii() and _lone({x})',
    rf"^[^{_BAD}]+$": '{x} == "" or "\\0" in {x} or not {x}.isascii() and _lone({x})',
    rf"^/[^{_BAD}]*$": '{x}[:1] != "/" or "\\0" in {x} or not {x}.isascii() and _lone({x})',
    rf"^(/[^{_BAD}]*)?{_END}": '{x}[:1] not in ("", "/") or "\\0" in {x} or not {x}.isascii() and _lone({x})',
    rf"^[^/{_BAD}]+$": '{x} == "" or "/" in {x} or "\\0" in {x} or not {x}.isascii() and _lone({x})',
    rf"^[^\n{_BAD}]*{_END}": '"\\n" in {x} or "\\0" in {x} or not {x}.isascii() and _lone({x})',
    rf"^(MB:[^\n{_BAD}]*)?{_END}": (
        '{x}[:3] not in ("", "MB:") or "\\n" in {x} or "\\0" in {x} or not {x}.isascii() and _lone({x})'
    ),
    rf"^{_SEMVER_NUMBER}\.{_SEMVER_NUMBER}\.{_SEMVER_NUMBER}(-{_SEMVER_ID}(\.{_SEMVER_ID})*)?"
    rf"(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?{_END}": "not _semver({x})",
    rf"^[1-9][0-9]*[KMG]B{_END}": (
        '{x}[-2:] not in ("KB", "MB", "GB") or not _digits({x}[:-2]) or {x}[0] == "0"'
    ),
    rf"^RLIMIT_[A-Z]+{_END}": '{x}[:7] != "RLIMIT_" or not _capitals({x}[7:])',
    rf"^ *({_RANGE}( *, *{_RANGE})*)? *{_END}": "not _ranges({x})",
    rf"^[rwm]*{_END}": '{x}.strip("rwm") != ""',
}

# Functions that the expressions above call; only those in use are written out.
_HELPERS: dict[str, str] = {
    "_lone": """
def _lone(x):
    try:
        x.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return True
    return False
""",
    "_digits": """
def _digits(x):
    return x.isascii() and x.isdigit()
""",
    "_capitals": """
def _capitals(x):
    return x.isascii() and x.isalpha() and x.isupper()
""",
    "_whole": """
def _whole(x):
    return type(x) is float and x.is_integer()
""",
    "_ranges": """
def _ranges(x):
    x = x.strip(" ")
    if x == "":
        return True
    for part in x.split(","):
        first, dash, last = part.strip(" ").partition("-")
        if not _digits(first) or dash and not _digits(last):
            return False
    return True
""",
    "_semver": """
def _semver(x):
    x, plus, build = x.partition("+")
    x, minus, before = x.partition("-")
    numbers = x.split(".")
    if len(numbers) != 3:
        return False
    for number in numbers:
        if not _digits(number) or number[0] == "0" and number != "0":
            return False
    if minus:
        for name in before.split("."):
            if not _name(name) or name.isdigit() and name[0] == "0" and name != "0":
                return False
    if plus:
        for name in build.split("."):
            if not _name(name):
                return False
    return True
""",
    "_name": """
def _name(x):
    return x.isascii() and x.replace("-", "0").isalnum()
""",
}
_HELPER_NEEDS = {"_ranges": ("_digits",), "_semver": ("_digits", "_name")}

_COMBINATORS = frozenset(("if", "then", "else", "allOf", "anyOf"))
_ANNOTATIONS = frozenset(("$schema", "$id", "$defs", "title", "description"))
_OF_TYPE: dict[str, frozenset[str]] = {
    "null": frozenset(),
    "boolean": frozenset(),
    "integer": frozenset(("minimum", "maximum", "exclusiveMinimum")),
    "string": frozenset(("enum", "pattern", "minLength", "maxLength")),
    "array": frozenset(("items", "minItems", "maxItems")),
    "object": frozenset(("properties", "required", "propertyNames", "additionalProperties")),
}


class SchemaError(ValueError):
    """The schema uses something that this compiler does not know; the build must stop."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where or '/'}: {reason}")


def compile_schema(schema: Schema) -> str:
    """The source of a module with `valid(document: object) -> bool` for this schema.

    Raises SchemaError, naming the place in the schema, for anything that is not understood.
    """
    return _Compiler(schema).module()


class _Compiler:
    """One compilation: the functions written so far, by name."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.functions: dict[str, list[str]] = {}
        self.places: dict[str, str] = {}

    def module(self) -> str:
        self.function("valid", self.schema, "")
        bodies = "".join("\n\n" + "\n".join(lines) + "\n" for lines in self.functions.values())
        needed = {name for name in _HELPERS if f"{name}(" in bodies}
        needed.update(other for name in tuple(needed) for other in _HELPER_NEEDS.get(name, ()))
        helpers = "".join("\n" + text for name, text in _HELPERS.items() if name in needed)
        title = '"""Generated by ociruntime/check/schema_compiler.py from specs/config.schema.json: do not edit."""\n'
        head = "# SPDX-License-Identifier: Apache-2.0\n# mypy: ignore-errors\n# ruff: noqa\n"
        return f"{head}{title}{helpers}{bodies}"

    def function(self, name: str, schema: Schema, where: str) -> str:
        """Write `def name(v)` for a schema, once; its name."""
        if self.places.setdefault(name, where) != where:
            raise SchemaError(where, f"its function {name} would also be that of {self.places[name]}")
        if name not in self.functions:
            lines = self.functions[name] = [f"def {name}(v: object) -> bool:"]
            lines.extend(self.check(schema, "v", "    ", where, inside=True))
            lines.append("    return True")
        return name

    def resolve(self, schema: Schema, where: str) -> tuple[Schema, str]:
        """The schema behind a `$ref` and its place; another schema as it is."""
        if not isinstance(schema, dict):
            raise SchemaError(where, "a schema must be an object here")
        reference = schema.get("$ref")
        if reference is None:
            return schema, where
        extra = [key for key in schema if key != "$ref" and not _is_annotation(key)]
        if extra:
            raise SchemaError(where, f"{extra[0]} beside $ref")
        prefix, _, name = reference.rpartition("/")
        if prefix != "#/$defs" or name not in self.schema.get("$defs", {}):
            raise SchemaError(where, f"$ref {reference} leads nowhere")
        return self.schema["$defs"][name], f"/$defs/{name}"

    def check(self, schema: Schema, x: str, pad: str, where: str, *, inside: bool = False) -> list[str]:
        """Lines that return False from the function around them unless the value `x` is valid.

        inside   `x` is the argument of the function written for this very schema
        """
        schema, where = self.resolve(schema, where)
        kinds, null = _types(schema, where)
        combined = any(key in schema for key in _COMBINATORS)
        if not inside and (kinds == "object" or combined):
            name = self.function(_function_name(where), schema, where)
            call = f"if not {name}({x}): return False"
            return [
                pad
                + (f"if {x} is not None and not {name}({x}): return False" if null and not combined else call)
            ]
        lines: list[str] = []
        if kinds:
            inner = pad + ("    " if null else "")
            if kinds == "object":
                body = self._object(schema, x, inner, where)
            elif kinds == "array":
                body = self._array(schema, x, inner, where)
            else:
                body = [f"{inner}if {_scalar_is_wrong(schema, kinds, x, where)}: return False"]
            lines = [f"{pad}if {x} is not None:", *body] if null else body
        elif null:
            lines = [f"{pad}if {x} is not None: return False"]
        return lines + self._combinators(schema, x, pad, where)

    def _array(self, schema: Schema, x: str, pad: str, where: str) -> list[str]:
        tests = [f"type({x}) is not list"]
        if "minItems" in schema:
            tests.append(f"len({x}) < {schema['minItems']}")
        if "maxItems" in schema:
            tests.append(f"len({x}) > {schema['maxItems']}")
        lines = [f"{pad}if {' or '.join(tests)}: return False"]
        if "items" in schema:
            item = f"{x}i"
            lines.append(f"{pad}for {item} in {x}:")
            lines.extend(self.check(schema["items"], item, pad + "    ", f"{where}/items"))
        return lines

    def _object(self, schema: Schema, x: str, pad: str, where: str) -> list[str]:
        lines = [f"{pad}if type({x}) is not dict: return False"]
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        lines += [
            f"{pad}if {_literal(name)} not in {x}: return False"
            for name in required
            if name not in properties
        ]
        for name, member in properties.items():
            place = f"{where}/properties/{name}"
            kind, null = _types(self.resolve(member, place)[0], place)
            key, inner = _literal(name), pad
            if null or not kind:
                if name in required:
                    lines.append(f"{pad}if {key} not in {x}: return False")
                elif not null:
                    raise SchemaError(place, "a property needs a type")
            elif name not in required:
                lines.append(f"{pad}if {key} in {x}:")
                inner = pad + "    "
            # A missing property reads as None, which is right where null is allowed or the property required.
            lines.append(f"{inner}p = {x}.get({key})")
            lines.extend(self.check(member, "p", inner, place))
        return lines + self._names(schema, x, pad, where)

    def _names(self, schema: Schema, x: str, pad: str, where: str) -> list[str]:
        """Lines for propertyNames and additionalProperties."""
        names, values = schema.get("propertyNames"), schema.get("additionalProperties")
        lines: list[str] = []
        if names is not None:
            lines += [f"{pad}for k in {x}:", *self.check(names, "k", pad + "    ", f"{where}/propertyNames")]
        if values is not None:
            if not isinstance(values, dict) or "properties" in schema:
                raise SchemaError(
                    where, "additionalProperties must be a schema, and properties not beside it"
                )
            place = f"{where}/additionalProperties"
            lines += [f"{pad}for m in {x}.values():", *self.check(values, "m", pad + "    ", place)]
        return lines

    def _combinators(self, schema: Schema, x: str, pad: str, where: str) -> list[str]:
        """Lines for if/then/else, allOf and anyOf; each part is a function of its own."""

        def part(*path: str | int) -> str:
            place, sub = where, schema
            for key in path:
                place, sub = f"{place}/{key}", sub[key]  # type: ignore[index]
            return f"{self.function(_function_name(place), sub, place)}({x})"

        lines: list[str] = []
        if "if" in schema:
            if "then" in schema:
                lines.append(f"{pad}if {part('if')} and not {part('then')}: return False")
            if "else" in schema:
                lines.append(f"{pad}if not {part('if')} and not {part('else')}: return False")
        elif "then" in schema or "else" in schema:
            raise SchemaError(where, "then or else without if")
        lines += [
            f"{pad}if not {part('allOf', n)}: return False" for n in range(len(schema.get("allOf", ())))
        ]
        if "anyOf" in schema:
            options = " or ".join(part("anyOf", n) for n in range(len(schema["anyOf"])))
            lines.append(f"{pad}if not ({options}): return False")
        return lines


def _types(schema: Schema, where: str) -> tuple[str, bool]:
    """(the one type beside null or "", whether null is allowed); checks that every keyword is known."""
    listed = schema.get("type", [])
    kinds = [listed] if isinstance(listed, str) else list(listed)
    unknown = [kind for kind in kinds if kind not in _OF_TYPE]
    if unknown:
        raise SchemaError(where, f"type {unknown[0]} is not known")
    others = [kind for kind in kinds if kind != "null"]
    if len(others) > 1:
        raise SchemaError(where, "at most one type beside null")
    known = _OF_TYPE[others[0]] if others else frozenset()
    for keyword in schema:
        if keyword in known or keyword in _COMBINATORS or keyword == "type" or _is_annotation(keyword):
            continue
        if keyword == "$ref" and not kinds:
            continue
        raise SchemaError(
            where, f"the keyword {keyword} is not known for {others[0] if others else 'no type'}"
        )
    if "enum" in schema and (None in schema["enum"]) != ("null" in kinds):
        raise SchemaError(where, "null must be in both type and enum, or in neither")
    return (others[0] if others else ""), "null" in kinds


def _scalar_is_wrong(schema: Schema, kind: str, x: str, where: str) -> str:
    """An expression that is true if `x` is not a valid boolean, integer or string."""
    if kind == "boolean":
        return f"{x} is not True and {x} is not False"
    if kind == "integer":
        tests = [f"type({x}) is not int and not _whole({x})"]
        for keyword, sign in (("minimum", "<"), ("maximum", ">"), ("exclusiveMinimum", "<=")):
            if keyword in schema:
                tests.append(f"{x} {sign} {schema[keyword]}")
        return " or ".join(tests)
    tests = [f"type({x}) is not str"]
    if "enum" in schema:
        names = [name for name in schema["enum"] if name is not None]
        if not names or not all(isinstance(name, str) for name in names):
            raise SchemaError(where, "enum must list strings")
        tests.append(f"{x} not in {{{', '.join(map(_literal, names))}}}")
    if "pattern" in schema:
        expression = PATTERNS.get(schema["pattern"])
        if expression is None:
            raise SchemaError(where, f"the pattern {schema['pattern']} has no row in PATTERNS")
        tests.append(expression.format(x=x))
    if "minLength" in schema:
        tests.append(f"len({x}) < {schema['minLength']}")
    if "maxLength" in schema:
        tests.append(f"len({x}) > {schema['maxLength']}")
    return " or ".join(tests)


def _is_annotation(keyword: str) -> bool:
    return keyword in _ANNOTATIONS or keyword.startswith("x-")


def _function_name(where: str) -> str:
    """/properties/linux/properties/memory -> _c_linux_memory."""
    words = where.replace("/properties/", "/").replace("/$defs/", "/def_").strip("/").replace("/", "_")
    return "_c_" + "".join(letter if letter.isalnum() else "_" for letter in words)


def _literal(text: str) -> str:
    return ascii(text)


def write_validator(schema_file: str, target: str) -> None:
    """Compile the schema in `schema_file` into the module `target`; replaced in one step.

    Raises OSError, json.JSONDecodeError or SchemaError; the old file is then still there.
    """
    with open(schema_file, encoding="utf-8") as stream:
        source = compile_schema(json.load(stream))
    compile(source, target, "exec")
    temporary = f"{target}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as stream:
        stream.write(source)
    os.replace(temporary, target)


def main() -> int:
    """Write ociruntime/check/_config_validator.py of this working tree."""
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    schema_file = os.path.join(os.path.dirname(package), "specs", "config.schema.json")
    target = os.path.join(package, "check/_config_validator.py")
    write_validator(schema_file, target)
    print(f"{target} written from {schema_file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
