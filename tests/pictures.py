# SPDX-License-Identifier: Apache-2.0
"""What do the two pages look like in the documentation?

    sudo .venv/bin/python3 -m tests.pictures        write docs/plan.png and docs/trace.png anew

The plan is that of a machine that never changes; the trace is the fastest of some runs of a snapshot on this machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ociruntime.plan import order
from ociruntime.plan.page import page
from ociruntime.verbs.plan import PLACEHOLDER
from tests.harness.browser import Browser
from tests.unit import golden

_DOCS = Path(__file__).parents[1] / "docs"
_HELLO = golden.EXAMPLES / "hello"
_ROUNDS = 30
_WIDTH, _HEIGHT = 1040, 640


def plan(path: Path) -> None:
    """The page of hello's plan, with cgroup v2."""
    bundle = golden.load("hello")
    made = order.make(bundle, golden.MACHINES["plan-v2.txt"], order.Options(container_id=PLACEHOLDER))
    path.write_text(page(bundle.config_path, made), encoding="utf-8")


def trace(path: Path) -> None:
    """The page of hello's fastest run."""
    directory = path.parent
    command = str(directory / "ociruntime")
    subprocess.run([sys.executable, "-m", "ociruntime.cli.snapshot", command], check=True)
    best = float("inf")
    for turn in range(_ROUNDS):
        made = directory / f"{turn}.html"
        argv = [
            command,
            "--root",
            str(directory / "state"),
            "--trace",
            str(made),
            "run",
            "--bundle",
            str(_HELLO),
            "picture",
        ]
        subprocess.run(argv, check=True, capture_output=True)
        text = made.read_text(encoding="utf-8")
        found = re.search(r"<dt>in all</dt><dd>([\d.]+) ms", text)
        assert found, "the page says how long it took"
        if float(found[1]) < best:
            best = float(found[1])
            path.write_text(text, encoding="utf-8")


def main() -> int:
    """Make both."""
    with tempfile.TemporaryDirectory() as place:
        browser = Browser()
        try:
            for make in (plan, trace):
                path = Path(place) / f"{make.__name__}.html"
                make(path)
                browser.open(path, width=_WIDTH, height=_HEIGHT)
                (_DOCS / f"{make.__name__}.png").write_bytes(browser.picture())
        finally:
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
