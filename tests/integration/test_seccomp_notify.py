# SPDX-License-Identifier: Apache-2.0
"""Are the calls that a filter notifies of answered by the agent at listenerPath? (R181-R187, R191-R193)

The agent is tests/harness/seccomp_agent.py. Where the peers hand the descriptor over at create, this runtime does at
start, because the filter is loaded then; what the agent sees is the same.
"""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_bind, add_hook, writable_root
from tests.harness.driver import TIMEOUT, runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.seccomp_agent import Agent, Call, Descriptor, LetGoOn, refusing_socket
from tests.harness.seccomp_profiles import rule, with_filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.seccomp_agent import Answer
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

ours_only = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="what is asked is this runtime's: run with RUNTIME=ociruntime"
)

READ, WRITE, CLOSE, OPEN, SENDMSG, EXECVE, MKDIR, OPENAT = 0, 1, 3, 2, 46, 59, 83, 257

departure(
    "status told to the agent", "runc", "R193", "the filter is loaded at start, when the container is created"
)
departure(
    "status told to the agent", "crun", "R193", "the filter is loaded at start, when the container is created"
)
departure("version told to the agent", "crun", "R193", "ociVersion is that of the specification, not 0.2.0")
departure("listenerPath without NOTIFY", "crun", "R185", "it is ignored then")


def _let_go_on(_call: Call) -> Answer:
    return LetGoOn()


def _notified(stage: Stage, *names: str, edit: Callable[[Config], None] | None = None, **more: Any) -> Any:
    """An edit: these calls are the agent's at `agent` in the stage's directory."""
    filtered = with_filter(rule(*names, action="NOTIFY"), listenerPath=str(stage.directory / "agent"), **more)

    def both(config: Config) -> None:
        filtered(config)
        if edit is not None:
            edit(config)

    return both


def test_agent_answers_mkdir_and_open(compare: Compare) -> None:
    """The agent refuses one mkdir, makes another directory itself, and gives the content of a file that isn't there."""

    def scenario(stage: Stage) -> dict[str, Any]:
        secret = os.memfd_create("secret")
        os.write(secret, b"from the agent\n")
        bundle_root: list[Path] = []

        def answer(call: Call) -> Answer:
            path = call.text(0 if call.number in (MKDIR, OPEN) else 1)
            if path.endswith("/refused"):
                return -errno.EDQUOT
            if path.endswith("/granted"):
                (bundle_root[0] / "tmp/granted").mkdir()
                return 0
            if path.endswith("/secret"):
                os.lseek(secret, 0, os.SEEK_SET)
                return Descriptor(secret)
            return LetGoOn()

        script = "mkdir /tmp/refused; mkdir /tmp/granted; mkdir /tmp/own; ls /tmp; cat /tmp/secret"
        edit = _notified(stage, "mkdir", "mkdirat", "open", "openat", edit=writable_root)
        container = stage.container("sh", "-c", script, edit=edit)
        bundle_root.append(container.bundle.rootfs)
        with Agent(stage.directory / "agent", answer) as agent:
            result = container.run()
        os.close(secret)
        assert {call.number for call in agent.calls} & {MKDIR, 258}
        return {"out": result.out.split(), "refused": result.err.count("quota exceeded"), "code": result.code}

    out = ["granted", "own", "from", "the", "agent"]
    assert compare(scenario) == {"out": out, "refused": 1, "code": 0}


def test_message(compare: Compare) -> None:
    """One connection with one message and one descriptor; state and metadata are the container's."""

    def scenario(stage: Stage) -> dict[str, Any]:
        def annotated(config: Config) -> None:
            config["annotations"] = {"org.example.key": "value"}

        edit = _notified(stage, "mkdir", "mkdirat", edit=annotated, listenerMetadata='for "you" ü')
        container = stage.container("sleep", "100", edit=edit)
        with Agent(stage.directory / "agent", _let_go_on) as agent:
            container.create().ok()
            container.start().ok()
            pid = container.state()["pid"]
            message = agent.message()
            container.delete("--force").ok()
        state = message.state["state"]
        return {
            "descriptors": message.descriptors,
            "fds": message.state["fds"],
            "pid is init's": (message.state["pid"] == pid, state["pid"] == pid),
            "metadata": message.state["metadata"],
            "version told to the agent": message.state["ociVersion"].startswith("1."),
            "id": state["id"],
            "bundle": state["bundle"],
            "annotation": state["annotations"]["org.example.key"],
            "status told to the agent": state["status"],
        }

    answers = compare(scenario)
    assert (answers["descriptors"], answers["fds"], answers["status told to the agent"]) == (
        1,
        ["seccompFd"],
        "created",
    )
    assert answers["pid is init's"] == [True, True]
    assert answers["metadata"] == 'for "you" ü'


@ours_only
def test_connection_is_closed(stage: Stage) -> None:
    """The connection ends with the message, while the container, and start, go on (R183); runc and crun keep theirs."""
    go = stage.directory / "go"

    def waits(config: Config) -> None:
        add_hook(config, "poststart", "/bin/sh", "-c", f"until [ -e {go} ]; do sleep 0.05; done")

    container = stage.container("sleep", "100", edit=_notified(stage, "mkdir", edit=waits))
    with Agent(stage.directory / "agent", _let_go_on) as agent:
        container.create().ok()
        assert agent.messages == []
        starting = stage.runtime.start_call("start", container.id)
        message = agent.message()
        assert message.ended.wait(10)
        assert starting.poll() is None
        go.touch()
        assert starting.communicate(timeout=TIMEOUT) == (b"", b"")
        assert starting.returncode == 0
        assert container.status() == "running"
        container.delete("--force").ok()


