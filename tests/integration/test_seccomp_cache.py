# SPDX-License-Identifier: Apache-2.0
"""Is a filter compiled once, and is nothing ever used that another user may have put in its place?

The store is the directory @seccomp below --root; see ociruntime/linux/seccomp_cache.py.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.command import LAUNCHER
from tests.harness.configuration import set_capabilities
from tests.harness.driver import ENVIRONMENT, runtime_under_test
from tests.harness.peers import PEERS
from tests.harness.seccomp_profiles import dockers_filter, rule, with_filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.configuration import Config
    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the cache is this runtime's: run with RUNTIME=ociruntime"
)

_REFUSE = rule("mkdir", "mkdirat", action="ERRNO")
_DIGEST = 64  # digits at the beginning of a file


def _store(stage: Stage) -> Path:
    return stage.runtime.root / "@seccomp"


def _kept(stage: Stage) -> list[Path]:
    return sorted(_store(stage).iterdir())


def _how(stage: Stage, edit: Callable[[Config], None], **how: Any) -> str:
    """Where `create` had its filter from, by its trace; the filter is in force in any case."""
    trace = stage.directory / "trace.json"
    container = stage.container("sh", "-c", "mkdir /tmp/made || echo refused", edit=edit)
    container.create("--trace", str(trace), **how).ok()
    events = json.loads(trace.read_text())["traceEvents"]
    (event,) = [one for one in events if one["name"].startswith("compile seccomp filter")]
    assert event["cat"] == "host"
    assert event["args"]["pointer"] == "/linux/seccomp"
    assert container.finish() == "refused\n"
    return str(event["name"].rpartition("(")[2].rstrip(")")).partition(" by ")[0]


def test_second_create_compiles_nothing(stage: Stage) -> None:
    """With Docker's profile: the first create compiles, the second one finds it; the trace shows what each costs."""

    def edit(config: Config) -> None:
        set_capabilities(config, "CAP_KILL")
        config["linux"]["seccomp"] = dockers_filter({"CAP_KILL"})

    spans = []
    for number in range(2):
        trace = stage.directory / f"trace{number}.json"
        container = stage.container("true", edit=edit)
        container.create("--trace", str(trace)).ok()
        container.finish()
        events = json.loads(trace.read_text())["traceEvents"]
        spans += [one for one in events if one["name"].startswith("compile seccomp filter")]
    first, second = spans
    assert "compiled by libseccomp 2." in first["name"]
    assert second["name"].endswith("(from the cache)")
    assert second["dur"] < first["dur"]
    assert len(_kept(stage)) == 1


def test_hit_does_not_load_the_library(stage: Stage) -> None:
    """A library that can't be loaded does not matter once the filter is there. (A snapshot may have it in itself.)"""
    stage.runtime.command = [LAUNCHER]
    edit = with_filter(_REFUSE)
    assert _how(stage, edit) == "compiled"
    empty = stage.directory / "empty"
    empty.mkdir()
    (empty / "libseccomp.so.2").write_bytes(b"")
    assert _how(stage, edit, env={**ENVIRONMENT, "LD_LIBRARY_PATH": str(empty)}) == "from the cache"


def test_other_rules_are_another_filter(stage: Stage) -> None:
    """Another errno, another default, another order: nothing is mixed up."""
    for edit in (
        with_filter(_REFUSE),
        with_filter(rule("mkdir", "mkdirat", action="ERRNO", errno=28)),
        with_filter(_REFUSE, default="LOG"),
        with_filter(_REFUSE, rule("chroot", action="ERRNO")),
        with_filter(rule("chroot", action="ERRNO"), _REFUSE),
    ):
        assert _how(stage, edit) == "compiled"
    assert len(_kept(stage)) == 5


def _spoil(path: Path, change: Callable[[bytes], bytes]) -> None:
    path.write_bytes(change(path.read_bytes()))


def _allow_all(path: Path) -> None:
    """What an attacker would want there: a program that allows everything, with everything else right."""
    from ociruntime.linux import seccomp_cache

    head = path.read_bytes()[_DIGEST + 1 :].partition(b"\n")[0]
    whole = head + b"\n" + struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF0000)  # return SECCOMP_RET_ALLOW
    digest = seccomp_cache._digest(whole)
    path.write_bytes(digest.encode() + b"\n" + whole)


def _foreign(path: Path) -> None:
    _allow_all(path)
    os.chown(path, 12345, 12345)


def _writable(path: Path) -> None:
    _allow_all(path)
    path.chmod(0o620)


def _link(path: Path) -> None:
    _allow_all(path)
    other = path.with_name("other")
    path.rename(other)
    path.symlink_to(other.name)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


