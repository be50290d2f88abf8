# SPDX-License-Identifier: Apache-2.0
"""Does each program of runtime-tools end as the table expectations.toml says?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conformance.runtime_tools import suite
from tests.harness.driver import command_of, runtime_under_test

_CHECKOUT = os.environ.get(suite.VARIABLE)
if not _CHECKOUT:
    pytest.skip(
        f"set {suite.VARIABLE} to a built checkout of github.com/opencontainers/runtime-tools "
        "(docs/evidence/conformance.md says how)",
        allow_module_level=True,
    )
if os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
    pytest.skip("the programs look for cgroups of version 1", allow_module_level=True)

pytestmark = pytest.mark.slow
_TABLE = suite.expectations()


def test_every_program_is_in_the_table() -> None:
    """The checkout is built whole, and the table has exactly its programs."""
    assert sorted(suite.programs(Path(_CHECKOUT or ""))) == sorted(_TABLE)


@pytest.mark.parametrize("name", sorted(_TABLE))
def test_program(name: str) -> None:
    """The program's verdict is that of the table: an unexpected failure, or an unexpected pass, is reported."""
    checkout = Path(_CHECKOUT or "")
    under_test = runtime_under_test()
    row = _TABLE[name]
    expected = row.runc if under_test == "runc" else row.ociruntime
    for _ in range(2 if row.race else 1):
        verdict, text = suite.run(suite.programs(checkout)[name], checkout, command_of(under_test)[0])
        print(f"{name}: {verdict.word}, {verdict.passed} checks, {verdict.skipped} skipped\n{text}")
        if verdict.word == expected:
            return
    pytest.fail(f"{verdict.word}, expected was {expected}: {row.reason}\n{text}")


@pytest.mark.parametrize("name", sorted(name for name, row in _TABLE.items() if row.in_user_namespace))
def test_program_in_a_user_namespace(name: str) -> None:
    """What fails for want of a capability of the machine's root passes where the containers' root has all of them."""
    checkout = Path(_CHECKOUT or "")
    command = command_of(runtime_under_test())[0]
    verdict, text = suite.run(suite.programs(checkout)[name], checkout, command, in_user_namespace=True)
    assert verdict.word == _TABLE[name].in_user_namespace, text
    assert verdict.passed > 0
