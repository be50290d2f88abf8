# SPDX-License-Identifier: Apache-2.0
"""The loop: time, descriptors, operations in steps, and errors that end nothing else."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from ociruntime.shim.loop import IN, Loop, Pause

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop of our own."""
    made = Loop()
    yield made
    made.close()


def test_timers_in_order(loop: Loop) -> None:
    """Each once, at its time, unless it is cancelled; a far one does no harm."""
    seen: list[int] = []
    loop.after(1e9, lambda: seen.append(9))
    loop.after(0.02, lambda: seen.append(2))
    loop.after(0.01, lambda: seen.append(1))
    loop.after(0.015, lambda: seen.append(3)).cancel()
    end = time.monotonic() + 0.1
    loop.after(0.1, lambda: None)
    while time.monotonic() < end:
        loop.turn()
    assert seen == [1, 2]


def test_an_error_ends_nothing_else(loop: Loop, capfd: pytest.CaptureFixture[str]) -> None:
    """It is told, with its place, and what is due is called."""
    seen: list[str] = []
    loop.after(0, lambda: seen[5])
    loop.after(0, lambda: seen.append("called"))
    loop.turn()
    assert seen == ["called"]
    said = capfd.readouterr().err
    assert said.startswith("internal error: IndexError: list index out of range (loop.py:")
    assert "test_loop.py:" in said


def test_steps(loop: Loop) -> None:
    """A generator goes on when its descriptor is ready, or its time is over; its result and its error are delivered."""
    reader, writer = os.pipe()
    ended: list[object] = []

    def steps(fail: bool) -> Generator[Pause, bool, object]:
        ready = [(yield Pause(0.01, reader, IN)), (yield Pause(0.01))]
        os.write(writer, b"x")
        ready.append((yield Pause(5, reader, IN)))
        if fail:
            raise ValueError(f"{ready}")
        return ready

    for fail in (False, True):
        loop.begin(steps(fail), ended.append, lambda failure: ended.append(str(failure)))
        while len(ended) < fail + 1:
            loop.turn()
        os.read(reader, 1)
    assert ended == [[False, False, True], "[False, False, True]"]
    os.close(reader)
    os.close(writer)


def test_forgotten_in_the_same_turn(loop: Loop) -> None:
    """What the first of two ready descriptors forgets and closes is not called."""
    pipes = [os.pipe() for _ in range(2)]
    seen: list[int] = []

    def first(number: int) -> None:
        seen.append(number)
        for reader, _ in pipes:
            loop.forget(reader)

    for number, (reader, writer) in enumerate(pipes):
        os.write(writer, b"x")
        loop.watch(reader, IN, lambda _events, number=number: first(number))  # type: ignore[misc]
    loop.turn()
    assert len(seen) == 1
    for pair in pipes:
        os.close(pair[0])
        os.close(pair[1])
