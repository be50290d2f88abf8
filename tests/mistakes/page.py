# SPDX-License-Identifier: Apache-2.0
"""How do the answers become a page of docs/evidence?"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from tests.mistakes.table import MISTAKES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.mistakes.trial import Answer

_LONGEST = 400  # characters of a message


def page(answers: dict[str, dict[str, Answer]]) -> str:
    """The page, in Markdown.

    answers  of each runtime: what was done -> what it said
    """
    return "\n".join(_lines(answers)) + "\n"


def _lines(answers: dict[str, dict[str, Answer]]) -> Iterator[str]:
    names = list(answers)
    yield "# Mistakes, and what each runtime says to them"
    yield ""
    yield f"{len(MISTAKES)} mistakes that people make, in a config or on the command line, each made once with {_versions(names)}."
    yield "A good message has the place (the pointer of the property, the file, the flag) and the value or the reason; the last column says which"
    yield "of these words are not in it. The words that are wanted stand in tests/mistakes/table.py, and a test wants all of them of"
    yield "this runtime. BUNDLE, ID, STATE and STAGE stand for what differs in every call."
    yield ""
    yield "[R numbers](README.md#r-numbers) are the rules of the specification."
    yield "Made by `sudo .venv/bin/python3 -m tests.mistakes --write`; do not edit."
    yield ""
    yield "| runtime | messages that lack nothing | mistakes that it accepts |"
    yield "|---|---|---|"
    for name, found in answers.items():
        whole = sum(not answer.lacks for answer in found.values())
        accepted = sum(answer.code == 0 for answer in found.values())
        yield f"| {name} | {whole} | {accepted} |"
    for mistake in MISTAKES:
        yield ""
        yield f"## {mistake.what[0].upper()}{mistake.what[1:]}"
        yield ""
        yield "| runtime | says | lacks |"
        yield "|---|---|---|"
        for name in names:
            answer = answers[name][mistake.what]
            yield f"| {name} | {_message(answer)} | {_lacks(answer)} |"


def _message(answer: Answer) -> str:
    said = answer.said if len(answer.said) <= _LONGEST else answer.said[: _LONGEST - 4] + " ..."
    fence = "``" if "`" in said else "`"
    shown = f"{fence}{said}{fence}".replace("|", "\\|") if said else ""
    accepts = "accepts it" if answer.code == 0 else ""
    return "; ".join(filter(None, (accepts, shown))) or "nothing"


def _lacks(answer: Answer) -> str:
    return ", ".join(re.sub(r"\\(.)", r"\1", one).replace("|", " or ") for one in answer.lacks)


def _versions(names: list[str]) -> str:
    found = []
    for name in names[1:]:
        done = subprocess.run([name, "--version"], stdout=subprocess.PIPE, text=True, check=True)
        match = re.search(r"version (\d[\d.]*)", done.stdout)
        found.append(f"{name} {match[1]}" if match else name)
    return f"this runtime, {' and '.join(found)}"
