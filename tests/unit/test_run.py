# SPDX-License-Identifier: Apache-2.0
"""ociruntime/operations/run.py: what must be ready before the first signal comes?"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ociruntime.foreground import forwarding
from ociruntime.operations import run

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def test_no_import_in_a_signal_handler(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a handler needs is loaded before it is installed: a second signal would come in the middle of an import."""
    monkeypatch.delitem(sys.modules, "ociruntime.operations.signal", raising=False)
    seen: list[bool] = []

    def install(
        _has_begun: Callable[[], bool], _send: Callable[[int], None], _terminal: object = None
    ) -> None:
        seen.append("ociruntime.operations.signal" in sys.modules)

    monkeypatch.setattr(forwarding, "forward_signals", install)

    class Stand:
        """In the place of a container: nothing is sent to it."""

        def has_begun(self) -> bool:
            return True

    run._forward(Stand(), None)  # type: ignore[arg-type]
    assert seen == [True]
