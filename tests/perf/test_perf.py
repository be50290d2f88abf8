# SPDX-License-Identifier: Apache-2.0
"""Does the measuring work? Every section is run, with two rounds; no test fails on time: `python -m tests.perf --check` does."""

from __future__ import annotations

import os
import time
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import PEERS, runtime_under_test
from tests.perf import __main__ as command, report, results as kept
from tests.perf.breakdown import DELETE, KERNEL_STARTS, PYTHON_STARTS, Marks, marks_in, parts_of, split
from tests.perf.budgets import BUDGETS, judge, missed
from tests.perf.chart import COLOURS, chart
from tests.perf.contender import everybody
from tests.perf.results import Results, Row
from tests.perf.sections import SECTIONS
from tests.perf.stopwatch import CommandFailedError, lap, rate
from tests.perf.verbs import FIVE, OPERATIONS

if TYPE_CHECKING:
    from pathlib import Path

MILLISECOND = 1000.0  # in a trace's unit
FORMS = {"library": 0.1, "snapshot": 0.2, "launcher": 3.0}


def made_up() -> Results:
    """Results in which every budget is kept: all peers take 1, or are as large, and ours is much better."""
    results = Results("machine", dict.fromkeys(("snapshot", "launcher", *PEERS), "one"), load=[1.0, 2.0])
    for name in {*OPERATIONS, *(budget.row for budget in BUDGETS)}:
        rate_ = "at once" in name
        row = results.row(name, "per second" if rate_ else "KiB" if "memory" in name else "ms")
        for form, value in FORMS.items():
            if (form == "library") == name.startswith("library"):
                row.add(form, [1 / value if rate_ else value] * 3)
        for peer in PEERS:
            row.add(peer, [1.0, 2.0, 9.0] if not rate_ else [1.0, 0.5])
    return results


def doctored() -> Results:
    """The same, but `run` takes 0.51 x runc's."""
    results = made_up()
    results.rows["run"].add("snapshot", [0.51])
    return results


def test_a_failing_command_is_no_lap() -> None:
    """The time of a command that failed is refused, with its words; so is a rate in which one failed."""
    with pytest.raises(CommandFailedError, match="/bin/false: wait status 256"):
        lap(["/bin/false"])
    with pytest.raises(CommandFailedError, match="/bin/false: wait status 256"):
        rate([["/bin/true"], ["/bin/false"], ["/bin/true"]], 2)


def test_a_lap_is_the_time_of_its_process() -> None:
    """From the spawn to the end; what is asleep takes no processor time. Programs at once take as long as one."""
    taken = lap(["/bin/sleep", "0.2"])
    assert 0.2 <= taken.seconds < 5
    assert taken.cpu < 0.1
    assert taken.faults > 10
    assert rate([["/bin/sleep", "0.5"]] * 4, 4) > 1 / 0.5 > rate([["/bin/sleep", "0.5"]] * 2, 1)


def test_a_row_keeps_the_best_and_the_middle() -> None:
    """The least time, the highest rate; ours is the first of our forms that is there."""
    row, rates = Row("ms"), Row("per second")
    row.add("runc", [4.0, 2.0, 9.0])
    rates.add("runc", [4.0, 2.0, 9.0])
    assert row.figures["runc"] == (2.0, 4.0)
    assert rates.figures["runc"] == (9.0, 4.0)
    assert row.ratio("runc") is None
    row.add("launcher", [4.0])
    assert row.ratio("runc") == 2.0
    row.add("snapshot", [1.0])
    assert (row.ours(), row.ratio("runc"), row.ratio("crun")) == ("snapshot", 0.5, None)


