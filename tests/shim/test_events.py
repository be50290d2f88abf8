# SPDX-License-Identifier: Apache-2.0
"""Events reach containerd once and in their order, also if it goes away and comes back."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.shim import events
from ociruntime.shim.events import MOST, TRIES, Publisher
from ociruntime.shim.loop import Loop
from tests.shim.client import Events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop of our own."""
    made = Loop()
    yield made
    made.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Events]]:
    """Starts containerd's side."""
    made: list[Events] = []

    def call(**how: Any) -> Events:
        made.append(Events(str(tmp_path / "ttrpc"), **how))
        return made[-1]

    yield call
    for one in made:
        if os.path.exists(one.path) and one is made[-1]:
            one.close()


def turn(loop: Loop, until: Callable[[], bool], seconds: float = 10) -> None:
    """Let the loop run until something is so."""
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        loop.after(0.01, lambda: None)
        loop.turn()


def publish(publisher: Publisher, *numbers: int) -> None:
    """Events that can be told apart."""
    for number in numbers:
        publisher.publish("/tasks/start", container_id=f"c{number}", pid=number)


def pids(server: Events) -> list[int]:
    """Which of them have come."""
    return [event.pid for _, event in server.seen]


def close(publisher: Publisher) -> None:
    """Give its connection back."""
    publisher._lose("the test is over")


def test_in_order(loop: Loop, serve: Callable[..., Events], tmp_path: Path) -> None:
    """A hundred at once, one after another, with the namespace in both places."""
    server = serve()
    publisher = Publisher(loop, str(tmp_path / "ttrpc"), "ours")
    publish(publisher, *range(1, 101))
    turn(loop, lambda: not publisher.queue)
    assert pids(server) == [*range(1, 101)]
    assert server.namespaces == {"ours"}
    close(publisher)


def test_containerd_comes_later(loop: Loop, serve: Callable[..., Events], tmp_path: Path) -> None:
    """What happens while nobody listens is told when somebody does."""
    publisher = Publisher(loop, f"unix://{tmp_path}/ttrpc", "ours")
    publish(publisher, 1, 2)
    turn(loop, lambda: publisher._delay > 0.1)
    server = serve()
    publish(publisher, 3)
    turn(loop, lambda: not publisher.queue)
    assert pids(server) == [1, 2, 3]
    close(publisher)


def test_containerd_is_lost_and_comes_back(loop: Loop, serve: Callable[..., Events], tmp_path: Path) -> None:
    """An event whose confirmation never came is sent again, and the others wait behind it."""
    answers = iter([0, None])
    first = serve(answer=lambda _: next(answers))
    publisher = Publisher(loop, str(tmp_path / "ttrpc"), "ours")
    publish(publisher, 1, 2, 3)
    turn(loop, lambda: len(publisher.queue) == 2 and publisher._socket is None)
    first.close()
    turn(loop, lambda: publisher._delay > 0.2)
    second = serve()
    turn(loop, lambda: not publisher.queue)
    assert (pids(first), pids(second)) == ([1], [2, 3])
    close(publisher)


def test_containerd_refuses(loop: Loop, serve: Callable[..., Events], tmp_path: Path) -> None:
    """A few times, then the next ones get their turn."""
    asked: list[int] = []

    def answer(envelope: Any) -> int:
        asked.append(1)
        return 14 if b"c1" in envelope.event.value else 0

    server = serve(answer=answer)
    publisher = Publisher(loop, str(tmp_path / "ttrpc"), "ours")
    publish(publisher, 1, 2)
    turn(loop, lambda: not publisher.queue)
    assert pids(server) == [2]
    assert len(asked) == TRIES + 1
    close(publisher)


def test_no_answer(
    loop: Loop, serve: Callable[..., Events], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A containerd that hangs is asked again after a while, on a new connection."""
    monkeypatch.setattr(events, "_PATIENCE", 0.3)
    slow = [1.0]

    def answer(_: Any) -> int:
        if slow:
            time.sleep(slow.pop())
        return 0

    server = serve(answer=answer)
    publisher = Publisher(loop, str(tmp_path / "ttrpc"), "ours")
    publish(publisher, 1, 2)
    turn(loop, lambda: not publisher.queue)
    server.wait(3)
    assert sorted(set(pids(server))) == [1, 2]
    assert pids(server)[-1] in {1, 2}
    close(publisher)


def test_too_many(loop: Loop, serve: Callable[..., Events], tmp_path: Path) -> None:
    """The queue has a limit: the oldest go."""
    publisher = Publisher(loop, str(tmp_path / "ttrpc"), "ours")
    publish(publisher, *range(MOST + 10))
    assert len(publisher.queue) == MOST
    server = serve()
    turn(loop, lambda: not publisher.queue, 30)
    assert pids(server) == [*range(10, MOST + 10)]
    close(publisher)


def test_no_containerd_at_all(loop: Loop) -> None:
    """Without an address nothing is kept."""
    publisher = Publisher(loop, "", "ours")
    publish(publisher, 1)
    assert publisher.queue == []
