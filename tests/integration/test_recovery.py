# SPDX-License-Identifier: Apache-2.0
"""What if the files of a container are damaged, gone, or of another version? A clear error, and a way out.

`state`, `start`, `kill` and plain `delete` refuse what they can't read; `delete --force` cleans it up.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_hook
from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.driver import Container, Result
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the files of the state directory are this runtime's"
)

State = dict[str, Any]


def _changed(**values: Any) -> Callable[[bytes], bytes]:
    """state.json with these members; None takes a member out."""

    def damage(data: bytes) -> bytes:
        state: State = {**json.loads(data), **values}
        return json.dumps({name: value for name, value in state.items() if value is not None}).encode()

    return damage


_DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "older version": _changed(version=0),
    "newer version": _changed(version=2),
    "no version": _changed(version=None),
    "version is text": _changed(version="1"),
    "empty": lambda _: b"",
    "half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "not UTF-8": lambda data: data.replace(b"id", b"\xff\xfe", 1),
    "no object": lambda _: b"[]",
    "too deep": lambda _: b"[" * 200_000,
    "no pid": _changed(pid=None),
    "pid is text": _changed(pid="1"),
    "pid is negative": _changed(pid=-1),
    "no start time": _changed(start_time=None),
    "facts are a list": _changed(facts=[]),
    "cgroups are text": _changed(facts={"cgroups": "x"}),
    "options are missing": _changed(options=None),
    "hooks are text": _changed(hooks="createRuntime"),
    "bundle is a number": _changed(bundle=7),
}
# What only some verbs look at: those that don't may go on.
_SOME_VERBS_GO_ON = {
    "facts are a list",
    "cgroups are text",
    "options are missing",
    "hooks are text",
    "bundle is a number",
}


def _is_told(result: Result, verb: str) -> None:
    """One line, and not a traceback."""
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith(f"ociruntime: {verb}: "), lines
    assert "internal error" not in lines[0], lines


def _file(container: Container, name: str) -> Path:
    return container.runtime.root / container.id / name


@pytest.mark.parametrize("damage", list(_DAMAGES))
@pytest.mark.parametrize("status", ["created", "running", "stopped"])
def test_damaged_state(stage: Stage, status: str, damage: str) -> None:
    """A state that can't be read is a clear error of each verb; delete --force removes everything."""
    container = stage.in_state(status)
    path = _file(container, "state.json")
    path.write_bytes(_DAMAGES[damage](path.read_bytes()))
    for verb, words in (("state", []), ("start", []), ("kill", ["KILL"]), ("delete", [])):
        result = stage.runtime.call(verb, container.id, *words)
        if result.code == 0:
            assert damage in _SOME_VERBS_GO_ON, f"{verb} succeeded"
            continue
        _is_told(result, verb)
        assert result.code == 1
        if damage not in _SOME_VERBS_GO_ON:
            assert "state.json" in result.err
            assert "delete --force" in result.err
    listed = stage.runtime.call("list", "--quiet").ok()
    assert "internal error" not in listed.err
    if path.exists():
        again = container.create()
        assert again.code == 1
        _is_told(again, "create")
    container.delete("--force").ok()
    assert stage.runtime.ids() == []


def test_the_contract_names_what_is_there(stage: Stage) -> None:
    """docs/internals/state.md has the files of a container, the members of its state.json, and no others."""
    page = (Path(__file__).parents[2] / "docs/internals/state.md").read_text()

    def edit(config: Config) -> None:
        config["annotations"] = {"com.example.key": "value"}

    container = stage.container("sleep", "100", edit=edit)
    container.create().ok()
    members = re.findall(r"^\| `(\w+)` \| (\w+) \|", page[page.index("## state.json") :], re.MULTILINE)
    state = json.loads(_file(container, "state.json").read_bytes())
    kinds = {str: "string", int: "integer", bool: "boolean", dict: "object", list: "array"}
    assert members == [(name, kinds[type(value)]) for name, value in state.items()]
    named = set(re.findall(r"^\| `([\w.-]+)` \|", page.partition("## Which files")[0], re.MULTILINE))
    there = set(os.listdir(_file(container, ".")))
    assert named - there == {"deleted.json", "mounts-before"}
    assert there - named == set()


def test_one_damaged_state_hides_no_other(stage: Stage) -> None:
    """`list` and `gc` show and keep the containers that are well."""
    good, bad = stage.in_state("running"), stage.in_state("created")
    _file(bad, "state.json").write_bytes(b"{")
    listed = stage.runtime.call("list", "--quiet").ok()
    assert listed.out.split() == [good.id]
    assert re.fullmatch(rf"ociruntime: warning: list: {bad.id}: .*state\.json.*\n", listed.err), listed.err
    assert stage.runtime.call("gc").ok().out == ""
    assert stage.runtime.ids() == sorted([good.id, bad.id])
    assert good.status() == "running"


