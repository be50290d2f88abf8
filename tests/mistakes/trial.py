# SPDX-License-Identifier: Apache-2.0
"""What does one runtime say to each mistake?

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, NamedTuple

from tests.harness.driver import PEERS
from tests.harness.stage import Stage
from tests.mistakes.table import MISTAKES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.driver import Result
    from tests.mistakes.table import Mistake

_PEER_LINE = re.compile(r'level=(?:error|fatal) msg=("(?:[^"\\]|\\.)*"|\S+)')


class Answer(NamedTuple):
    """What one runtime said.

    said   its words, with BUNDLE, ID and so on for what differs in every call
    code   exit code
    lacks  which of the mistake's `names` are not in it
    """

    said: str
    code: int
    lacks: tuple[str, ...]


def answers_of(name: str, directory: Path) -> dict[str, Answer]:
    """The answers of the runtime to all mistakes."""
    stage = Stage(name, directory / name)
    try:
        return {mistake.what: answer_of(mistake, stage) for mistake in MISTAKES}
    finally:
        stage.close()


def answer_of(mistake: Mistake, stage: Stage) -> Answer:
    """Make the mistake once."""
    container = stage.running() if mistake.running else stage.container("true")
    bundle = container.bundle
    mistake.change(bundle.config, bundle.directory)
    if stage.runtime.name in PEERS:
        bundle.config.update({"ociVersion": "1.0.2"} if bundle.config else {})  # crun 1.8 refuses newer ones
    if bundle.config:
        bundle.write()
    else:
        bundle.config_file.unlink()
    if mistake.raw:
        bundle.config_file.write_bytes(mistake.raw)
    stand_ins = {"BUNDLE": str(bundle.directory), "ID": container.id}
    done = stage.runtime.call(*(stand_ins.get(word, word) for word in mistake.words))
    if mistake.words[0] == "run":
        container.created = True  # a peer may leave it: `close` deletes
    said = _neutral(_last_words(done), stage, stand_ins)
    lacks = [one for one in mistake.names if not re.search(one, said, re.IGNORECASE)]
    return Answer(said, done.code, tuple(lacks))


def _last_words(done: Result) -> str:
    """The error without time and level; all lines, if there are more than one."""
    found = _PEER_LINE.findall(done.err)
    if found:
        return " / ".join(json.loads(one) if one.startswith('"') else one for one in found)
    return " / ".join(done.err.split("\n")).strip(" /")


def _neutral(text: str, stage: Stage, stand_ins: dict[str, str]) -> str:
    for word, value in sorted(stand_ins.items(), key=lambda one: -len(one[1])):
        text = text.replace(value, word)
    text = text.replace(str(stage.runtime.root), "STATE").replace(str(stage.directory), "STAGE")
    text = re.sub(r"^\d{4}-\d\d-\d\dT\S+: ", "", text)
    return re.sub(r"\b\d{4,}\b(?=/)", "PID", text)
