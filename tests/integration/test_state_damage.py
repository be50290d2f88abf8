# SPDX-License-Identifier: Apache-2.0
"""What if there are things in a container's state directory, or in --root, that do not belong there?

An error names the damage at once, the other containers are shown and cleaned up, and delete --force removes this one.
tests/unit/test_statedir_damage.py has every file and every kind; test_recovery.py damages what is in the files.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.driver import Container
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the files of the state directory are this runtime's"
)


def _tree(path: Path) -> None:
    (path / "with" / "something").mkdir(parents=True)
    (path / "with" / "file").write_text("x")


_KINDS: dict[str, Callable[[Path], None]] = {
    "directory": _tree,
    "fifo": os.mkfifo,
    "link": lambda path: path.symlink_to("/etc/passwd"),
}


def _put(container: Container, name: str, kind: str) -> None:
    path = container.runtime.root / container.id / name
    path.unlink(missing_ok=True)
    _KINDS[kind](path)


def _verbs(stage: Stage, container: Container) -> None:
    """Each verb ends at once, and in words."""
    for words in (
        ["state", container.id],
        ["list"],
        ["ps", container.id],
        ["kill", container.id, "0"],
        ["exec", container.id, "true"],
        ["events", "--stats", container.id],
        ["update", "--pids-limit", "100", container.id],
        ["start", container.id],
        ["gc"],
        ["delete", container.id],
    ):
        result = stage.runtime.call(*words, timeout=5 * PATIENCE)
        assert "internal error" not in result.err, words
        assert "Traceback" not in result.err, words


@pytest.mark.parametrize("kind", list(_KINDS))
@pytest.mark.parametrize(
    "name", ["state.json", "journal", "deleted.json", "lock", "progress", "config.json", "start", "stray"]
)
def test_of_a_living_container(stage: Stage, name: str, kind: str) -> None:
    """No verb hangs or fails without words; another container is shown; delete --force ends init and removes all."""
    container, other = stage.in_state("running"), stage.in_state("created")
    pid = container.state()["pid"]
    _put(container, name, kind)
    _verbs(stage, container)
    assert Path(f"/proc/{pid}").exists()
    assert other.id in stage.runtime.call("list", "--quiet").ok().out.split()
    if name == "state.json":
        result = stage.runtime.call("list").ok()
        assert (
            f"warning: list: {container.id}: {stage.runtime.root}/{container.id}/state.json: " in result.err
        )
        stage.runtime.call("state", container.id).refused("state.json: not a regular file", "delete --force")
    container.delete("--force").ok()
    assert stage.runtime.ids() == [other.id]
    for path in Path("/sys/fs/cgroup").glob(f"*/{container.id}"):
        raise AssertionError(f"{path} is left")


@pytest.mark.parametrize("name", ["state.json", "journal", "stray"])
def test_gc_beside_it(stage: Stage, name: str) -> None:
    """An interrupted delete is finished by gc although another container is damaged; and although it is itself."""
    damaged, left = stage.in_state("running"), stage.in_state("created")
    _put(damaged, name, "directory")
    _put(left, "stray", "directory")
    state = stage.runtime.root / left.id / "state.json"
    state.rename(state.with_name("deleted.json"))
    assert stage.runtime.call("gc").ok().out == f"{left.id}: its delete was interrupted, and is finished\n"
    left.created = False
    assert stage.runtime.ids() == [damaged.id]
    damaged.delete("--force").ok()


@pytest.mark.parametrize("kind", ["file", "link", "fifo"])
def test_entries_of_the_root(stage: Stage, kind: str) -> None:
    """A file, a FIFO, and a link to a container are not containers; they are left alone, and their name is taken."""
    container = stage.in_state("running")
    entry = stage.runtime.root / "entry"
    if kind == "file":
        entry.write_text("x")
    elif kind == "fifo":
        os.mkfifo(entry)
    else:
        entry.symlink_to(container.id)
    assert stage.runtime.call("list", "--quiet").ok().out == f"{container.id}\n"
    assert stage.runtime.call("gc").ok().out == ""
    for words in (["state"], ["start"], ["kill"], ["delete"], ["ps"]):
        stage.runtime.call(*words, "entry").refused("container does not exist: entry")
    stage.runtime.call("delete", "--force", "entry").ok()
    bundle = str(container.bundle.directory)
    stage.runtime.call("create", "--bundle", bundle, "entry").refused(
        "container already exists: entry", "entry is not a directory"
    )
    assert os.path.lexists(entry)
    assert container.status() == "running"
    entry.unlink()
    container.delete("--force").ok()


def test_list_of_a_root_that_is_not_there(stage: Stage) -> None:
    """A --root that was named and is missing is a mistake (newer runc says so, too); a query does not make it."""
    for flags in ([], ["--quiet"], ["--format", "json"]):
        result = stage.runtime.call("list", *flags)
        result.refused(f"list: read state directory: {stage.runtime.root}: ENOENT")
        assert (result.code, result.out) == (1, "")
    stage.runtime.root.symlink_to("nowhere")
    stage.runtime.call("list").refused(str(stage.runtime.root))
    stage.runtime.root.unlink()
    assert not os.path.lexists(stage.runtime.root)


def test_a_bundle_with_control_characters(stage: Stage) -> None:
    """`list` shows them as escapes: one line for each container, and nothing that a terminal would obey."""
    container = stage.container("sleep", "100")
    odd = stage.directory / "b\x1b[2J\nfake  1  running"
    shutil.move(container.bundle.directory, odd)
    container.bundle.directory = odd
    container.create().ok()
    result = stage.runtime.call("list").ok()
    assert len(result.out.splitlines()) == 2
    assert "\x1b" not in result.out
    assert r"b\x1b[2J\nfake  1  running" in result.out
    container.delete("--force").ok()
