# SPDX-License-Identifier: Apache-2.0
"""Does the command print what engines parse, and nothing where they want silence?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import PATIENCE

if TYPE_CHECKING:
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

# What engines look for in the text (reference/engines.md).
_TEXTS: list[tuple[str, list[str], str]] = [
    ("stopped", ["kill", "ID", "KILL"], "container not running"),
    ("unknown", ["kill", "ID", "KILL"], "container does not exist"),
    ("unknown", ["delete", "ID"], "container does not exist"),
    ("unknown", ["state", "ID"], "container does not exist"),
    ("unknown", ["start", "ID"], "container does not exist"),
]


@pytest.mark.parametrize(("state", "words", "text"), _TEXTS)
@pytest.mark.parametrize("form", ["stderr", "text log", "json log"])
def test_error_text_for_engines(compare: Compare, state: str, words: list[str], text: str, form: str) -> None:
    """The texts that containerd, docker and podman parse are there, on stderr and in both logs."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.in_state(state)
        log = stage.directory / "log"
        options = {
            "stderr": [],
            "text log": ["--log", str(log)],
            "json log": ["--log", str(log), "--log-format", "json"],
        }[form]
        call = [container.id if word == "ID" else word for word in words]
        result = stage.runtime.call(*call, options=options)
        where = result.err if form == "stderr" else log.read_text()
        if form == "json log":
            last = [json.loads(line) for line in where.splitlines() if line.strip()][-1]
            assert last["level"] == "error"
            assert last["time"]
            where = last["msg"]
        return {"code": result.code, "has the text": text in where}

    # crun's words are its own.
    assert compare(scenario, ("runc",)) == {"code": 1, "has the text": True}


def test_create_prints_nothing(compare: Compare) -> None:
    """Both create and start say nothing on stdout and stderr: these are the container's."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", "echo out; echo err >&2")
        container.create().ok()
        said = [container.output(), container.errors()]
        started = container.start().ok()
        container.wait_for("stopped")
        deleted = container.delete().ok()
        said += [started.out, started.err, deleted.out, deleted.err]
        return {"said": said, "out": container.output(), "err": container.errors()}

    assert compare(scenario) == {"said": [""] * 6, "out": "out\n", "err": "err\n"}


@pytest.mark.parametrize("verb", ["start", "state", "kill", "delete"])
def test_nobody_holds_the_output(stage: Stage, verb: str) -> None:
    """start, state, kill and delete close their output when they end: nothing else holds the pipes."""
    container = stage.in_state({"start": "created", "delete": "stopped"}.get(verb, "running"))
    # call() reads both pipes to EOF; the container outlives its timeout.
    words = [verb, container.id, "CONT"] if verb == "kill" else [verb, container.id]
    stage.runtime.call(*words, timeout=10 * PATIENCE).ok()
    if verb != "delete":
        assert container.status() == "running"
    container.created = verb != "delete"


def test_list(compare: Compare) -> None:
    """`list` shows each container once, as a table, as JSON and as ids."""

    def scenario(stage: Stage) -> dict[str, Any]:
        stage.runtime.root.mkdir(mode=0o700)
        empty = stage.runtime.call("list").ok().out.split()
        running, created = stage.in_state("running"), stage.in_state("created")
        table = [line.split() for line in stage.runtime.call("list").ok().out.splitlines()]
        objects = json.loads(stage.runtime.call("list", "--format", "json").ok().out)
        quiet = stage.runtime.call("list", "-q").ok().out.split()
        rows = sorted([row[0] == running.id, row[1].isdigit(), row[2], row[3]] for row in table[1:])
        members = sorted([one["status"], one["pid"] > 0, one["bundle"]] for one in objects)
        ids = sorted([running.id, created.id])
        return {
            "empty": empty,
            "head": table[0],
            "rows": rows,
            "json": members,
            "quiet": sorted(quiet) == ids,
        }

    answers = compare(scenario, ("runc",))
    assert answers["quiet"] is True
    assert [row[2] for row in answers["rows"]] == ["created", "running"]
