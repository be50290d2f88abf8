# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest (`-p at_once`): what failed, at once, as the machine may be ended before pytest's own summary.

Must not import anything of `ociruntime` or of the tests.
"""

from __future__ import annotations

import pytest


class AtOnce:
    """Writes the text of a failure as soon as it is there."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Look at one report."""
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"at once: {report.nodeid} ({report.when}):\n{report.longreprtext}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Begin."""
    config.pluginmanager.register(AtOnce(config))
