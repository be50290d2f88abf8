# SPDX-License-Identifier: Apache-2.0
"""Rules for all tests: what the marker root means, which skips are permitted, and what the session's end must have shown."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.harness import peers, skips

if TYPE_CHECKING:
    from collections.abc import Iterator


class SkipKeeper:
    """Counts the skips of a session and tells those that nobody has permitted."""

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


def _own_mount_namespace() -> None:
    """Leave the machine's mount namespace: a runtime that is broken on purpose must not mount over its /dev.

    unshare(CLONE_NEWNS) and mount(MS_REC | MS_PRIVATE) of "/"; os.unshare came with Python 3.12.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000) or libc.mount(None, b"/", None, 0x4000 | 0x40000, None):
        raise OSError(ctypes.get_errno(), "no mount namespace of its own for the tests")


def _default_signals() -> None:
    """What a background job or nohup has made us ignore, the runtime would rightly ignore too (nohup stays nohup)."""
    for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


_KEEPER = pytest.StashKey[SkipKeeper]()
_COMPLAINTS = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Set up the keeper of skips; as root, in a mount namespace of our own."""
    _default_signals()
    if os.geteuid() == 0:
        _own_mount_namespace()
    keeper = SkipKeeper()
    config.stash[_KEEPER] = keeper
    config.stash[_COMPLAINTS] = []
    config.pluginmanager.register(_Reports(keeper), "skip-keeper")


class _Reports:
    """Passes reports on to the keeper."""

    def __init__(self, keeper: SkipKeeper) -> None:
        self.keeper = keeper

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.keeper.take(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.keeper.take(report)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without root, tests that make containers are skipped, and say so."""
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
