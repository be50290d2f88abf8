# SPDX-License-Identifier: Apache-2.0
"""The ttrpc server: many calls at once, in any order, from its own user only; and noise does not end it."""

from __future__ import annotations

import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.shim import server as servers
from ociruntime.shim.loop import Loop, Pause
from ociruntime.shim.server import Call, Server
from ociruntime.shim.status import (
    ALREADY_EXISTS,
    INVALID_ARGUMENT,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    Refusal,
)
from tests.shim.client import HEADER, Client, Refused
from tests.shim.descriptions import kind_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


def slow(payload: bytes, _call: Call) -> Generator[Pause, bool, object]:
    """Answers after some time."""
    assert (yield Pause(0.2)) is False
    return payload


def bad(_payload: bytes, _call: Call) -> bytes:
    """Refuses."""
    raise Refusal(ALREADY_EXISTS, "there is one: é")


def broken(_payload: bytes, _call: Call) -> Generator[Pause, bool, object]:
    """Has a bug in its second step."""
    yield Pause(0)
    raise ZeroDivisionError("by zero")


def never(_payload: bytes, _call: Call) -> None:
    """Waits for what does not come."""


HANDLERS: dict[str, Any] = {
    "echo": lambda payload, _call: payload, "slow": slow, "bad": bad, "broken": broken, "never": never,
    "large": lambda _payload, _call: bytes(5 << 20),
}  # fmt: skip


@pytest.fixture
def path() -> Iterator[str]:
    """Where the server listens."""
    loop = Loop()
    directory = tempfile.mkdtemp(prefix="shim-test-", dir="/tmp")  # where another user gets, too
    where = f"{directory}/shim"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(where)
    os.chmod(where, 0o777)
    os.chmod(directory, 0o755)
    listener.listen()
    stop = {"stop": lambda _payload, _call: loop.stop()}
    server = Server(loop, listener, {"test": {**HANDLERS, **stop}})
    thread = threading.Thread(target=loop.run)
    thread.start()
    yield where
    with Client(where) as client:
        client.send("test", "stop", b"")
        thread.join(10)
    assert not thread.is_alive()
    server.stop_listening()
    for connection in list(server.connections):
        connection.close()
    loop.close()
    shutil.rmtree(directory)


def echo(client: Client, text: str = "x") -> None:
    """It answers."""
    payload = kind_of("OfTask")(id=text).SerializeToString()
    assert client.finish(client.send("test", "echo", payload), "OfTask").id == text


def test_answers_in_any_order(path: str) -> None:
    """A slow call does not keep the next ones from being answered."""
    with Client(path) as client:
        waiting = client.send("test", "slow", kind_of("OfTask")(id="late").SerializeToString())
        for number in range(100):
            echo(client, str(number))
        assert waiting not in client._answers
        assert client.finish(waiting, "OfTask").id == "late"


@pytest.mark.parametrize(
    ("service", "method", "code", "words"),
    [
        ("test", "bad", ALREADY_EXISTS, "there is one: é"),
        ("test", "missing", UNIMPLEMENTED, "service test has no method missing"),
        ("other", "echo", UNIMPLEMENTED, "service other has no method"),
        ("test", "broken", 13, "internal error: ZeroDivisionError: by zero"),
        ("test", "large", RESOURCE_EXHAUSTED, "the answer has 5242880 bytes"),
    ],
)
def test_refusals(path: str, service: str, method: str, code: int, words: str) -> None:
    """Each error has its code and its words, and the connection goes on."""
    with Client(path) as client:
        with pytest.raises(Refused, match=words) as caught:
            client.finish(client.send(service, method, b""), "Empty")
        assert caught.value.code == code
        echo(client)


def raw(client: Client, stream: int, data: bytes, kind: int = 1) -> None:
    """A frame as it may not be."""
    client.socket.sendall(HEADER.pack(len(data), stream, kind, 0) + data)


def test_wrong_streams_and_frames(path: str) -> None:
    """An even or a used number, an envelope that is none, a frame that is too large: refused; unknown frames: ignored."""
    with Client(path) as client:
        raw(client, 7, b"", kind=9)
        raw(client, 4, b"")
        with pytest.raises(Refused, match="must be odd") as caught:
            client.finish(4, "Empty")
        assert caught.value.code == INVALID_ARGUMENT
        raw(client, 101, b"\xff")
        with pytest.raises(Refused, match=r"ttrpc\.Request"):
            client.finish(101, "Empty")
        raw(client, 99, b"")
        with pytest.raises(Refused, match="a new one"):
            client.finish(99, "Empty")
        raw(client, 103, bytes((4 << 20) + 1))
        with pytest.raises(Refused, match="larger than") as caught:
            client.finish(103, "Empty")
        assert caught.value.code == RESOURCE_EXHAUSTED
        client._stream = 103
        echo(client)


def test_too_many_calls(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client can't fill our memory with calls that wait."""
    monkeypatch.setattr(servers, "MOST_CALLS", 10)
    with Client(path) as client:
        streams = [client.send("test", "never", b"") for _ in range(11)]
        with pytest.raises(Refused, match="more than 10 calls"):
            client.finish(streams[-1], "Empty")
        with Client(path) as other:
            echo(other)


def test_a_client_that_does_not_read(path: str) -> None:
    """Its answers are kept up to a limit, then its calls are not read; the others are served."""
    payload = bytes(1 << 20)
    request = kind_of("Request")(service="test", method="echo", payload=payload).SerializeToString()
    with Client(path) as stuck, Client(path) as other:
        stuck.socket.settimeout(0.5)
        sent = 0
        try:
            while sent < 100:
                stuck.socket.sendall(HEADER.pack(len(request), 2 * sent + 1, 1, 0) + request)
                sent += 1
        except TimeoutError:
            assert 5 < sent < 30
        assert sent < 100
        echo(other)


@pytest.mark.root
def test_another_user_is_not_served(path: str) -> None:
    """Not even if the socket's mode let it connect."""
    program = f"""
import os, socket
os.setgroups([]); os.setgid(12345); os.setuid(12345)
client = socket.socket(socket.AF_UNIX); client.connect({path!r})
try: print(client.recv(10))
except ConnectionResetError: print(b"")
"""
    out = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=20, check=True
    ).stdout
    assert out == b"b''\n"
    with Client(path) as client:
        echo(client)


def test_noise(path: str) -> None:
    """Random frames and random bytes, cut anywhere: the server goes on."""
    chance = random.Random(3)
    good = kind_of("Request")(service="test", method="echo", payload=b"x").SerializeToString()
    for _ in range(300):
        with Client(path) as client:
            stream = 1
            for _ in range(chance.randrange(5)):
                data = bytearray(good if chance.random() < 0.5 else chance.randbytes(chance.randrange(60)))
                if data and chance.random() < 0.5:
                    data[chance.randrange(len(data))] = chance.randrange(256)
                length = len(data) if chance.random() < 0.8 else chance.randrange(1 << 32)
                header = struct.pack(
                    ">IIBB", length, stream, chance.choice([1, 1, 1, 2, 3, 200]), chance.randrange(4)
                )
                stream += 2
                try:
                    client.socket.sendall(header + data)
                except (BrokenPipeError, ConnectionResetError):
                    break
    with Client(path) as client:
        echo(client)


def test_a_client_that_goes(path: str) -> None:
    """While its calls wait: nothing is left of it."""
    for _ in range(50):
        with Client(path) as client:
            client.send("test", "never", b"")
            client.send("test", "slow", b"")
    with Client(path) as client:
        echo(client)
