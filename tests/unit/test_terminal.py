# SPDX-License-Identifier: Apache-2.0
"""ociruntime/foreground/terminal.py: how does copying end, whatever the other side does?"""

from __future__ import annotations

import os
import subprocess
import threading

from ociruntime.foreground import terminal


def test_what_is_left_behind_cannot_hold_the_command() -> None:
    """A process that outlives the program and prints without an end is cut off after what a terminal can hold."""
    endless = os.open("/dev/zero", os.O_RDWR)
    reading, writing = os.pipe()
    with subprocess.Popen(["true"]) as program:
        pidfd = os.pidfd_open(program.pid)
    took: list[int] = []

    def take() -> None:
        while data := os.read(reading, 1 << 20):
            took.append(len(data))

    taking = threading.Thread(target=take, daemon=True)
    taking.start()
    copy = terminal._Copy(endless, pidfd, writing, lambda: None)
    copy.typing = False
    copying = threading.Thread(target=copy.run, daemon=True)
    copying.start()
    copying.join(10)
    ended = not copying.is_alive()
    os.close(writing)
    taking.join(10)
    for descriptor in (endless, pidfd, reading):
        os.close(descriptor)
    assert ended
    assert 0 < sum(took) < 1 << 20