def test_the_phases_add_up_to_the_whole() -> None:
    """No gap, and nothing twice, where steps of both sides overlap as well; strace divides the first and the last."""
    events = [
        {"tid": tid, "ts": begin * MILLISECOND, "dur": long * MILLISECOND, "name": name}
        for tid, begin, long, name in (
            (0, 1_001, 24, "run"), (0, 1_010, 2, "check, plan"), (1, 1_012, 1, "check cgroup"), (1, 1_013, 3, "clone init with new pid"),
            (2, 1_015, 3, "mount proc on /proc"), (2, 1_018, 1, "sync ready: done"), (2, 1_020, 2, "exec true"),
        )
    ]  # fmt: skip
    parts = split(parts_of(1_000, 1_030, events), Marks(1.0, 2.0, 3.0), in_one_program=True)
    assert sum(milliseconds for _, milliseconds in parts) == pytest.approx(30.0)
    times = dict(parts)
    assert (times[KERNEL_STARTS], times[PYTHON_STARTS], times[DELETE]) == (1.0, 9.0, 2.0)
    assert times["load, check, plan"] == pytest.approx(2.0)
    assert times["init makes the container"] == pytest.approx(3.0)
    (first, *_) = split(parts_of(1_000, 1_030, events), Marks(1.0, 2.0, 3.0), in_one_program=False)
    assert first == ("shell and Python start, imports, flags", 10.0)


def test_the_marks_are_found_in_lines_of_strace() -> None:
    """Those of the first process; the last wait counts."""
    lines = (
        "10 1.000 execve(...) = 0", "10 1.002 brk(NULL) = 0x1", "11 1.003 execve(...) = 0", "10 1.004 wait4(12, 0) = 12",
        "10 1.005 wait4(11,  <unfinished ...>", "10 1.010 <... wait4 resumed>[], 0, NULL) = 11",
        "10 1.013 exit_group(0) = ?", "10 1.017 +++ exited with 0 +++",
    )  # fmt: skip
    assert marks_in("\n".join(lines)) == pytest.approx((2.0, 3.0, 4.0))
    with pytest.raises(CommandFailedError, match="no exit_group"):
        marks_in("\n".join(lines[:-2]))


