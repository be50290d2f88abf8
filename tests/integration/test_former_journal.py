# SPDX-License-Identifier: Apache-2.0
"""Is a container undone whose journal was written before steps had ops? (docs/internals/state.md, "The journal")

former_journal.jsonl has an entry of each kind, as the last commit before ops wrote them; only its paths are others.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.config import Node
from ociruntime.identity import lives
from ociruntime.journal import init_of
from ociruntime.launch.context import Context
from ociruntime.launch.undo import undo
from ociruntime.ops import OPS
from ociruntime.statedir import StateDir
from tests.harness.configuration import Config, without_namespace
from tests.harness.driver import ENVIRONMENT, runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from tests.harness.stage import Stage

_KEPT = Path(__file__).with_name("former_journal.jsonl")

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the files of the state directory are this runtime's"
)


def _kept() -> dict[str, dict[str, Any]]:
    """The kept entries, by what is an op now."""
    entries = [json.loads(line) for line in _KEPT.read_text().splitlines()]
    return {entry["name"].replace(" ", "_"): entry for entry in entries}


def _write(directory: StateDir, entries: list[dict[str, Any]]) -> None:
    Path(directory.file("journal")).write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_each_entry_is_known(tmp_path: Path) -> None:
    """An entry of each kind that can be undone is read as the op that it was, with its arguments."""
    directory = StateDir.claim(str(tmp_path / "root"), "x")
    _write(directory, list(_kept().values()))
    journal = directory.journal()
    assert journal == [{"op": op, "args": entry["args"]} for op, entry in _kept().items()]
    assert _kept().keys() - OPS.keys() == {"init"}
    assert init_of(journal) == {"pid": 5445, "start_time": 239860}


def test_what_no_test_machine_has(tmp_path: Path) -> None:
    """Groups of resctrl are removed, a device that did not move is left alone, and nothing is said to be damaged."""
    directory = StateDir.claim(str(tmp_path / "root"), "x")
    text = _KEPT.read_text().replace("/sys/fs/resctrl", str(tmp_path / "resctrl"))
    wanted = ("resctrl group", "monitoring group", "network device")
    lines = [line for line in text.splitlines() if any(words in line for words in wanted)]
    assert len(lines) == 3
    _write(directory, [json.loads(line) for line in lines])
    (tmp_path / "resctrl" / "x" / "mon_groups" / "x").mkdir(parents=True)
    context = Context("x", "/b", directory.path, Node({}))
    # The directory in the middle is the kernel's own, and goes with the group.
    problems = undo(directory, context)
    assert not (tmp_path / "resctrl" / "x" / "mon_groups" / "x").exists()
    assert [problem.partition(":")[0] for problem in problems] == ["undo make resctrl group"]
    os.rmdir(tmp_path / "resctrl" / "x" / "mon_groups")
    assert undo(directory, context) == []
    assert os.listdir(tmp_path / "resctrl") == []
    assert context.warnings == []


def test_a_container_is_deleted(stage: Stage) -> None:
    """Init, cgroups, mounts on the host and the directory of the readiness socket: all are undone."""

    def edit(config: Config) -> None:
        without_namespace(config, "mount")
        for name in ("maskedPaths", "readonlyPaths"):
            config["linux"].pop(name)
        config["root"]["readonly"] = False

    container = stage.container("sleep", "100", edit=edit)
    container.create(env={**ENVIRONMENT, "NOTIFY_SOCKET": str(stage.directory / "nobody")}).ok()
    directory = StateDir(str(stage.runtime.root), container.id)
    journal = directory.journal()
    assert {entry["op"] for entry in journal} == {
        "note_mounts",
        "make_cgroup",
        "make_notify_directory",
        "init",
    }
    former = []
    for entry in journal:
        args, kept = entry["args"], _kept()[str(entry["op"])]
        assert isinstance(args, dict)
        assert args.keys() == kept["args"].keys()
        former.append({**kept, "args": args})
    _write(directory, former)
    init = init_of(directory.journal())
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(container.bundle.rootfs) in mounts
    made = next(entry["args"]["made"] for entry in former if entry["name"] == "make cgroup")
    assert made
    result = container.delete("--force").ok()
    assert result.err == ""
    assert stage.runtime.ids() == []
    assert not lives(init["pid"], init["start_time"])
    assert str(container.bundle.rootfs) not in Path("/proc/self/mountinfo").read_text()
    assert [path for path in made if os.path.exists(path)] == []
