# SPDX-License-Identifier: Apache-2.0
"""Do containers end with their maker, whatever ends it, and only its own? (ociruntime/api/life_line.py)"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import ociruntime
from ociruntime import Options, bundle, make_config
from ociruntime.api import life_line
from ociruntime.statedir import StateDir
from tests.harness.driver import PATIENCE, runtime_under_test
from tests.harness.rootfs import busybox_template
from tests.harness.stage import new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    runtime_under_test() in ("runc", "crun"), reason="the library is this runtime's own"
)

REPOSITORY = Path(__file__).parents[2]
MAKER = """
import os, sys, time, ociruntime
from ociruntime import Options, bundle, make_config
root, rootfs, kind, *ids = sys.argv[1:]
made = bundle.made(make_config(["/bin/sleep", "1000"], rootfs, user_namespace=False))
kept = []
for name in ids:
    if kind == "run":
        ociruntime.run(root, made, Options(name), stdout=lambda _: 0, life_line=True)
    container = ociruntime.create(root, made, Options(name), life_line=kind != "loose")
    container.start()
    kept.append(container)
    print(name, flush=True)
if kind == "forever":
    for number in range(10000):
        print(number, flush=True)
        ociruntime.create(root, made, Options(f"{ids[0]}-{number}"), life_line=True)
time.sleep(1000)
"""


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """Where the containers are; what a test has left is deleted."""
    root = tmp_path / "state"
    yield root
    for name in ids(root):
        ociruntime.delete(str(root), name, force=True)
    watcher = life_line._watchers.pop(os.getpid(), None)
    if watcher is not None:  # it lives as long as this process, and the next test looks for what is left
        os.kill(watcher.pid, signal.SIGKILL)
        watcher.forget()


def ids(root: Path) -> list[str]:
    """The containers that exist, half made or whole."""
    return (
        sorted(path.name for path in root.iterdir() if not path.name.startswith("@")) if root.exists() else []
    )


def maker(root: Path, kind: str, *names: str, **how: Any) -> subprocess.Popen[str]:
    """A process that makes containers."""
    words = [sys.executable, "-c", MAKER, str(root), str(busybox_template()), kind, *names]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY, **how)


def gone(root: Path, *names: str) -> bool:
    """Wait until none of these is there."""
    deadline = time.monotonic() + 20 * PATIENCE
    while set(ids(root)) & set(names) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not set(ids(root)) & set(names)


def children() -> set[str]:
    """Of this process."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text(encoding="ascii").split())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_they_end_with_their_maker(number: int, root: Path) -> None:
    """Several, and not one that another process has made, nor one that has no life line."""
    mine, other, loose = (new_id(), new_id()), new_id(), new_id()
    made = bundle.made(make_config(["/bin/sleep", "1000"], str(busybox_template()), user_namespace=False))
    with (
        maker(root, "tied", *mine) as process,
        maker(root, "loose", loose) as second,
        ociruntime.create(str(root), made, Options(other), life_line=True) as kept,
    ):
        kept.start()
        assert process.stdout
        assert second.stdout
        assert [process.stdout.readline().strip() for _ in mine] == list(mine)
        assert second.stdout.readline().strip() == loose
        inits = [os.pidfd_open(ociruntime.load(str(root), name).pid) for name in mine]
        os.kill(process.pid, number)
        os.kill(second.pid, number)
        assert process.wait() == second.wait() == -number
        assert gone(root, *mine)
        assert ids(root) == sorted([other, loose])
        assert kept.status() == "running"
        for pidfd in inits:
            assert select.select([pidfd], [], [], 0)[0]  # it has ended
            os.close(pidfd)


def test_run_ends_with_its_maker(root: Path) -> None:
    """Its cgroup goes, too: a session's fixture looks for what is left."""
    name = new_id()
    with maker(root, "run", name) as process:
        deadline = time.monotonic() + 20 * PATIENCE
        while time.monotonic() < deadline and not (root / name / "state.json").exists():
            time.sleep(0.01)
        process.kill()
    assert gone(root, name)


@pytest.mark.parametrize("delay", [0.0, 0.003, 0.006, 0.009, 0.012, 0.015])
def test_a_create_that_is_not_finished(delay: float, root: Path) -> None:
    """Killed at any moment of a create: what was half made goes as well."""
    first = new_id()
    with maker(root, "forever", first) as process:
        assert process.stdout
        assert "2\n" in iter(process.stdout.readline, "")
        time.sleep(delay)
        process.kill()
    assert gone(root, *ids(root))