_JOURNALS: dict[str, Callable[[bytes], bytes]] = {
    "half a line": lambda data: data + b'{"op":"make_cgr',
    "a line of garbage": lambda data: b"\0\xff garbage\n" + data,
    "garbage at the end": lambda data: data + b"garbage\n",
    "an empty line": lambda data: data + b"\n",
    "no object": lambda data: data + b"[]\n7\n",
    "no members": lambda data: data + b"{}\n",
    "unknown op": lambda data: data + b'{"op":"no_such","args":{}}\n',
    "an op without undo": lambda data: data + b'{"op":"commit","args":{}}\n',
    "a subject of the former form": lambda data: data + b'{"subject":"../os","name":"x","args":{}}\n',
    "wrong arguments": lambda data: data + b'{"op":"make_cgroup","args":{}}\n',
    "arguments are text": lambda data: data + b'{"op":"make_cgroup","args":"x"}\n',
    "no init": lambda data: data + b'{"op":"init","args":{"pid":"x"}}\n',
    "too deep": lambda data: data + b"[" * 200_000 + b"\n",
}


@pytest.mark.parametrize("damage", list(_JOURNALS))
def test_damaged_journal(stage: Stage, damage: str) -> None:
    """What can be read of the journal is undone, and delete --force comes to its end."""
    container = stage.in_state("running")
    path = _file(container, "journal")
    path.write_bytes(_JOURNALS[damage](path.read_bytes()))
    result = container.delete("--force")
    assert result.code == 0, result.err
    assert "internal error" not in result.err
    assert stage.runtime.ids() == []


@pytest.mark.parametrize("damage", list(_JOURNALS))
def test_damaged_journal_of_an_interrupted_create(stage: Stage, damage: str) -> None:
    """The same where there is no state.json yet: gc cleans up, and the id works again."""
    container = stage.in_state("created")
    _file(container, "state.json").unlink()
    path = _file(container, "journal")
    path.write_bytes(_JOURNALS[damage](path.read_bytes()))
    result = stage.runtime.call("gc")
    assert result.code == 0, result.err
    assert result.out == f"{container.id}: its create was interrupted, and is undone\n"
    assert stage.runtime.ids() == []
    container.create().ok()
    container.delete("--force").ok()


@pytest.mark.parametrize("name", ["lock", "progress", "start", "config.json"])
@pytest.mark.parametrize("status", ["created", "running", "stopped"])
def test_a_file_is_gone(stage: Stage, status: str, name: str) -> None:
    """Without one of its files a container may be of no use, but that is reported, and delete --force removes it."""
    container = stage.in_state(status)
    _file(container, name).unlink()
    for verb, words in (("state", []), ("start", []), ("kill", ["0"])):
        result = stage.runtime.call(verb, container.id, *words)
        if result.code:
            assert result.code == 1
            _is_told(result, verb)
    container.delete("--force").ok()
    assert stage.runtime.ids() == []


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"{}"])
def test_kept_config_of_a_container_with_hooks(stage: Stage, content: bytes | None) -> None:
    """Where the kept config is damaged the poststop hooks can't be run, but everything else is done."""

    def edit(config: Config) -> None:
        for kind in ("createRuntime", "startContainer", "poststop"):
            add_hook(config, kind, "/bin/true")

    container = stage.container("sleep", "100", edit=edit)
    container.create().ok()
    path = _file(container, "config.json")
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    started = container.start()
    if started.code:
        _is_told(started, "start")
    container.delete("--force").ok()
    assert stage.runtime.ids() == []


def test_interrupted_delete_whose_config_is_gone(stage: Stage) -> None:
    """A delete that was killed while it removed its files is finished, whichever file went first."""

    def edit(config: Config) -> None:
        add_hook(config, "poststop", "/bin/true")

    for name in ("config.json", "journal", "progress", "start"):
        container = stage.container("true", edit=edit)
        container.create().ok()
        container.kill("KILL").ok()
        container.wait_for("stopped")
        # What delete does first; then the crash.
        os.rename(_file(container, "state.json"), _file(container, "deleted.json"))
        kept = _file(container, "journal").read_bytes()
        _file(container, name).unlink()
        if name == "journal":  # it goes only when everything in it is undone
            _file(container, name).write_bytes(kept)
        assert (
            stage.runtime.call("gc").ok().out
            == f"{container.id}: its delete was interrupted, and is finished\n"
        ), name
        container.created = False
        assert stage.runtime.ids() == []


@pytest.mark.parametrize("name", ["other", ".hidden", "with space", "file"])
def test_foreign_entries_of_the_root(stage: Stage, name: str) -> None:
    """What is in the root and is not a container is neither shown nor touched."""
    stage.runtime.root.mkdir()
    foreign = stage.runtime.root / name
    if name == "file":
        foreign.write_text("x")
    else:
        foreign.mkdir()
        (foreign / "precious").write_text("x")
    stage.runtime.call("list").ok()
    stage.runtime.call("gc").ok()
    kept = foreign if name == "file" else foreign / "precious"
    assert kept.read_text() == "x"
    if name == "file":
        stage.runtime.call("state", name).refused("does not exist")
        foreign.unlink()
    else:
        (foreign / "precious").unlink()
        foreign.rmdir()
