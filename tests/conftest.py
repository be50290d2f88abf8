# SPDX-License-Identifier: Apache-2.0
"""Rules for all tests: what the marker root means, which skips are permitted, and what the session's end must have shown."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness import command, peers, session as sessions, skips

if TYPE_CHECKING:
    from collections.abc import Iterator


class SkipKeeper:
    """Counts the skips of a session and reports those that are not permitted."""

    def __init__(self) -> None:
        self.entries = skips.load()
        self.permitted: list[str] = []
        self.refused: list[str] = []

    def take(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        """Look at one report."""
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        line = f"{report.nodeid}: {reason}"
        (self.permitted if skips.permitted(report.nodeid, self.entries) else self.refused).append(line)


_KEEPER = pytest.StashKey[SkipKeeper]()
_COMPLAINTS = pytest.StashKey[list[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Set up the keeper of skips; as root, in a mount namespace of our own, with the tests' files in memory.

    First of all: pytest's own part takes the directory of the tests' files from the option.
    """
    sessions.default_signals()
    if not sessions.is_worker(config):
        place = ExitStack()
        place.enter_context(command.place_for_snapshot())
        config.add_cleanup(place.close)
    if os.geteuid() == 0:
        sessions.own_mount_namespace()
        if not sessions.is_worker(config):
            stack = ExitStack()
            stack.enter_context(sessions.files_in_memory(config.option))
            config.add_cleanup(stack.close)
    keeper = SkipKeeper()
    config.stash[_KEEPER] = keeper
    config.stash[_COMPLAINTS] = []
    config.pluginmanager.register(_Reports(keeper), "skip-keeper")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many workers -n auto means."""
    return sessions.number_of_workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Which worker gets which tests: the scopes in order, whatever --dist says."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return sessions.scope_of(nodeid)

    config.option.loadscopereorder = False
    return Scheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended; one that has crashed tells nothing, and its tests fail."""
    peers.compared.update(getattr(node, "workeroutput", {}).get("compared", {}))


class _Reports:
    """Passes reports on to the keeper."""

    def __init__(self, keeper: SkipKeeper) -> None:
        self.keeper = keeper

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.keeper.take(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.keeper.take(report)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers begin with what takes long. Without root, tests that make containers are skipped, and say so."""
    if sessions.is_worker(config):
        sessions.longest_first(items)
    if os.geteuid() == 0:
        return
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason="makes containers: run the tests as root"))


def is_whole_suite(config: pytest.Config) -> bool:
    """Whether everything was asked for: no path, no -k, no -m, no --deselect."""
    option = config.option
    narrowed = option.keyword or option.markexpr or option.deselect or option.collectonly
    asked = [os.path.abspath(path.split("::")[0]) for path in config.args]
    here = os.path.dirname(os.path.abspath(__file__))
    return not narrowed and any(here == path or os.path.dirname(here) == path for path in asked)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """An unlisted skip, or a peer that has hardly compared, makes the session fail."""
    config = session.config
    if sessions.is_worker(config):
        config.workeroutput["compared"] = dict(peers.compared)  # type: ignore[attr-defined]
        return
    complaints = config.stash[_COMPLAINTS]
    complaints += [f"skip not in tests/skips.toml: {line}" for line in config.stash[_KEEPER].refused]
    if is_whole_suite(config) and os.geteuid() == 0 and not session.shouldstop:
        complaints += peers.shortfall()
    if complaints and exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was skipped by permission, how much the peers compared, and why the session failed."""
    keeper = config.stash[_KEEPER]
    if keeper.permitted:
        terminalreporter.section("permitted skips")
        for line in keeper.permitted:
            terminalreporter.line(line)
    if peers.compared:
        counts = ", ".join(f"{peer} on {count} bundles" for peer, count in peers.compared.items())
        terminalreporter.line(f"compared with {counts}")
    if config.stash[_COMPLAINTS]:
        terminalreporter.section("session failed", red=True)
        for line in config.stash[_COMPLAINTS]:
            terminalreporter.line(line)


@pytest.fixture(scope="session")
def hybrid_host_for_crun() -> Iterator[None]:
    """Let crun work on this host for the time of the session."""
    with peers.hugetlb_mounted():
        yield