def test_what_it_can_not_delete(root: Path) -> None:
    """A root that others may write to is not trusted: it says so on the maker's stderr, and a later delete cleans up."""
    name = new_id()
    with maker(root, "tied", name, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline().strip() == name
        root.chmod(0o777)
        process.kill()
        assert process.stderr.readline().startswith(f"ociruntime: life line: {root}: ")
        root.chmod(0o700)
    assert ids(root) == [name]


def test_a_create_that_begins_just_now(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has taken the lock, and has not written yet whose it is: its container is left alone."""
    name = new_id()
    (root / name).mkdir(0o700, parents=True)
    root.chmod(0o700)
    directory = StateDir.within(str(root), name)
    monkeypatch.setattr(StateDir, "_sign", lambda *_: None)
    assert directory.lock(wait=False, create=True)
    assert ociruntime.load(str(root), name).interrupted  # as far as one can see
    assert life_line._delete(str(root), name, f"{os.getpid()}:1") == []
    assert ids(root) == [name]
    directory.unlock()


def test_a_create_that_has_only_made_its_directory(root: Path) -> None:
    """Its maker was killed before it could take the lock."""
    (root / new_id()).mkdir(0o700, parents=True)
    root.chmod(0o700)
    life_line._clear(str(root), f"{os.getpid()}:1")
    assert ids(root) == []


def test_a_hook_that_fails(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What delete warns of is told, too."""
    name = new_id()
    config = make_config(["/bin/true"], str(busybox_template()), user_namespace=False)
    config["hooks"] = {"poststop": [{"path": "/bin/false"}]}
    with ociruntime.create(str(root), bundle.made(config), Options(name), life_line=True) as tied:
        life_line._clear(str(root), tied.record.options["maker"])
    assert capfd.readouterr().err.startswith(f"ociruntime: life line: {root}/{name}: warning: ")
    assert ids(root) == []


def test_one_watcher_for_all(root: Path, tmp_path: Path) -> None:
    """Several containers and roots need one process; if it is killed, the next create starts another, which knows all roots."""
    made = bundle.made(make_config(["/bin/sleep", "1000"], str(busybox_template()), user_namespace=False))
    with ociruntime.create(str(root), made, Options(new_id()), life_line=True):
        before = children()
        with ociruntime.create(str(tmp_path / "other"), made, Options(new_id()), life_line=True) as second:
            assert children() - before == {str(second.pid)}
        watcher = life_line._watchers[os.getpid()]
        os.kill(watcher.pid, signal.SIGKILL)
        os.waitid(os.P_PID, watcher.pid, os.WEXITED | os.WNOWAIT)
        with ociruntime.create(str(root), made, Options(new_id()), life_line=True):
            again = life_line._watchers[os.getpid()]
            assert again.pid != watcher.pid
            assert again.roots >= {str(root), str(tmp_path / "other")}
            assert not Path(f"/proc/{watcher.pid}").exists()


@pytest.mark.parametrize("ignored", [False, True])
def test_a_watcher_that_has_been_collected(ignored: bool, root: Path) -> None:
    """By os.wait(), or because the maker ignores SIGCHLD: the next create starts another; and one that does not start is told."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        life_line.tie(str(root))
        first = life_line._watchers[os.getpid()]
        pidfd = os.pidfd_open(first.pid)
        os.kill(first.pid, signal.SIGKILL)
        if not ignored:
            os.waitpid(first.pid, 0)
        assert select.select([pidfd], [], [], 20 * PATIENCE)[0]
        os.close(pidfd)
        life_line.tie(str(root))
        assert life_line._watchers[os.getpid()].pid != first.pid
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(life_line, "_watchers", {})
            patch.setattr(sys, "executable", "/bin/false")
            with pytest.raises(ociruntime.RuntimeFailure, match="does not start"):
                life_line.tie(str(root))
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_the_record_says_it(root: Path) -> None:
    """Only if it was asked for; and the same Options can be used again."""
    made = bundle.made(make_config(["/bin/sleep", "1000"], str(busybox_template()), user_namespace=False))
    options = Options(new_id())
    with ociruntime.create(str(root), made, options, life_line=True) as tied:
        assert tied.record.options["maker"].startswith(f"{os.getpid()}:")
    with ociruntime.create(str(root), made, options) as loose:
        assert loose.record.options["maker"] == ""


def test_an_interpreter_that_does_not_start(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told, and there is no container that nobody watches."""
    monkeypatch.setattr(life_line, "_watchers", {})
    made = bundle.made(make_config(["/bin/true"], str(busybox_template()), user_namespace=False))
    for program, said in (
        (str(root / "python3"), "begin life line: .*/python3: ENOENT"),
        ("/bin/false", "/bin/false does not start"),
    ):
        monkeypatch.setattr(sys, "executable", program)
        with pytest.raises(ociruntime.RuntimeFailure, match=said):
            ociruntime.run(str(root), made, Options(new_id()), life_line=True)
    assert ids(root) == []
