# SPDX-License-Identifier: Apache-2.0
"""Can a program of another user than root open /dev/stdin, /dev/stdout and /dev/stderr, as under runc and crun?

The pipes of an engine are root's, and these names are opened by the permissions of what is behind them.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, with_users
from tests.harness.driver import TIMEOUT, runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.integration import edited_plan

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.driver import Container
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

for _peer in PEERS:
    departure("owner of a file to read", _peer, "R062", "its new owner could make it writable")
    departure("owner of a pipe of another user", _peer, "R062", "root's program is as the caller made it")
    departure("owner of a device", _peer, "R062", "it is the host's, whoever writes to it")
departure(
    "owner of a file, run", "runc", "R241", "runc copies what the program writes; here the file is its stdout"
)
departure(
    "owner of a pipe with a user namespace", "crun", "R062", "as runc: it is not the container's to give"
)
departure("group of a pipe", "crun", "R062", "as runc: the owner's rights are enough")

SCRIPT = "id -u; cat /dev/stdin > /dev/stdout && echo read; echo failed > /dev/stderr && echo written"
SAID = {"out": "5\ninput\nread\nwritten\n", "err": "failed\n"}


def user(config: Config, uid: int = 5) -> None:
    """A program of this user, who has a group of another number."""
    config["process"]["user"] = {"uid": uid, "gid": 6 if uid else 0}


def talk(called: subprocess.Popen[bytes]) -> dict[str, str]:
    """What came through the pipes of a call, until they were closed."""
    out, err = called.communicate(b"input\n", TIMEOUT)
    return {"out": out.decode(), "err": err.decode()}


def begin(container: Container, *words: str) -> subprocess.Popen[bytes]:
    """A call of the command with three pipes."""
    container.runtime.prepare(container.bundle)
    return container.runtime.start_call(*words, stdin=subprocess.PIPE)


def created_with(container: Container, descriptor: int, number: int = 1) -> None:
    """Create, with this descriptor as one of the streams; the others are files, for crun would give /dev/null away."""
    container.runtime.prepare(container.bundle)
    with open(container.out_file, "a+b") as other:
        streams = [other.fileno()] * 3
        streams[number] = descriptor
        called = container.runtime.start_call(
            "create", "--bundle", str(container.bundle.directory), container.id,
            stdin=streams[0], out=streams[1], err=streams[2],
        )  # fmt: skip
        assert called.wait(TIMEOUT) == 0, container.output()
    container.created = True


def test_create(compare: Compare) -> None:
    """A created container's pipes are its user's, whoever made them; their group stays."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", SCRIPT, edit=user)
        called = begin(container, "create", "--bundle", str(container.bundle.directory), container.id)
        assert called.wait(TIMEOUT) == 0
        container.created = True
        assert called.stdin is not None
        status = os.fstat(called.stdin.fileno())
        container.start().ok()
        said = talk(called)
        container.wait_for("stopped")
        container.delete().ok()
        return {**said, "owner": status.st_uid, "group of a pipe": status.st_gid}

    answers = compare(scenario)
    assert answers.pop("group of a pipe") == (6 if runtime_under_test() == "crun" else 0)
    assert answers == {**SAID, "owner": 5}


def test_run(compare: Compare) -> None:
    """In the foreground."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.container("sh", "-c", SCRIPT, edit=user)
        return talk(begin(container, "run", "--bundle", str(container.bundle.directory), container.id))

    assert compare(scenario) == SAID


@pytest.mark.parametrize("flags", [(), ("-d",)])
def test_exec(compare: Compare, flags: tuple[str, ...]) -> None:
    """One more process in a container of root's."""

    def scenario(stage: Stage) -> dict[str, Any]:
        container = stage.running()
        said = talk(begin(container, "exec", *flags, "-u", "5:6", container.id, "sh", "-c", SCRIPT))
        container.delete("--force").ok()
        return said

    assert compare(scenario) == SAID


