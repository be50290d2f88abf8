# SPDX-License-Identifier: Apache-2.0
"""What can another user of the host do who may write to --root, to a directory above it, or to one in it? (invariant 31)

Verbs trust a container's directory: it says which hooks run, as root, and which process is killed. If an attacker could put a
half deleted container there, the next verb would run its poststop hook.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the attacks are on this runtime: run with RUNTIME=ociruntime"
)
_SOMEBODY = 12345

# Every verb that looks below --root.
_VERBS = (
    ["list"],
    ["list", "--format", "json"],
    ["state", "planted"],
    ["ps", "planted"],
    ["events", "--stats", "planted"],
    ["kill", "planted", "KILL"],
    ["exec", "planted", "true"],
    ["start", "planted"],
    ["gc"],
    ["delete", "planted"],
    ["delete", "--force", "planted"],
    ["create", "--bundle", "BUNDLE", "planted"],
    ["run", "--bundle", "BUNDLE", "planted"],
)


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of the host that the attacker would like to see killed."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def _plant(root: Path, note: Path, victim: int, owner: int) -> None:
    """A container that is half deleted: with a hook, and with the host's process as its init."""
    directory = root / "planted"
    directory.mkdir()
    stat = Path(f"/proc/{victim}/stat").read_text(encoding="ascii")
    start_time = int(stat.rpartition(")")[2].split()[19])
    state = {
        "version": 1,
        "id": "planted",
        "pid": victim,
        "start_time": start_time,
        "bundle": "/",
        "rootfs": "/",
        "facts": {},
        "hooks": ["poststop"],
        "options": {},
    }
    config = {"hooks": {"poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"id -u > {note}"]}]}}
    init = {"op": "init", "args": {"pid": victim, "start_time": start_time}}
    (directory / "lock").write_text("")
    (directory / "deleted.json").write_text(json.dumps(state))
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "journal").write_text(json.dumps(init) + "\n")
    for path in (directory, *directory.iterdir()):
        os.chown(path, owner, owner)


def _attacked(stage: Stage, root: Path, note: Path, victim: subprocess.Popen[bytes], words: str) -> None:
    """Each verb refuses, with these words, and has run and killed nothing."""
    bundle = stage.bundle("true")
    for verb in _VERBS:
        argv = [*stage.runtime.command, "--root", str(root)]
        argv += [str(bundle.directory) if word == "BUNDLE" else word for word in verb]
        done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        assert not note.exists(), verb
        assert victim.poll() is None, verb
        assert words in done.stderr, (verb, done.stderr)
        assert done.returncode != 0 or verb[0] in ("list", "gc"), verb


@pytest.mark.parametrize(
    ("owner", "mode"), [(0, 0o777), (0, 0o1777), (0, 0o770), (_SOMEBODY, 0o755), (_SOMEBODY, 0o700)]
)
def test_a_root_that_another_user_may_write(
    stage: Stage, victim: subprocess.Popen[bytes], owner: int, mode: int
) -> None:
    """It is refused, whatever is in it."""
    root, note = stage.directory / "open", stage.directory / "note"
    root.mkdir()
    _plant(root, note, victim.pid, 0)
    os.chown(root, owner, owner)
    root.chmod(mode)
    _attacked(stage, root, note, victim, f"{root} belongs to uid {owner} and has mode {mode:04o}")


@pytest.mark.parametrize(("owner", "mode"), [(0, 0o777), (0, 0o775), (_SOMEBODY, 0o755), (_SOMEBODY, 0o1777)])
def test_a_directory_above_that_another_user_may_write(
    stage: Stage, victim: subprocess.Popen[bytes], owner: int, mode: int
) -> None:
    """An attacker who can exchange a directory on the way to the root controls the root."""
    above, note = stage.directory / "above", stage.directory / "note"
    root = above / "fine" / "root"
    root.mkdir(parents=True, mode=0o700)
    root.chmod(0o700)
    _plant(root, note, victim.pid, 0)
    os.chown(above, owner, owner)
    above.chmod(mode)
    _attacked(stage, root, note, victim, f"{above} belongs to uid {owner} and has mode {mode:04o}")


@pytest.mark.parametrize("what", ["directory", "link"])
def test_in_a_sticky_directory(stage: Stage, victim: subprocess.Popen[bytes], what: str) -> None:
    """In /tmp the attacker has made the root first, or a link to one of root's own that he can exchange later."""
    above, note = stage.directory / "tmp", stage.directory / "note"
    above.mkdir()
    above.chmod(0o1777)
    real = stage.directory / "real" if what == "link" else above / "root"
    real.mkdir(mode=0o700)
    _plant(real, note, victim.pid, 0)
    if what == "link":
        (above / "root").symlink_to(real)
        os.lchown(above / "root", _SOMEBODY, _SOMEBODY)
    else:
        os.chown(real, _SOMEBODY, _SOMEBODY)
    _attacked(stage, above / "root", note, victim, f"{above}/root belongs to uid {_SOMEBODY}")


@pytest.mark.parametrize(("owner", "mode"), [(_SOMEBODY, 0o700), (0, 0o777)])
def test_a_directory_in_the_root(
    stage: Stage, victim: subprocess.Popen[bytes], owner: int, mode: int
) -> None:
    """A container's directory that another user has put there while the root was open is not believed later."""
    root, note = stage.directory / "root", stage.directory / "note"
    root.mkdir(mode=0o700)
    _plant(root, note, victim.pid, owner)
    (root / "planted").chmod(mode)
    _attacked(stage, root, note, victim, f"{root}/planted belongs to uid {owner} and has mode {mode:04o}")


def test_looking_runs_no_hook(stage: Stage, victim: subprocess.Popen[bytes]) -> None:
    """Even where no one else could have prepared it: a query must not run a hook."""
    root, note = stage.directory / "root", stage.directory / "note"
    root.mkdir(mode=0o700)
    _plant(root, note, victim.pid, 0)
    (root / "planted").chmod(0o700)
    for verb in _VERBS[:5]:
        done = subprocess.run(
            [*stage.runtime.command, "--root", str(root), *verb], capture_output=True, check=False
        )
        assert b"internal error" not in done.stderr
        assert not note.exists(), verb
        assert victim.poll() is None, verb


def test_directories_above_the_root_are_made_for_the_caller(stage: Stage) -> None:
    """With a umask of 0 another user could exchange them, with everything below."""
    root = stage.directory / "a" / "b" / "root"
    bundle = stage.bundle("true")
    call = ["sh", "-c", 'umask 0; exec "$@"', "sh", *stage.runtime.command, "--root", str(root)]
    subprocess.run([*call, "run", "--bundle", str(bundle.directory), "made"], check=True)
    assert {path.stat().st_mode & 0o7777 for path in (root, root.parent, root.parents[1])} == {0o700}


@pytest.mark.parametrize("mode", [0o700, 0o711, 0o755])
def test_roots_of_engines(stage: Stage, mode: int) -> None:
    """What containerd, docker and podman use still works: root's own directories, which others may search."""
    root = stage.directory / "run" / "containerd" / "runc" / "k8s.io"
    root.mkdir(parents=True)
    for path in (root, root.parent, root.parents[1]):
        path.chmod(mode)
    bundle = stage.bundle("true")
    call = [*stage.runtime.command, "--root", str(root)]
    subprocess.run([*call, "run", "--bundle", str(bundle.directory), "made"], check=True)
    done = subprocess.run([*call, "list", "-q"], check=True, capture_output=True)
    assert (done.stdout, done.stderr) == (b"", b"")
