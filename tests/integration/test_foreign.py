# SPDX-License-Identifier: Apache-2.0
"""What if containers below --root are runc's or crun's, as after the binary was replaced? They are left alone, and errors say so."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import Container, runtime_under_test
from tests.harness.peers import PEERS, _remove_left_cgroups
from tests.harness.stage import Stage, new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="what a peer makes of another's containers is its own affair"
)

# Every verb that takes a container, with a place for its id.
_VERBS = (
    ["state", "ID"],
    ["start", "ID"],
    ["kill", "ID", "KILL"],
    ["kill", "--all", "ID", "KILL"],
    ["exec", "ID", "true"],
    ["ps", "ID"],
    ["ps", "--format", "json", "ID"],
    ["pause", "ID"],
    ["resume", "ID"],
    ["events", "--stats", "ID"],
    ["update", "--pids-limit", "50", "ID"],
    ["delete", "ID"],
    ["delete", "--force", "ID"],
)


@pytest.fixture(params=["runc", "crun"])
def theirs(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Stage]:
    """Another runtime with the same --root."""
    stage.runtime.root.mkdir(mode=0o700)
    made = Stage(request.param, stage.directory)
    yield made
    made.close()
    _remove_left_cgroups(made)


def _in_state(theirs: Stage, status: str) -> Container:
    bundle = theirs.bundle("sleep", "100", name=f"theirs-{theirs.bundles}")
    container = Container(theirs.runtime, bundle, new_id())
    theirs.containers.append(container)
    container.create().ok()
    if status != "created":
        container.start().ok()
    if status == "stopped":
        container.kill("KILL").ok()
    container.wait_for(status)
    return container


def _look(container: Container) -> dict[str, tuple[int, bytes]]:
    """The files of a container, and what is in them."""
    directory = container.runtime.root / container.id
    return {
        path.name: (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in directory.iterdir()
    }


@pytest.mark.parametrize("status", ["created", "running", "stopped"])
def test_no_verb_touches_it(stage: Stage, theirs: Stage, status: str) -> None:
    """Each says whose the container is, its pid and how to end it; its files, process and status stay as they are."""
    container = _in_state(theirs, status)
    own = stage.in_state("running")
    files, pid = _look(container), _pid(container)
    name = theirs.runtime.name
    process = f"pid {pid}, which {'has ended' if status == 'stopped' else 'is running'}"
    belongs = f"{stage.runtime.root}/{container.id} belongs to another runtime, {name}: {process}"
    remedy = f"end it with: {name} --root {stage.runtime.root} delete --force {container.id}"
    for words in _VERBS:
        result = stage.runtime.call(*[container.id if word == "ID" else word for word in words])
        result.refused(belongs, remedy)
        assert len(result.err.splitlines()) == 1, words
        assert result.code == (255 if words[0] == "exec" else 1), words
        assert _look(container) == files, words
    for verb in ("create", "run"):
        bundle = str(own.bundle.directory)
        result = stage.runtime.call(verb, "--bundle", bundle, container.id)
        result.refused(f"container already exists: {container.id}", belongs, remedy)
    assert _look(container) == files
    assert container.status() == status
    container.delete("--force").ok()


@pytest.mark.parametrize("status", ["created", "running", "stopped"])
def test_list_and_gc_beside_it(stage: Stage, theirs: Stage, status: str) -> None:
    """Ours are shown and cleaned up; each of theirs is one warning, whatever the form of the list."""
    container, other = _in_state(theirs, status), _in_state(theirs, status)
    own, left = stage.in_state("running"), stage.in_state("created")
    state = stage.runtime.root / left.id / "state.json"
    state.rename(state.with_name("deleted.json"))
    files = _look(container)
    name = theirs.runtime.name
    for flags in ([], ["--quiet"], ["--format", "json"]):
        result = stage.runtime.call("list", *flags).ok()
        assert own.id in result.out
        assert container.id not in result.out
        told = [
            line for line in result.err.splitlines() if f"belongs to another runtime, {name}: pid" in line
        ]
        assert [line.split(": ")[3] for line in told] == sorted([container.id, other.id]), result.err
    document: list[dict[str, Any]] = json.loads(result.out)
    assert {one["id"] for one in document} == {own.id, left.id}
    cleaned = stage.runtime.call("gc").ok()
    assert cleaned.out == f"{left.id}: its delete was interrupted, and is finished\n"
    assert (
        len(re.findall(f"^ociruntime: warning: gc: .* another runtime, {name}: ", cleaned.err, re.MULTILINE))
        == 2
    )
    left.created = False
    assert _look(container) == files
    assert container.status() == status
    for one in (container, other):
        one.delete("--force").ok()
    own.delete("--force").ok()


def _pid(container: Container) -> int:
    directory = container.runtime.root / container.id
    if container.runtime.name == "crun":
        return int(json.loads((directory / "status").read_bytes())["pid"])
    return int(json.loads((directory / "state.json").read_bytes())["init_process_pid"])


@pytest.mark.parametrize("verb", ["state", "delete", "delete --force", "start"])
def test_unknown_directories(stage: Stage, verb: str) -> None:
    """What is of unknown origin is left alone, too."""
    directory = stage.runtime.root / "unknown"
    (directory / "inner").mkdir(parents=True)
    stage.runtime.root.chmod(0o700)
    directory.chmod(0o700)
    (directory / "inner" / "precious").write_text("x")
    words = verb.split()
    result = stage.runtime.call(*words, "unknown")
    result.refused(f"{directory} belongs to another runtime or program", "remove it by hand")
    assert result.code == 1
    for gentle in ("list", "gc"):
        called = stage.runtime.call(gentle).ok()
        assert called.err.startswith(
            f"ociruntime: warning: {gentle}: unknown: {directory} belongs to another"
        )
    assert (directory / "inner" / "precious").read_text() == "x"
    (directory / "inner" / "precious").unlink()
    os.removedirs(directory / "inner")
    assert not Path(directory).exists()