def owner_after_create(stage: Stage, path: Path, flags: int, number: int = 1) -> int:
    """Whose the file is when a container of user 5 has been created with it."""
    container = stage.container("true", edit=user)
    descriptor = os.open(path, flags)
    try:
        created_with(container, descriptor, number)
    finally:
        os.close(descriptor)
    container.delete("--force").ok()
    return path.stat().st_uid


def test_files(compare: Compare) -> None:
    """A file that is open for writing is the user's; one that is not, and a device, stay whose they are."""

    def scenario(stage: Stage) -> dict[str, Any]:
        names = ("written", "appended", "both", "read", "run")
        files = {name: stage.directory / name for name in names}
        for path in files.values():
            path.touch(0o600)
        device = stage.directory / "zero"  # of our own: the peers give it away
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        with open(files["run"], "wb") as file:
            stage.container("true", edit=user).run(out=file).ok()
        return {
            "written": owner_after_create(stage, files["written"], os.O_WRONLY),
            "appended": owner_after_create(stage, files["appended"], os.O_WRONLY | os.O_APPEND, 2),
            "both": owner_after_create(stage, files["both"], os.O_RDWR, 0),
            "owner of a file, run": files["run"].stat().st_uid,
            "owner of a file to read": owner_after_create(stage, files["read"], os.O_RDONLY, 0),
            "owner of a device": owner_after_create(stage, device, os.O_RDWR),
        }

    answers = compare(scenario)
    assert [answers[name] for name in ("written", "appended", "both")] == [5, 5, 5]
    if runtime_under_test() not in PEERS:
        assert answers["owner of a file, run"] == 5
        assert answers["owner of a file to read"] == answers["owner of a device"] == 0


def owner_of_pipe(stage: Stage, edit: Callable[[Config], None], before: int = 0) -> int:
    """Whose a pipe, made by `before`, is when a container has been created with it; the pipe works."""
    container = stage.container("sh", "-c", "echo said", edit=edit)
    reader, writer = os.pipe()
    try:
        os.fchown(writer, before, before)
        created_with(container, writer)
        owner = os.fstat(writer).st_uid
    finally:
        os.close(writer)
    with open(reader, "rb") as file:
        container.start().ok()
        assert file.read() == b"said\n"
    container.wait_for("stopped")
    container.delete().ok()
    return owner


def test_owners_of_pipes(compare_with_users: Compare) -> None:
    """Root's streams are not touched, nor those of an owner that the user namespace does not map; the program runs."""

    def mapped(config: Config) -> None:
        user(config)
        with_users(config)

    def scenario(stage: Stage) -> dict[str, Any]:
        return {
            "owner of a pipe with a user namespace": owner_of_pipe(stage, mapped),
            "its own": owner_of_pipe(stage, mapped, 100005),
            "of another user of the namespace": owner_of_pipe(stage, mapped, 100009),
            "owner of a pipe of another user": owner_of_pipe(stage, lambda _config: None, 7),
        }

    answers = compare_with_users(scenario)
    assert answers["its own"] == answers["of another user of the namespace"] == 100005
    if runtime_under_test() not in PEERS:
        assert answers["owner of a pipe with a user namespace"] == 0
        assert answers["owner of a pipe of another user"] == 7


@pytest.mark.skipif(runtime_under_test() in PEERS, reason="an edited plan: run with RUNTIME=ociruntime")
def test_streams_that_nobody_can_have(stage: Stage) -> None:
    """A stream whose owner can't be changed (EROFS) stays as it is and is used; the others are given as usual."""
    container = stage.container("echo", "written", edit=user)
    command = stage.runtime.command
    stage.runtime.command = [sys.executable, edited_plan.__file__, "stream_owner: ignored"]
    container.create().ok()
    stage.runtime.command = command
    assert container.out_file.stat().st_uid == 0
    assert container.err_file.stat().st_uid == 5
    assert container.finish() == "written\n"
