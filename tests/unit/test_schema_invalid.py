# SPDX-License-Identifier: Apache-2.0
"""Is each bundle of bundle-examples/invalid refused for exactly the reasons that are written beside it?"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ociruntime import config
from ociruntime.check import check, schema
from ociruntime.verbs import validate

INVALID = Path(__file__).parents[2] / "bundle-examples" / "invalid"
CASES = sorted(path.parent.name for path in INVALID.glob("*/config.json"))


def expected(name: str) -> list[dict[str, str]]:
    """The entries of a case's expected.json."""
    entries: list[dict[str, str]] = json.loads((INVALID / name / "expected.json").read_text("utf-8"))
    return entries


def cases(by: str) -> list[str]:
    """The cases that are found by the schema, a subject or the parser."""
    return [name for name in CASES if expected(name)[0]["by"] == by]


def document(name: str) -> Any:
    """A case's config.json, parsed as the runtime does."""
    return config.parse((INVALID / name / "config.json").read_bytes(), name).value


def matches(entry: dict[str, str], violation: Any) -> bool:
    """Whether a violation is the expected one."""
    same = (violation.pointer, violation.rule) == (entry["pointer"], entry["rule"])
    return same and entry.get("reason", violation.reason) == violation.reason


def test_there_are_enough_cases_of_every_kind() -> None:
    """The directory has what the project promises: 30 or more, and each way of finding a mistake."""
    assert len(CASES) >= 45
    assert min(len(cases(by)) for by in ("schema", "subject", "parser")) >= 1


@pytest.mark.parametrize("name", cases("schema"))
def test_the_schema_finds_exactly_what_is_expected(name: str) -> None:
    """Pointers and rules, and the words where they are given; the fast validator refuses it too."""
    value = document(name)
    violations = schema.explain(value)
    assert len(violations) == len(expected(name)), violations
    for entry, violation in zip(expected(name), violations, strict=True):
        assert matches(entry, violation), violation
    assert not schema.fast_valid(value)


@pytest.mark.parametrize("name", cases("subject"))
def test_a_subject_finds_exactly_what_is_expected(name: str) -> None:
    """The schema accepts the config; among the errors of the subjects there are these and no others."""
    value = document(name)
    assert schema.explain(value) == []
    assert schema.fast_valid(value)
    errors = [
        violation for violation in check.violations(config.Node(value)) if violation.severity == "error"
    ]
    assert len(errors) == len(expected(name)), errors
    for entry, violation in zip(expected(name), errors, strict=True):
        assert matches(entry, violation), violation


@pytest.mark.parametrize("name", cases("parser"))
def test_what_only_the_text_shows_is_a_warning(name: str) -> None:
    """A doubled name is gone once the text is parsed: the value is valid, the text gets a warning."""
    assert schema.explain(document(name)) == []
    warnings = validate.duplicate_names((INVALID / name / "config.json").read_bytes())
    assert len(warnings) == len(expected(name)), warnings
    for entry, warning in zip(expected(name), warnings, strict=True):
        assert matches(entry, warning), warning
        assert warning.severity == entry["severity"] == "warning"


def test_a_case_is_right_but_for_its_mistake() -> None:
    """Every mistake of a case is written down: check finds no error that is not expected, and all that are."""
    for name in cases("schema"):
        errors = [
            found for found in check.violations(config.Node(document(name))) if found.severity == "error"
        ]
        pointers = {(error.pointer, error.rule) for error in errors}
        assert pointers >= {(entry["pointer"], entry["rule"]) for entry in expected(name)}, name


def test_the_table_in_the_readme_is_the_directory() -> None:
    """One line for each case, with its pointers, rules and finder."""
    lines = [
        line for line in (INVALID / "README.md").read_text("utf-8").splitlines() if line.startswith("| `")
    ]
    shown: dict[str, tuple[list[str], list[str], str]] = {}
    for line in lines:
        name, what, where, rules, by = (cell.strip() for cell in line.strip("|").split("|"))
        assert what, name
        shown[name.strip("`")] = (re.findall(r"`([^`]*)`", where), rules.split(", "), by)
    assert sorted(shown) == CASES
    assert len(lines) == len(CASES)
    for name in CASES:
        entries = expected(name)
        pointers = [entry["pointer"] or "(document)" for entry in entries]
        by_rule = list(dict.fromkeys(entry["rule"] for entry in entries))
        assert shown[name] == (pointers, by_rule, entries[0]["by"]), name
