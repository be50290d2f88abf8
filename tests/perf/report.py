# SPDX-License-Identifier: Apache-2.0
"""How are the results shown? Markdown tables, which `--write` puts between two marks of docs/evidence/performance.md.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.perf.budgets import judge
from tests.perf.chart import chart
from tests.perf.results import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.perf.results import Figure, Results, Row

PAGE, PICTURE = "docs/evidence/performance.md", "docs/evidence/performance.svg"
BEGIN = "<!-- measured: begin (python3 -m tests.perf --write) -->"
END = "<!-- measured: end -->"


def text(results: Results) -> str:
    """Everything that was measured: where, the table, the budgets, where the time goes."""
    parts = [f"{results.where()}.\nContenders: {', '.join(results.contenders.values())}.", table(results)]
    if any(verdict.ratio is not None for verdict in judge(results)):
        parts.append(budget_table(results))
    if results.phases:
        parts.append(phase_table(results))
    return "\n\n".join(parts) + "\n"


def table(results: Results) -> str:
    """Best and median of every row, and our best by those of the peers."""
    names = [*OURS, *results.contenders]
    columns = [
        name for name in dict.fromkeys(names) if any(name in row.figures for row in results.rows.values())
    ]
    peers = [name for name in columns if name not in OURS]
    rows = [["operation", *(_head(name) for name in columns), *(f"/ {_head(name)}" for name in peers)]]
    for name, row in results.rows.items():
        label = name if row.unit == "ms" else f"{name}, {row.unit}"
        cells = [_cell(row.figures.get(column), row) for column in columns]
        rows.append([label, *cells, *(_ratio(row.ratio(peer)) for peer in peers)])
    return markdown(rows)


def _head(name: str) -> str:
    """A column's head: RUNC_NEW is a variable's name."""
    return {"RUNC_NEW": "newer runc", "CRUN_NEW": "newer crun"}.get(name, name)


def _cell(figure: Figure | None, row: Row) -> str:
    """The best figure, and the median in brackets."""
    if figure is None:
        return ""
    if row.unit == "KiB":
        return f"{figure.best:.0f} ({figure.median:.0f})"
    return f"{figure.best:.1f} ({figure.median:.1f})"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def budget_table(results: Results) -> str:
    """Each budget, the ratio, and whether it is kept."""
    rows = [["budget", "measured", ""]]
    for verdict in judge(results):
        word = f"**{verdict.word()}**" if verdict.word() == "missed" else verdict.word()
        rows.append([verdict.budget.what(), _ratio(verdict.ratio), word])
    return markdown(rows)


def phase_table(results: Results) -> str:
    """The parts of one `run`, in order, with their share."""
    forms = list(dict.fromkeys(phase.form for phase in results.phases))
    rows = [["where the time of `run` goes", "ms", "%"]]
    for form in forms:
        phases = [phase for phase in results.phases if phase.form == form]
        whole = sum(phase.milliseconds for phase in phases)
        rows += [
            [f"{form}: {phase.what}", f"{phase.milliseconds:.2f}", f"{100 * phase.milliseconds / whole:.0f}"]
            for phase in phases
        ]
        rows.append([f"{form}: the whole", f"{whole:.2f}", "100"])
    return markdown(rows)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is its head. In columns of equal width, so that it can be read as text as well."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def write(results: Results, repository: Path) -> None:
    """Put tables and chart into the docs. Raises ValueError if the page has no place for them, or nothing was measured."""
    page = repository / PAGE
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: no lines {BEGIN!r} and {END!r}")
    picture = chart(results)
    page.write_text(f"{before}{BEGIN}\n\n{text(results)}\n{END}{after}", encoding="utf-8")
    (repository / PICTURE).write_text(picture, encoding="utf-8")