def test_a_section_that_fails_leaves_the_others(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What was measured is shown, the failure is said, and the exit code is 1."""

    def fails(*_: object) -> None:
        raise CommandFailedError("containerd does not serve")

    def measures(results: Results, *_: object) -> None:
        results.row("run").add("snapshot", [1.5])

    for name, section in (("verbs", measures), ("engine", fails)):
        monkeypatch.setitem(SECTIONS, name, section)
    monkeypatch.setattr(command, "everybody", lambda _: [])
    assert command.main(["engine", "verbs"]) == 1
    printed = capsys.readouterr()
    assert "tests.perf: section engine: containerd does not serve" in printed.err
    assert "1.5 (1.5)" in printed.out


def test_every_budget_is_judged() -> None:
    """All are kept; each one alone is missed where its figure is just too bad, and said."""
    assert [verdict.word() for verdict in judge(made_up())] == ["kept"] * len(BUDGETS)
    for budget in BUDGETS:
        results = made_up()
        row = results.rows[budget.row]
        bad = budget.limit + (-0.01 if budget.at_least else 0.0 if budget.below else 0.01)
        row.add(row.ours(), [bad])
        assert any(line.startswith(budget.what()) and f"{bad:.2f}" in line for line in missed(results))
        del results.rows[budget.row]
        assert {verdict.word() for verdict in judge(results)} == {"kept", "not measured"}


@pytest.mark.parametrize(("results", "code"), [(made_up(), 0), (doctored(), 1)], ids=["kept", "missed"])
def test_check_tells(results: Results, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check ends with 1 and names what is missed; without it nothing fails."""
    path = tmp_path / "results.json"
    results.save(path)
    assert kept.read(path) == results
    assert command.main(["--read", str(path)]) == 0
    capsys.readouterr()
    assert command.main(["--read", str(path), "--check"]) == code
    printed = capsys.readouterr().out
    assert ("missed: run: at most 0.5 x runc's, but it is 0.51" in printed) == (code == 1)


def test_the_chart_is_xml_with_a_bar_for_each(tmp_path: Path) -> None:
    """Every verb and contender, as long as its time; what was not measured has none, and nothing no chart."""
    root = ET.fromstring(chart(made_up()))
    bars = root.findall("{*}rect")
    assert len(bars) == len(COLOURS) * (1 + len(OPERATIONS))
    texts = [element.text for element in root.findall("{*}text")]
    assert set(OPERATIONS) <= set(texts)
    lengths = [float(bar.attrib["width"]) for bar in bars[len(COLOURS) :]]
    assert lengths[1] == pytest.approx(15 * lengths[0], rel=0.01)  # 3.0 and 0.2
    some = made_up()
    del some.rows["exec"], some.rows["run"].figures["crun"]
    assert len(ET.fromstring(chart(some)).findall("{*}rect")) == len(bars) - len(COLOURS) - 1
    with pytest.raises(ValueError, match="nothing to draw"):
        chart(Results("machine", {}))


def test_the_page_is_rewritten_between_its_marks(tmp_path: Path) -> None:
    """Tables and chart are replaced, and nothing else; a page without marks is refused."""
    (tmp_path / "docs/evidence").mkdir(parents=True)
    page = tmp_path / report.PAGE
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.write(made_up(), tmp_path)
    text = page.read_text()
    assert text.startswith(f"before\n{report.BEGIN}\n\nmachine, load 1.0 to 2.0")
    assert text.endswith(f"\n{report.END}\nafter\n")
    assert "old" not in text
    assert FIVE in text
    assert (tmp_path / report.PICTURE).read_text() == chart(made_up())
    page.write_text("nothing")
    with pytest.raises(ValueError, match="no lines"):
        report.write(made_up(), tmp_path)


def test_a_newer_peer_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names no program is an error, not a contender less."""
    monkeypatch.setenv("CRUN_NEW", "/no/such/crun")
    monkeypatch.setenv("SNAPSHOT", "/usr/bin/true")
    with pytest.raises(FileNotFoundError, match="CRUN_NEW=/no/such/crun"):
        everybody(tmp_path)
    monkeypatch.setenv("CRUN_NEW", "/usr/bin/true")
    assert [one.name for one in everybody(tmp_path)][-1] == "CRUN_NEW"


def test_a_section_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the names of those that are."""
    with pytest.raises(SystemExit, match="2"):
        command.main(["verbs", "nonsense"])
    assert "no section nonsense; there are verbs, " in capsys.readouterr().err


def test_a_part_is_not_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page has one table: neither some sections nor results with a failed one replace it."""
    with pytest.raises(SystemExit, match="2"):
        command.main(["verbs", "--write"])
    assert "--write needs all sections" in capsys.readouterr().err
    results = made_up()
    results.failures.append("section engine: no program containerd")
    results.save(tmp_path / "results.json")
    monkeypatch.setattr(command, "REPOSITORY", tmp_path / "nowhere")
    assert command.main(["--read", str(tmp_path / "results.json"), "--write"]) == 1
    said = capsys.readouterr().err
    assert "section engine: no program containerd" in said
    assert f"{report.PAGE} stays as it was" in said


@pytest.mark.root
@pytest.mark.perf
@pytest.mark.slow
def test_every_section_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two rounds of each, with small crowds: every row has a figure for ours and each peer, within the time that has passed."""
    if runtime_under_test() != "ociruntime":
        pytest.skip("RUNTIME names a peer: the contenders are always the same")
    path = tmp_path / "results.json"
    few = ("--rounds", "2", "--live", "1,3", "--at-once", "1,2,8", "--mounts", "20", "--save", str(path))
    begun = time.monotonic()
    assert command.main([*few]) == 0, capsys.readouterr().err
    passed = (time.monotonic() - begun) * 1000
    results = kept.read(path)
    print(capsys.readouterr().out)
    assert {*PEERS, "launcher"} <= results.contenders.keys()
    assert all(verdict.ratio is not None for verdict in judge(results))
    assert len(results.load) == len(SECTIONS) + 1
    for name, row in results.rows.items():
        assert row.figures.keys() >= set(PEERS), name
        assert row.ours(), name
        for figure in row.figures.values():
            assert figure.best > 0, name
            assert row.unit != "ms" or figure.best < passed
    forms = {phase.form for phase in results.phases}
    assert forms == {"snapshot", "launcher"} & results.contenders.keys()
    assert ET.fromstring(chart(results)).findall("{*}rect")
    assert os.listdir(tmp_path) == [path.name]