SPOILT: dict[str, Callable[[Path], None]] = {
    "cut": lambda path: _spoil(path, lambda content: content[:-8]),
    "a bit": lambda path: _spoil(path, lambda content: content[:-1] + bytes([content[-1] ^ 1])),
    "empty": lambda path: _spoil(path, lambda _content: b""),
    "no digest": lambda path: _spoil(path, lambda content: content[_DIGEST:]),
    "foreign": _foreign,
    "writable by others": _writable,
    "a link": _link,
    "a FIFO": _fifo,
}


@pytest.mark.parametrize("kind", list(SPOILT))
def test_spoilt_files_are_not_used(stage: Stage, kind: str) -> None:
    """A file that is damaged, or that others can write, is compiled anew and replaced; the next create finds it."""
    edit = with_filter(_REFUSE)
    assert _how(stage, edit) == "compiled"
    (path,) = _kept(stage)
    SPOILT[kind](path)
    assert _how(stage, edit) == "compiled"
    assert _how(stage, edit) == "from the cache"
    status = path.lstat()
    assert (status.st_uid, status.st_mode & 0o7777) == (0, 0o600)


def test_attackers_file_would_work(stage: Stage) -> None:
    """The program that the other tests plant is one that would be taken if it were ours: they test something."""
    edit = with_filter(_REFUSE)
    assert _how(stage, edit) == "compiled"
    (path,) = _kept(stage)
    _allow_all(path)
    container = stage.container("sh", "-c", "mkdir /dev/shm/made && echo made", edit=edit)
    container.create().ok()
    assert container.finish() == "made\n"


def test_foreign_directory_is_not_used(stage: Stage) -> None:
    """Another user's store is left alone: each create compiles, and says so."""
    edit = with_filter(_REFUSE)
    assert _how(stage, edit) == "compiled"
    os.chown(_store(stage), 12345, 12345)
    container = stage.container("true", edit=edit)
    assert "belongs to another user" in container.create().ok().err
    container.finish()
    assert _how(stage, edit) == "compiled"
    os.chown(_store(stage), 0, 0)
    shutil.rmtree(_store(stage))
    _store(stage).write_text("no directory")
    assert "seccomp filters are not cached" in stage.run("true", edit=edit).ok().err
    _store(stage).unlink()


def test_replaced_library(stage: Stage) -> None:
    """Another libseccomp makes what the old one compiled stale: test_a_replaced_snapshot is the same for one inside."""
    stage.runtime.command = [LAUNCHER]
    edit = with_filter(_REFUSE)
    library = next(Path("/usr/lib").glob("*/libseccomp.so.2")).resolve()
    own = stage.directory / "lib"
    own.mkdir()
    shutil.copy(library, own / "libseccomp.so.2")
    environment = {**ENVIRONMENT, "LD_LIBRARY_PATH": str(own)}
    assert _how(stage, edit, env=environment) == "compiled"
    assert _how(stage, edit, env=environment) == "from the cache"
    shutil.copy(library, own / "new")
    (own / "new").rename(own / "libseccomp.so.2")
    assert _how(stage, edit, env=environment) == "compiled"
    assert _how(stage, edit, env=environment) == "from the cache"


def test_many_at_once(stage: Stage) -> None:
    """Eight creates with one new profile at the same time: all have the filter, one file is left."""
    edit = with_filter(_REFUSE)
    containers = [stage.container("sh", "-c", "mkdir /tmp/made || echo refused", edit=edit) for _ in range(8)]
    calls = [container.begin_run() for container in containers]
    for call in calls:
        out, err = call.communicate(timeout=60)
        assert (out, call.returncode) == (b"refused\n", 0), err
    (path,) = _kept(stage)
    assert _how(stage, edit) == "from the cache"
    assert _kept(stage) == [path]


def test_store_stays_small(stage: Stage) -> None:
    """Beyond 64 files the oldest go; `list` and `gc` take the store for no container."""
    edit = with_filter(_REFUSE)
    assert _how(stage, edit) == "compiled"
    for number in range(80):
        file = _store(stage) / f".left-{number}"
        file.touch()
        os.utime(file, (number, number))
    assert _how(stage, with_filter(_REFUSE, default="LOG")) == "compiled"
    assert len(_kept(stage)) == 64
    assert _how(stage, edit) == "from the cache"
    assert json.loads(stage.runtime.call("list", "--format", "json").ok().out or "null") in ([], None)
    stage.runtime.call("gc").ok()
    assert len(_kept(stage)) == 64


def test_plan_compiles_nothing(stage: Stage) -> None:
    """`plan` prints the step and leaves no file: it is pure."""
    bundle = stage.bundle("true", edit=with_filter(_REFUSE))
    out = stage.runtime.call("plan", str(bundle.directory)).ok().out
    assert "compile seccomp filter SCMP_ACT_ALLOW and 1 rule" in out
    assert "load seccomp filter SPEC_ALLOW" in out
    assert not _store(stage).exists()
