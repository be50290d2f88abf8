# SPDX-License-Identifier: Apache-2.0
"""What happens when the disk under the state directory is full? One line of error, and nothing is left.

The root of the state is a tmpfs that is too small: first in inodes, so that the making of each file fails
once, then in pages, so that each write fails once.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness.configuration import Config, add_hook, without_namespace
from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.driver import Result
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the files of the state directory are this runtime's"
)

_MOST = 40
_PAGE = 4096


@contextmanager
def _small_disk(place: Path, options: str) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    # mode: a tmpfs is everybody's (1777) unless one says so, and such a --root is refused
    options = f"{options},mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "small", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def _is_told(result: Result, place: Path) -> str:
    """The error is one line with the reason and a file; returns the line."""
    assert result.code == 1, result
    lines = result.err.splitlines()
    assert len(lines) == 1, result.err
    assert lines[0].startswith("ociruntime: create: "), lines
    assert "ENOSPC" in lines[0], lines
    assert str(place) in lines[0], lines
    assert "internal error" not in lines[0], lines
    return lines[0].partition(": ENOSPC")[0]


def _sweep(stage: Stage, options: Callable[[int], str], edit: Callable[[Config], None] | None) -> list[str]:
    """Create on ever larger disks until it succeeds; returns the different errors on the way."""
    place = stage.runtime.root
    errors: dict[str, None] = {}
    for size in range(1, _MOST):
        with _small_disk(place, options(size)):
            container = stage.container("true", edit=edit)
            pid_file = stage.directory / "pid"
            result = container.create("--pid-file", str(pid_file))
            if result.code == 0:
                container.finish()
                assert os.listdir(place) == []
                return list(errors)
            errors[_is_told(result, place).replace(container.id, "ID")] = None
            assert os.listdir(place) == [], f"left with {options(size)} after: {result.err}"
            assert not pid_file.exists()
            assert [name for name in os.listdir(stage.directory) if "pid" in name] == []
    raise AssertionError(f"create never succeeded: {list(errors)}")


def test_no_inodes(stage: Stage) -> None:
    """Each file of the state directory can be the one for which there is no room."""
    # The file system's own root directory takes one.
    errors = _sweep(stage, lambda number: f"nr_inodes={number + 1}", None)
    text = "\n".join(errors)
    for file in ("ID/lock", "ID/journal", "config.json", "state.json"):
        assert file in text, f"{file} is in none of:\n{text}"
    assert "clone init" in text, text
    assert len(errors) >= 6, text


def test_no_pages(stage: Stage) -> None:
    """Each write can be the one for which there is no room, including the progress pages that init writes to."""

    def long(config: Config) -> None:
        config["annotations"] = {"com.example.long": "x" * 3 * _PAGE}

    errors = _sweep(stage, lambda number: f"nr_blocks={number}", long)
    text = "\n".join(errors)
    for file in ("clone init", "ID/progress", "config.json", "state.json"):
        assert file in text, f"{file} is in none of:\n{text}"


def test_no_page_for_the_journal(stage: Stage) -> None:
    """The journal comes first: without room for its entry nothing is made."""
    with _small_disk(stage.runtime.root, "nr_blocks=1"):
        (stage.runtime.root / "fill").write_bytes(bytes(_PAGE))
        result = stage.container("true").create()
        assert "write journal" in _is_told(result, stage.runtime.root)
        assert os.listdir(stage.runtime.root) == ["fill"]


def test_no_inodes_without_a_mount_namespace(stage: Stage) -> None:
    """The step "note mounts" writes a file too."""

    def edit(config: Config) -> None:
        without_namespace(config, "mount")
        for name in ("maskedPaths", "readonlyPaths"):
            config["linux"].pop(name)
        config["root"]["readonly"] = False

    errors = _sweep(stage, lambda number: f"nr_inodes={number + 1}", edit)
    assert any("note mounts" in error for error in errors), errors


def test_full_when_hooks_have_run(stage: Stage) -> None:
    """A disk that is full only at the end: the hooks of create have run, and all is undone."""
    note = stage.directory / "note"

    def edit(config: Config) -> None:
        fill = f"cat > /dev/null; echo ran >> {note}; dd if=/dev/zero of={stage.runtime.root}/fill bs=4k 2>&1"
        add_hook(config, "createRuntime", "/bin/sh", "-c", f"{fill}; true")

    with _small_disk(stage.runtime.root, "size=1m"):
        result = stage.container("true", edit=edit).create()
        _is_told(result, stage.runtime.root)
        assert os.listdir(stage.runtime.root) == ["fill"]
    assert note.read_text() == "ran\n"


def test_pid_file_on_a_full_disk(stage: Stage) -> None:
    """A pid file for which there is no room fails create; neither it nor a temporary one stays."""
    place = stage.directory / "small"
    with _small_disk(place, "nr_blocks=1"):
        (place / "fill").write_bytes(bytes(_PAGE))
        result = stage.container("true").create("--pid-file", str(place / "pid"))
        _is_told(result, place)
        assert os.listdir(place) == ["fill"]
    assert stage.runtime.ids() == []


def test_start_and_delete_on_a_full_disk(stage: Stage) -> None:
    """A container that exists can be run and deleted when the disk has become full."""
    with _small_disk(stage.runtime.root, "size=256k"):
        container = stage.container("true")
        container.create().ok()
        with open(stage.runtime.root / "fill", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(_PAGE))
            except OSError:
                full = True
        assert full
        container.finish()
        assert os.listdir(stage.runtime.root) == ["fill"]