def test_listener_path_without_notify(compare: Compare) -> None:
    """Without SCMP_ACT_NOTIFY the listenerPath is ignored (R185)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        edit = with_filter(rule("mkdir", action="ERRNO"), listenerPath="/no/such/agent")
        return {"listenerPath without NOTIFY": stage.run("echo", "runs", edit=edit).out}

    assert compare(scenario) == {"listenerPath without NOTIFY": "runs\n"}


@pytest.mark.parametrize("kind", ["missing", "refusing"])
def test_no_agent(compare: Compare, kind: str) -> None:
    """Without an agent at listenerPath that is an error, and the program does not run (R184)."""

    def scenario(stage: Stage) -> dict[str, Any]:
        held = refusing_socket(stage.directory / "agent") if kind == "refusing" else None
        container = stage.container("echo", "runs", edit=_notified(stage, "mkdir"))
        result = container.run()
        if held is not None:
            held.close()
        return {"failed": result.code != 0, "out": result.out, "left": container.status()}

    assert compare(scenario) == {"failed": True, "out": "", "left": ""}


@ours_only
def test_error_without_an_agent(stage: Stage) -> None:
    """`start` says property, step and reason; the container is stopped and can be deleted."""
    container = stage.container("sleep", "100", edit=_notified(stage, "mkdir"))
    container.create().ok()
    container.start().refused(
        "start: /linux/seccomp/listenerPath: send seccomp listener", "ENOENT", "is the seccomp agent running?"
    )
    assert container.status() == "stopped"
    container.delete().ok()


@ours_only
@pytest.mark.parametrize("new_privileges", [False, True])
def test_calls_that_init_itself_makes(stage: Stage, *, new_privileges: bool) -> None:
    """Notifications of execve, read, close and sendmsg don't hang init: the agent has the descriptor before."""
    edit = _notified(
        stage, "execve", "read", "close", "sendmsg", "exit_group", new_privileges=new_privileges,
    )  # fmt: skip
    with Agent(stage.directory / "agent", _let_go_on) as agent:
        assert stage.run("cat", "/etc/passwd", edit=edit).ok().out.startswith("root:")
    assert {EXECVE, READ} <= {call.number for call in agent.calls}


@ours_only
def test_long_path_and_metadata(stage: Stage) -> None:
    """A listenerPath beyond the 108 bytes of a socket address works, and so does a message of many kilobytes."""
    directory = stage.directory / ("d" * 120)
    directory.mkdir()
    filtered = with_filter(
        rule("mkdir", action="NOTIFY"),
        listenerPath=str(directory / "agent"),
        listenerMetadata="m" * 1_000_000,
    )
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        with Agent(Path(f"/proc/self/fd/{place}/agent"), _let_go_on) as agent:
            stage.run("true", edit=filtered).ok()
            message = agent.message()
    finally:
        os.close(place)
    assert len(message.state["metadata"]) == 1_000_000
    assert message.descriptors == 1


@ours_only
def test_hooks_are_notified_of(stage: Stage) -> None:
    """A startContainer hook loads the filter too: its descriptor goes to the agent with its own pid."""
    shared = stage.directory / "shared"
    shared.mkdir()

    def edit(config: Config) -> None:
        add_bind(config, str(shared), "/mnt", "rw")
        add_hook(config, "startContainer", "/bin/sh", "-c", "cat > /dev/null; mkdir /mnt/by-hook; exit 0")

    def answer(call: Call) -> Answer:
        return -errno.EDQUOT if call.text(0).endswith("by-hook") else LetGoOn()

    container = stage.container("mkdir", "/mnt/by-program", edit=_notified(stage, "mkdir", edit=edit))
    with Agent(stage.directory / "agent", answer) as agent:
        container.run().ok()
        agent.message(2)
    assert [path.name for path in shared.iterdir()] == ["by-program"]
    first, second = (message.state for message in agent.messages)
    assert first["pid"] != second["pid"]
    assert first["state"]["pid"] == second["state"]["pid"] == second["pid"]


@ours_only
def test_killed_starter(stage: Stage) -> None:
    """If `start` is killed while the agent lets it wait, the container ends and never runs without its agent."""
    listening = refusing_socket(stage.directory / "agent")
    listening.listen(0)
    container = stage.container("sleep", "100", edit=_notified(stage, "mkdir"))
    waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        waiting.connect(str(stage.directory / "agent"))  # a backlog of none holds one; the next has to wait
        container.create().ok()
        starter = stage.runtime.start_call("start", container.id)
        with pytest.raises(subprocess.TimeoutExpired):
            starter.communicate(timeout=1.5)
        assert container.status() == "created"
        starter.kill()
        starter.communicate()
        container.wait_for("stopped")
        container.delete().ok()
    finally:
        waiting.close()
        listening.close()
