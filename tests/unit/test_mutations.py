# SPDX-License-Identifier: Apache-2.0
"""Do the two validators agree on 10,000 mutated configs, and does nothing that `validate` calls end in a traceback?"""

from __future__ import annotations

import json
import os
import traceback
from collections import Counter
from random import Random
from typing import Any, NamedTuple

import pytest

from ociruntime import config
from ociruntime.check import check, schema
from ociruntime.errors import BundleError
from ociruntime.jsontext import indented
from ociruntime.verbs import validate
from tests.unit.mutations import MUTATIONS, mutated

COUNT = 10_000


class Outcome(NamedTuple):
    """What was seen on all mutated configs."""

    seed: int
    names: Counter[str]
    valid: int
    disagreements: list[str]


@pytest.fixture(scope="module")
def seed() -> int:
    """A new seed each time; OCIRUNTIME_SEED repeats one."""
    number = int(os.environ.get("OCIRUNTIME_SEED") or Random().randrange(2**32))
    print(f"seed {number}: repeat with OCIRUNTIME_SEED={number}")
    return number


@pytest.fixture(scope="module")
def outcome(seed: int) -> Outcome:
    """Both validators on every mutated config."""
    random = Random(seed)
    names: Counter[str] = Counter()
    disagreements = []
    valid = 0
    for _ in range(COUNT):
        name, document = mutated(random)
        names.update(name.split(", "))
        violations = schema.explain(document)
        fast = schema.fast_valid(document)
        valid += fast
        if fast != (not violations):
            disagreements.append(f"{name}: fast_valid says {fast}, explain {violations}: {document}")
    return Outcome(seed, names, valid, disagreements)


def test_the_fast_validator_agrees_with_jsonschema(outcome: Outcome) -> None:
    """On 10,000 mutated configs both say the same."""
    assert not outcome.disagreements, f"seed {outcome.seed}: " + "\n".join(outcome.disagreements[:5])


def test_the_mutations_reach_both_verdicts(outcome: Outcome) -> None:
    """At least 30 % are valid and 30 % invalid, and every mutation took place: else the agreement says little."""
    share = outcome.valid / COUNT
    assert 0.3 <= share <= 0.7, f"seed {outcome.seed}: {share:.0%} are valid"
    assert set(MUTATIONS) <= set(outcome.names), f"seed {outcome.seed}: {outcome.names}"


def test_a_number_of_ten_thousand_digits() -> None:
    """It is more than Python converts: the error says so in our words, and not how Python could be told otherwise."""
    with pytest.raises(BundleError) as caught:
        config.parse(b'{"ociVersion": ' + b"1" * 10000 + b"}", "config.json")
    assert str(caught.value) == "config.json: a number has more digits than Python converts"


def test_no_mutated_config_ends_in_a_traceback(seed: int) -> None:
    """From the bytes of a file to the last line of text, bad input is a violation or a BundleError, nothing else."""
    random = Random(seed)
    failures: dict[str, str] = {}
    for _ in range(COUNT):
        name, document = mutated(random)
        # json writes what no JSON text can hold; a number that is too large for a float can be written.
        data = json.dumps(document).replace("Infinity", "1e999").encode()
        try:
            _validated(data)
        except Exception as failure:  # noqa: BLE001  # whatever it is, it would be a traceback
            lines = traceback.extract_tb(failure.__traceback__)
            ours = [line for line in lines if "/ociruntime/" in line.filename] or lines
            place = f"{type(failure).__name__} in {ours[-1].filename}:{ours[-1].lineno}"
            failures.setdefault(place, f"{str(failure)[:200]} ({name})")
    words = [f"{place}: {example}" for place, example in failures.items()]
    assert not words, f"seed {seed}:\n" + "\n".join(words)


def _validated(data: bytes) -> str:
    """What `validate` prints about the bytes of a file."""
    try:
        found = [*check.violations(config.parse(data, "config.json")), *validate.duplicate_names(data)]
    except BundleError as failure:
        return str(failure)
    text = validate.as_text("config.json", found)
    text.encode("utf-8")
    broken = [line for line in text.split("\n") if not line.isprintable()]
    assert not broken, f"control characters: {broken[0]!r}"
    assert text.count("\n") == len(found) + 1, f"more lines than violations: {text!r}"
    return text + indented([violation.as_dict() for violation in found])


@pytest.mark.parametrize(
    "document",
    [
        [],
        "text",
        0,
        {"ociVersion": "1.3.0", "root": {"path": "x" * 1_000_000}},
        {"ociVersion": "1.3.0", "root": {"path": "r"}, "mounts": [{}] * 1000},
        {"ociVersion": "1.3.0", "root": {"path": "r"}, "mounts": "\ud800"},
        {"ociVersion": f"1.{'9' * 5000}.0", "root": {"path": "r"}},
        {"ociVersion": "1.\u00b2.0", "root": {"path": "r"}},
        {"ociVersion": 10**4000, "root": {"path": 1e308}},
        {"ociVersion": "1.3.0", "root": {"path": "r"}, "annotations": {"\0\n\x1b[31m": 1}},
    ],
)
def test_odd_documents_are_explained(document: Any) -> None:
    """Documents at the edges are refused or accepted alike, and a reason fits on one printable line."""
    violations = schema.explain(document)
    assert schema.fast_valid(document) is (not violations)
    assert all(len(violation.reason) < 400 and violation.reason.isprintable() for violation in violations)
    assert _validated(json.dumps(document).encode())
