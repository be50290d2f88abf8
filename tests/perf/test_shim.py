# SPDX-License-Identifier: Apache-2.0
"""Does the measuring of the shims work? No test fails on time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import runtime_under_test
from tests.perf import shim

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("snapshot", "launcher", "runc", "crun", "nothing")
TIMES = {"ctr run --rm": {name: [10.0 * number + 50, 200.0, 100.0] for number, name in enumerate(NAMES)}}
TIMES["ctr run --rm"]["nothing"] = [40.0, 41.0, 42.0]


def test_the_tables() -> None:
    """Minimum and median, the ratio of minima, and the same without containerd's own part."""
    assert "| ctr run --rm" in shim.time_table("t", TIMES)
    last = shim.time_table("t", TIMES).splitlines()[-1].split("|")
    assert last[2].strip() == "50.0 (100.0)"
    assert [cell.strip() for cell in last[-3:-1]] == ["0.71", "0.62"]
    cells = [cell.strip() for cell in shim.without_floor(TIMES).splitlines()[-1].split("|")]
    assert cells[2:] == ["10.0", "20.0", "30.0", "40.0", "0.33", "0.25", ""]


def test_the_page_is_written_between_its_marks(tmp_path: Path) -> None:
    """And a page without them is refused."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{shim.BEGIN}\nold\n{shim.END}\nafter\n")
    shim.write("new", page)
    assert page.read_text() == f"before\n{shim.BEGIN}\n\nnew\n\n{shim.END}\nafter\n"
    page.write_text("nothing\n")
    with pytest.raises(ValueError, match="no lines"):
        shim.write("new", page)
    assert shim.BEGIN in (shim.REPOSITORY / shim.PAGE).read_text()


@pytest.mark.root
@pytest.mark.engine
@pytest.mark.perf
@pytest.mark.slow
def test_one_round_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    """Every contender takes part in every table, and the shim that does nothing is the quickest."""
    if runtime_under_test() != "ociruntime":
        pytest.skip("RUNTIME names a peer: it is measured beside ours anyway")
    assert shim.main(["--rounds", "1"]) == 0
    said = capsys.readouterr().out
    heads = [line for line in said.splitlines() if ", ms " in line or ", KiB" in line]
    assert len(heads) == 4
    for head in heads:
        assert {"snapshot", "launcher"} <= {cell.strip() for cell in head.split("|")}
    assert "| one of 4 pods, with 20, private " in said
