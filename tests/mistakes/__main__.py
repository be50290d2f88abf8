# SPDX-License-Identifier: Apache-2.0
"""What do runc, crun and this runtime say to each mistake of table.py?

sudo .venv/bin/python3 -m tests.mistakes            prints the page
sudo .venv/bin/python3 -m tests.mistakes --write    writes docs/evidence/mistakes.md
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.harness.driver import PEERS
from tests.harness.peers import hugetlb_mounted
from tests.mistakes.page import page
from tests.mistakes.trial import answers_of

PAGE = Path(__file__).parents[2] / "docs" / "evidence" / "mistakes.md"


def main() -> None:
    """Try all of them, and print or write the page."""
    with tempfile.TemporaryDirectory(prefix="ociruntime-mistakes-") as directory, hugetlb_mounted():
        answers = {name: answers_of(name, Path(directory)) for name in ("ociruntime", *PEERS)}
    text = page(answers)
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
