# SPDX-License-Identifier: Apache-2.0
"""Does a program start with limits that leave nothing to its runtime? (config.md, rlimits: R045, R046)

Init must have done what it needs before: the program of these tests is static and needs nothing.
"""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.configuration import Config, add_hook, with_users
from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS, departure
from tests.harness.seccomp_agent import Agent, LetGoOn
from tests.harness.seccomp_profiles import rule, with_filter
from tests.harness.terminals import Client

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.seccomp_agent import Answer, Call
    from tests.harness.stage import Stage
    from tests.integration.conftest import Compare

ours_only = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="what is asked is this runtime's: run with RUNTIME=ociruntime"
)

departure("few descriptors", "runc", "R045", "any number is a limit")

_USERS = itertools.count(12340)


def limit(name: str, soft: int, hard: int | None = None) -> Callable[[Config], None]:
    """An edit: this limit, and no other."""

    def edit(config: Config) -> None:
        config["process"]["rlimits"] = [{"type": name, "soft": soft, "hard": soft if hard is None else hard}]

    return edit


@pytest.mark.parametrize("number", range(7))
def test_few_descriptors(compare: Compare, number: int) -> None:
    """RLIMIT_NOFILE of 0 to 6, by create and start, and by run."""

    def scenario(stage: Stage) -> dict[str, Any]:
        codes = [stage.run("true", edit=limit("RLIMIT_NOFILE", number)).code]
        container = stage.container("true", edit=limit("RLIMIT_NOFILE", number, 1024))
        codes.append(container.create().code)
        if container.created:
            codes.append(container.start().code)
            container.wait_for("stopped")
            container.delete().ok()
        return {"few descriptors": codes}

    # crun leaves its state behind
    assert compare(scenario, ("runc",))["few descriptors"] == [0, 0, 0]


@ours_only
@pytest.mark.parametrize("uid", [0, 1234])
@pytest.mark.parametrize(("soft", "hard"), [(0, 0), (3, 5), (3, 1000), (7, 7), (8, 8)])
def test_the_limit_is_that_of_the_config(stage: Stage, soft: int, hard: int, uid: int) -> None:
    """While the program runs, the kernel shows what the config says, for any user."""

    def edit(config: Config) -> None:
        limit("RLIMIT_NOFILE", soft, hard)(config)
        config["process"]["user"].update(uid=uid, gid=uid)

    container = stage.running(edit=edit)
    with open(f"/proc/{container.state()['pid']}/limits", encoding="ascii") as file:
        shown = [line.split()[3:5] for line in file if line.startswith("Max open files")]
    assert shown == [[str(soft), str(hard)]]
    assert container.exec("true").code == 0
    container.delete("--force").ok()


@ours_only
@pytest.mark.parametrize("number", [0, 1, 3, 5])
def test_few_descriptors_beside_all_else(stage: Stage, number: int) -> None:
    """With hooks of every kind, a user namespace, a filter, descriptors that are passed on, and a pid file."""

    def edit(config: Config) -> None:
        limit("RLIMIT_NOFILE", number)(config)
        with_users(config)
        with_filter(rule("swapon", action="ERRNO"))(config)
        for kind in ("createRuntime", "createContainer", "startContainer", "poststart"):
            add_hook(config, kind, "/bin/true")

    reader, writer = os.pipe()
    spare = [os.dup(reader) for _ in range(20)]
    try:
        passed = max([reader, writer, *spare]) - 2
        container = stage.container("true", edit=edit)
        container.bundle.directory.chmod(0o755)
        flags = ("--preserve-fds", str(passed), "--pid-file", str(stage.directory / "pid"))
        container.run(*flags, pass_fds=range(3, 3 + passed)).ok()
    finally:
        for descriptor in (reader, writer, *spare):
            os.close(descriptor)


@ours_only
@pytest.mark.parametrize("number", [0, 2, 3, 4, 5])
def test_few_descriptors_and_an_agent(stage: Stage, number: int) -> None:
    """The filter's descriptor is one more, and prlimit may be among the calls that the agent is asked about."""

    def let_go_on(_call: Call) -> Answer:
        return LetGoOn()

    def edit(config: Config) -> None:
        limit("RLIMIT_NOFILE", number)(config)
        path = str(stage.directory / "agent")
        with_filter(rule("prlimit64", "setrlimit", "mkdir", action="NOTIFY"), listenerPath=path)(config)

    with Agent(stage.directory / "agent", let_go_on) as agent:
        stage.run("true", edit=edit).ok()
        assert agent.message().descriptors == 1
        container = stage.container("sleep", "100", edit=edit)
        container.create().ok()
        container.start().ok()
        assert container.exec("true").code == 0
        container.delete("--force").ok()


@ours_only
@pytest.mark.parametrize("number", [0, 3, 5])
def test_few_descriptors_and_a_terminal(stage: Stage, number: int) -> None:
    """Its descriptors are 0, 1 and 2, which are open already."""

    def edit(config: Config) -> None:
        limit("RLIMIT_NOFILE", number)(config)
        config["process"]["terminal"] = True

    container = stage.container("echo", "seen", edit=edit)
    client = Client(stage.runtime.argv("run", "--bundle", str(container.bundle.directory), container.id))
    try:
        client.wait_for("seen")
        assert client.wait() == 0
    finally:
        client.close()


@pytest.mark.parametrize(
    "name",
    ["FSIZE", "AS", "DATA", "STACK", "NPROC", "MEMLOCK", "SIGPENDING", "CORE", "MSGQUEUE", "RSS", "LOCKS", "NICE",
     "RTPRIO", "RTTIME"],
)  # fmt: skip
def test_other_limits_of_nothing(compare: Compare, name: str) -> None:
    """A limit of 0 of anything else: the program starts, or ends by the same signal, as under the peers."""

    def scenario(stage: Stage) -> dict[str, Any]:
        codes = []
        # Another user each time: a process that is still ending would count for RLIMIT_NPROC.
        for uid in (0, next(_USERS)):

            def edit(config: Config, uid: int = uid) -> None:
                limit(f"RLIMIT_{name}", 0)(config)
                config["process"]["user"].update(uid=uid, gid=uid)

            code = stage.run("true", edit=edit).code
            # without a stack it is a matter of addresses, which the kernel chooses at random
            codes.append("either" if name == "STACK" and code in (0, 139) else code)
        return {"codes": codes}

    # crun's own log file is too large for RLIMIT_FSIZE
    answers = compare(scenario, ("runc",) if name == "FSIZE" else PEERS)
    expected = "either" if name == "STACK" else 139 if name in ("AS", "DATA") else 0
    assert answers["codes"] == [expected, expected]
