# SPDX-License-Identifier: Apache-2.0
"""What if init does not die, not even of SIGKILL? Its container can't be removed; the others must not be affected.

A process in uninterruptible sleep can't be made at will. One that is frozen from another cgroup of version 1 is the same to
the runtime: it is killed, and stays.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import MARK, PATIENCE, runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.driver import Container
    from tests.harness.stage import Stage

_FREEZER = Path("/sys/fs/cgroup/freezer")
_AT_ONCE = 5.0 * PATIENCE  # seconds; to wait for one stuck process alone takes ten
_ONE_PATIENCE = 10.0 + 6.0 * PATIENCE  # to wait for it twice takes twenty

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(runtime_under_test() in PEERS, reason="how the peers wait is not what this is about"),
    pytest.mark.skipif(
        not _FREEZER.is_dir(), reason="with cgroup v2 a frozen process dies of SIGKILL: needs v1's freezer"
    ),
]


@contextmanager
def _held(container: Container) -> Iterator[None]:
    """Init does not die in here."""
    group = _FREEZER / f"{MARK}-stuck-{container.id.rpartition('-')[2]}"
    group.mkdir()
    try:
        (group / "tasks").write_text(str(container.state()["pid"]))
        (group / "freezer.state").write_text("FROZEN")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        _remove(group)


def _remove(group: Path) -> None:
    """A process that is ending stays in it for a moment, even when the file `tasks` no longer has it."""
    end = time.monotonic() + 10 * PATIENCE
    while True:
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return


def _half_deleted(container: Container) -> None:
    """A delete that is killed once it has begun: quicker than one that loses its patience."""
    deleter = container.runtime.start_call("delete", "--force", container.id)
    end = time.monotonic() + 10 * PATIENCE
    while not (container.runtime.root / container.id / "deleted.json").exists():
        assert time.monotonic() < end
        time.sleep(0.005)
    deleter.kill()
    deleter.communicate()


def test_the_others_do_not_notice(stage: Stage) -> None:
    """list, and state, ps, exec, events and kill of the healthy ones and of the stuck ones answer at once."""
    stuck = [stage.in_state("running"), stage.in_state("running")]
    healthy = stage.in_state("running")
    pids = [container.state()["pid"] for container in stuck]
    with ExitStack() as stack:
        for container in stuck:
            stack.enter_context(_held(container))
            _half_deleted(container)
        began = time.monotonic()
        listed = stage.runtime.call("list", "--format", "json").ok()
        shown = {one["id"]: (one["status"], one["pid"]) for one in json.loads(listed.out)}
        assert shown == {
            **{container.id: ("running", pid) for container, pid in zip(stuck, pids, strict=True)},
            healthy.id: ("running", healthy.state()["pid"]),
        }
        for container in stuck:
            assert f"{container.id}: its delete was interrupted" in listed.err
        assert len(stage.runtime.call("list", "--quiet").ok().out.split()) == 3
        for verb, *words in (["state"], ["ps"], ["exec", "true"], ["events", "--stats"], ["kill", "0"]):
            flags, words = [word for word in words if word[0] == "-"], [w for w in words if w[0] != "-"]
            stage.runtime.call(verb, *flags, healthy.id, *words).ok()
            result = stage.runtime.call(verb, *flags, stuck[0].id, *words)
            assert result.code == (255 if verb == "exec" else 0), (verb, result)
        stuck[1].kill("KILL").ok()
        assert time.monotonic() - began < _AT_ONCE
    done = stage.runtime.call("gc").ok().out.splitlines()
    assert done == [
        f"{name}: its delete was interrupted, and is finished"
        for name in sorted(container.id for container in stuck)
    ]
    assert stage.runtime.ids() == [healthy.id]
    healthy.delete("--force").ok()
    for container in stuck:
        container.created = False


def test_gc_goes_on(stage: Stage) -> None:
    """Gc cleans up what it can, tells what it can't, fails, and waits once for all that is stuck."""
    # In gc's order: the number in an id may get one more digit between two of them.
    left = sorted((stage.in_state("running") for _ in range(4)), key=lambda container: container.id)
    with ExitStack() as stack:
        for container in (left[0], left[2]):
            stack.enter_context(_held(container))
        for container in (left[0], left[2]):
            _half_deleted(container)
        for container in (left[1], left[3]):  # their delete would be too quick to be killed in the middle
            state = stage.runtime.root / container.id / "state.json"
            state.rename(state.with_name("deleted.json"))
        result = stage.runtime.call("gc", timeout=60 * PATIENCE)
        assert result.code == 1, result
        assert [line.partition(":")[0] for line in result.out.splitlines()] == [left[1].id, left[3].id]
        lines = result.err.splitlines()
        assert len(lines) == 2, lines
        for container, line in zip((left[0], left[2]), lines, strict=True):
            assert line.startswith(f"ociruntime: gc: {container.id}: undo init: init does not end"), line
        assert result.seconds < _ONE_PATIENCE
        assert stage.runtime.ids() == sorted([left[0].id, left[2].id])
    assert len(stage.runtime.call("gc").ok().out.splitlines()) == 2
    for container in left:
        container.created = False


def test_delete_waits_once(stage: Stage) -> None:
    """Not once for init and once more for its cgroup; then it says what is left, and a later one finishes it."""
    container = stage.in_state("running")
    with _held(container):
        result = container.delete("--force", timeout=60 * PATIENCE)
        result.refused("init does not end after SIGKILL", "run delete --force or gc to try again")
        assert 9 < result.seconds < _ONE_PATIENCE
        again = stage.runtime.call("state", container.id).ok()
        assert "its delete was interrupted" in again.err
    assert os.path.isdir(stage.runtime.root / container.id)
    container.delete("--force").ok()
    assert stage.runtime.ids() == []
