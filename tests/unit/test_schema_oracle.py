# SPDX-License-Identifier: Apache-2.0
"""Does our schema say what the specification's own schemas say, but for the differences in docs/internals/schema.md?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.check import schema
from tests.unit.configurations import CONFIGURATIONS
from tests.unit.mutations import mutated
from tests.unit.oracle import Comparison, oracle

if TYPE_CHECKING:
    from jsonschema import Draft4Validator

EXAMPLES = Path(__file__).parents[2] / "bundle-examples"
DEBIAN = Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema")
MUTATED = 4000
SEED = 20  # the same configs every time: a new difference comes from a change, not from luck


@pytest.fixture(scope="module")
def debian() -> Path:
    """The schema of Debian's package, or a skip that says how to get it."""
    if not DEBIAN.is_dir():
        pytest.skip(
            "apt-get install golang-github-opencontainers-specs-dev: it has the schema to compare with"
        )
    return DEBIAN


@pytest.fixture(scope="module")
def main_branch() -> Path:
    """The schema of a checkout of runtime-spec, or a skip that says how to name one."""
    checkout = os.environ.get("OCI_SPEC_SCHEMA")
    if not checkout:
        pytest.skip(
            "set OCI_SPEC_SCHEMA to a checkout of github.com/opencontainers/runtime-spec to compare with it"
        )
    return Path(checkout) / "schema"


def _compare(name: str, other: Draft4Validator, since: tuple[int, ...]) -> None:
    comparison = Comparison(name, other, since)
    files = sorted(EXAMPLES.rglob("config.json"))
    assert files, "no examples to compare on"
    samples: list[Any] = [json.loads(file.read_text("utf-8")) for file in files] + list(CONFIGURATIONS)
    random = Random(SEED)
    configs = [mutated(random)[1] for _ in range(MUTATED)]
    unexplained = {difference: config for config in samples for difference in comparison.unexplained(config)}
    unused = [row for row in comparison.rows if row not in comparison.used]
    unexplained |= {difference: config for config in configs for difference in comparison.unexplained(config)}
    words = [f"{difference}: {str(config)[:300]}" for difference, config in unexplained.items()]
    assert not words, f"seed {SEED}: differences without a line in schema.md:\n" + "\n".join(words)
    assert not unused, f"lines of schema.md that no example and no sample config shows: {unused}"


def test_the_schema_of_spec_1_0_differs_only_where_the_table_says_so(debian: Path) -> None:
    """On examples and mutated configs, Debian's schema and ours agree or a line gives the reason."""
    _compare("1.0", oracle(debian, "config-schema.json"), (1, 0, 99))


def test_the_schema_of_the_main_branch_differs_only_where_the_table_says_so(main_branch: Path) -> None:
    """The same for the newest schema of the specification."""
    _compare("main", oracle(main_branch, "config-schema.json"), (1, 99, 0))


def test_the_samples_of_the_main_branch_are_judged_as_they_are_named(main_branch: Path) -> None:
    """Its good configs, states and features are valid and its bad ones are not, but for other platforms' mistakes."""
    judged = 0
    for file in sorted((main_branch / "test").rglob("*.json")):
        kind, quality = file.parent.parent.name, file.parent.name
        try:
            document = json.loads(file.read_text("utf-8"))
        except json.JSONDecodeError:
            assert quality == "bad", f"{file} is not JSON"
            continue
        violations = schema.explain(document, kind)
        if kind == "config" and any(name in document for name in ("freebsd", "zos", "windows")):
            assert not [violation for violation in violations if violation.pointer.startswith("/linux")], file
        else:
            assert bool(violations) == (quality == "bad"), f"{file}: {violations}"
        judged += 1
    assert judged >= 10, f"only {judged} samples below {main_branch}"
