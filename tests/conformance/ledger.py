# SPDX-License-Identifier: Apache-2.0
"""What is in the conformance ledger, specs/conformance.toml, and how does it become docs/evidence/conformance.md?

    .venv/bin/python3 -m tests.conformance.ledger --write

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.conformance.runtime_tools import suite

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).parents[2]
LEDGER = REPOSITORY / "specs/conformance.toml"
PAGE = REPOSITORY / "docs/evidence/conformance.md"

# How a requirement can be tested, and how many of runtime-spec 1.3's are of each kind.
KINDS = {"plain root": 196, "special set-up": 44, "by validate": 11, "by inspection": 6}
STATUSES = ("shown", "departs", "not testable", "pending")


class Requirement(NamedTuple):
    """One row; `subject` is a file below ociruntime/, `tests` are node ids, `invalid` names of invalid bundles."""

    id: str
    title: str
    section: str
    level: str
    testable: str
    subject: str
    status: str
    why: str = ""
    tests: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()


def load() -> list[Requirement]:
    """The rows, in their order."""
    with open(LEDGER, "rb") as file:
        rows = tomllib.load(file)["requirement"]
    lists = ("tests", "invalid")
    return [
        Requirement(**{name: tuple(value) if name in lists else value for name, value in row.items()})
        for row in rows
    ]


def page() -> str:
    """docs/evidence/conformance.md."""
    rows = load()
    return "\n".join([*_top(rows), *_runtime_tools(), *_open(rows), *_all(rows)]) + "\n"


def _top(rows: list[Requirement]) -> Iterator[str]:
    yield "# Conformance"
    yield ""
    yield "Made from specs/conformance.toml and tests/conformance/runtime_tools/expectations.toml by"
    yield "`.venv/bin/python3 -m tests.conformance.ledger --write`; do not edit."
    yield ""
    yield "Each requirement of runtime-spec 1.3 on a Linux runtime has a number ([R001 to R257](README.md#r-numbers)), a subject"
    yield "file that carries it, and tests that fail when it is broken. `sudo ./check tests/conformance/spec` runs the tests that"
    yield "belong to no single subject; with `RUNTIME=runc` or `RUNTIME=crun` before it, it shows where these differ."
    yield ""
    yield "| testable | requirements | shown | departs | not testable | pending |"
    yield "|---|---|---|---|---|---|"
    for kind, count in KINDS.items():
        found = Counter(row.status for row in rows if row.testable == kind)
        yield f"| {kind} | {count} | " + " | ".join(str(found[status]) for status in STATUSES) + " |"
    yield ""


def _runtime_tools() -> Iterator[str]:
    with open(suite.TABLE, "rb") as file:
        about = tomllib.load(file)["suite"]
    table = suite.expectations().values()
    passes = {side: sum(getattr(row, side) == "pass" for row in table) for side in ("ociruntime", "runc")}
    yield "## The validation programs of opencontainers/runtime-tools"
    yield ""
    yield f"Commit {about['commit']}, run on {about['run']}, as root on {about['machine']}:"
    yield f"{passes['ociruntime']} of {len(table)} programs pass; with {about['runc']}, {passes['runc']} pass."
    for row in table:
        if row.in_user_namespace == "pass":
            yield f"If its containers have a user namespace, {row.name} passes as well, with both."
    if "note" in about:
        yield f"Note: {about['note']}."
    yield "They are not part of this repository. This runs them (about three minutes; needs Go 1.21, from bookworm-backports):"
    yield ""
    yield "    git clone https://github.com/opencontainers/runtime-tools /tmp/runtime-tools"
    yield "    make -C /tmp/runtime-tools runtimetest validation-executables"
    yield "    sudo RUNTIME_TOOLS=/tmp/runtime-tools ./check tests/conformance/runtime_tools"
    yield ""
    yield "| program | ociruntime | runc | cause | why |"
    yield "|---|---|---|---|---|"
    for row in table:
        if row.reason:
            yield f"| {row.name} | {row.ociruntime} | {row.runc} | {row.cause} | {row.reason} |"
    yield ""
    causes = {row.cause for row in table}
    for cause, meaning in suite.CAUSES.items():
        if cause in causes:
            yield f"- *{cause}*: {meaning}."
    yield ""


def _open(rows: list[Requirement]) -> Iterator[str]:
    yield "## What is not shown"
    yield ""
    yield "| requirement | section | level | what | status | why |"
    yield "|---|---|---|---|---|---|"
    for row in rows:
        if row.status != "shown":
            yield f"| {row.id} | {row.section} | {row.level} | {row.title} | {row.status} | {row.why} |"
    yield ""


def _all(rows: list[Requirement]) -> Iterator[str]:
    yield "## Every requirement"
    yield ""
    yield "| requirement | level | what | subject | status | tests, and invalid bundles |"
    yield "|---|---|---|---|---|---|"
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            yield f"| **{section}** | | | | | |"
        shown = [f"`{test.rpartition('/')[2]}`" for test in row.tests] + [f"`{name}`" for name in row.invalid]
        yield f"| {row.id} | {row.level} | {row.title} | {row.subject} | {row.status} | {', '.join(shown)} |"


def main() -> int:
    """Print the page, or write it."""
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    sys.stdout.write(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
