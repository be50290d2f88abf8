# SPDX-License-Identifier: Apache-2.0
"""How do the verbs' times look? A small SVG of bars, readable on a light and on a dark page.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from tests.perf.verbs import OPERATIONS

if TYPE_CHECKING:
    from tests.perf.results import Results

# Contender -> its colour, seen on white and on black.
COLOURS = {"snapshot": "#2f81f7", "launcher": "#79a7e3", "runc": "#d9822b", "crun": "#8a8f98"}
_WIDTH, _LEFT, _RIGHT, _TOP = 720, 70, 60, 58
_BAR, _GAP = 11, 12  # height of a bar, and what is between two groups
# A grey that can be read on both, for viewers that don't say which page it is.
_STYLE = (
    "text{font:13px sans-serif;fill:#6e7781}.s{font-size:11px}.h{font-size:15px;font-weight:bold}"
    "@media(prefers-color-scheme:light){text{fill:#1f2328}.s{fill:#59636e}}"
    "@media(prefers-color-scheme:dark){text{fill:#f0f6fc}.s{fill:#9198a1}}"
)


def chart(results: Results) -> str:
    """The SVG; rows and contenders that were not measured are left out. Raises ValueError if none was."""
    rows = [(name, results.rows[name]) for name in OPERATIONS if name in results.rows]
    names = [name for name in COLOURS if any(name in row.figures for _, row in rows)]
    if not names:
        raise ValueError("no verb was measured: nothing to draw")
    longest = max(row.figures[name].best for _, row in rows for name in names if name in row.figures)
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    height = _TOP + len(rows) * (len(names) * _BAR + _GAP) + 4
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img">',
        f"<title>Milliseconds of each verb: {escape(', '.join(names))}</title>",
        f"<style>{_STYLE}</style>",
        '<text class="h" x="0" y="18">Milliseconds from the start of the command to its end; shorter is better</text>',
    ]
    left = _LEFT
    for name in names:
        label = _label(results, name)
        lines.append(f'<rect x="{left}" y="32" width="11" height="11" fill="{COLOURS[name]}"/>')
        lines.append(f'<text class="s" x="{left + 16}" y="42">{escape(label)}</text>')
        left += 32 + 7 * len(label)
    top = _TOP
    for operation, row in rows:
        middle = top + len(names) * _BAR / 2 + 4
        lines.append(f'<text x="{_LEFT - 8}" y="{middle:g}" text-anchor="end">{escape(operation)}</text>')
        for name in names:
            if name in row.figures:
                best = row.figures[name].best
                length = max(best * scale, 1)
                lines.append(
                    f'<rect x="{_LEFT}" y="{top}" width="{length:.1f}" height="{_BAR - 1}" fill="{COLOURS[name]}"/>'
                )
                lines.append(f'<text class="s" x="{_LEFT + length + 5:.1f}" y="{top + 9}">{best:.1f}</text>')
            top += _BAR
        top += _GAP
    return "\n".join([*lines, "</svg>"]) + "\n"


def _label(results: Results, name: str) -> str:
    return results.contenders.get(name, name)
