# SPDX-License-Identifier: Apache-2.0
"""How does a call of the library that waits for others leave the loop free? In a thread of its own, until the call is over.

Hooks take as long as they like, up to their timeouts, and systemd up to 30 seconds for each answer; the other containers of the
pod must not wait for them. Any other call takes a few milliseconds and is made in the loop: a thread would cost more than it
saves. This module must not import anything of the package but the shim's loop.
"""

from __future__ import annotations

import _thread
import os

from ociruntime.shim.loop import IN, Pause

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import TypeVar

    from ociruntime.shim.reaper import Reaper

    Answer = TypeVar("Answer")

_FOR_EVER = 1e9  # seconds


def apart(call: Callable[[], Answer], reaper: Reaper, waits: bool) -> Generator[Pause, bool, Answer]:
    """What the call returns or raises; in a thread if it waits for others."""
    if not waits:
        return call()
    answers: list[Answer] = []
    failures: list[BaseException] = []
    over, tell = os.pipe2(os.O_CLOEXEC)

    def work() -> None:
        try:
            answers.append(call())
        except BaseException as failure:  # noqa: BLE001 - it is raised again where the call was made
            failures.append(failure)
        finally:
            os.close(tell)

    reaper.share()
    try:
        _thread.start_new_thread(work, ())
        yield Pause(_FOR_EVER, over, IN)
    finally:
        reaper.share_no_more()
        os.close(over)
    if failures:
        raise failures[0]
    return answers[0]
