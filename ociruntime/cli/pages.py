# SPDX-License-Identifier: Apache-2.0
"""Which committed files are made from the flag tables, and by what?

    python3 -m ociruntime.cli.pages write      make all of them
    python3 -m ociruntime.cli.pages NAME       print one: man, markdown, exit-codes, bash, zsh, fish

A test compares the committed files with what is made here. Imported by that command and the test only.
"""

from __future__ import annotations

import sys

from ociruntime.cli.completion import bash, fish, zsh
from ociruntime.cli.manual import man_page
from ociruntime.cli.reference import exit_codes, markdown

# name -> (what makes it, the committed file)
PAGES = {
    "man": (man_page, "docs/ociruntime.8"),
    "markdown": (markdown, "docs/command-line.md"),
    "exit-codes": (exit_codes, "docs/exit-codes.md"),
    "bash": (bash.script, "docs/completion/ociruntime"),
    "zsh": (zsh.script, "docs/completion/_ociruntime"),
    "fish": (fish.script, "docs/completion/ociruntime.fish"),
}


def main(argv: list[str]) -> int:
    """Print one of the pages, or write all of them with `write`."""
    if argv == ["write"]:
        for make, path in PAGES.values():
            with open(path, "w", encoding="utf-8") as file:
                file.write(make())
        return 0
    if len(argv) != 1 or argv[0] not in PAGES:
        sys.stderr.write(f"usage: python3 -m ociruntime.cli.pages {'|'.join(PAGES)}|write\n")
        return 1
    sys.stdout.write(PAGES[argv[0]][0]())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
