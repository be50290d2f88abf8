# SPDX-License-Identifier: Apache-2.0
"""How does a D-Bus connection begin, and what if the other side does something else?"""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest

from ociruntime.linux.cgroups.systemd import connection, message
from ociruntime.linux.cgroups.systemd.connection import Connection, socket_path
from tests.unit.dbus_peer import answer, job_removed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OK = b"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\n"
GREETING = b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"


@contextmanager
def server(path: Path, serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """One that does this for one client, and then closes; its address."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(1)

        def run() -> None:
            client, _ = listening.accept()
            with client, suppress(ConnectionError):  # from a client that closes before it has read all
                serve(client)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"unix:path={path}"
        thread.join(10)
        assert not thread.is_alive()


def sending(*parts: bytes) -> Callable[[socket.socket], None]:
    """Take the greeting, send these parts, wait for the other's end."""

    def serve(client: socket.socket) -> None:
        assert client.recv(len(GREETING), socket.MSG_WAITALL) == GREETING
        for part in parts:
            client.sendall(part)
        client.recv(1)

    return serve


@contextmanager
def connected(path: Path, *parts: bytes, patience: float = 5.0) -> Iterator[Connection]:
    """A connection to a server that lets us in and sends these parts."""
    with server(path, sending(OK, *parts)) as address:
        made = Connection(address, time.monotonic() + patience)
        try:
            yield made
        finally:
            made.close()


@pytest.mark.parametrize(
    ("address", "expected"),
    [("unix:path=/a/b", b"/a/b"), ("unix:path=/a%20b%ff,guid=00", b"/a b\xff"), ("unix:abstract=/tmp/x", b"\0/tmp/x"), ("unix:guid=1,path=/a", b"/a")],
)  # fmt: skip
def test_addresses(address: str, expected: bytes) -> None:
    """Paths and abstract names."""
    assert socket_path(address) == expected


@pytest.mark.parametrize(
    ("address", "words"),
    [("tcp:host=localhost,port=1", "is not the address of a unix socket"), ("unix:tmpdir=/tmp", "unix socket"), ("", "'' is not"), ("unix:path=/a%2", "a % without two"),
     ("unix:path=/a%zz", "a % without two"), ("unix:path=/" + "x" * 200, "file name too long"), ("unix:path=/nonexistent/x", "no such file")],
)  # fmt: skip
def test_addresses_that_are_none(address: str, words: str) -> None:
    """The error has the address, and what is wrong with it."""
    with pytest.raises(OSError, match=words) as caught:
        Connection(address, time.monotonic() + 5)
    assert caught.value.filename == address
    assert caught.value.errno


def test_the_next_address(tmp_path: Path) -> None:
    """Several are tried in turn."""
    with server(tmp_path / "socket", sending(OK)) as address:
        Connection(f"unix:path=/nonexistent/x;tcp:host=a;{address}", time.monotonic() + 5).close()


@pytest.mark.parametrize(
    "parts",
    [(OK,), (b"OK 1\r\nOK 1\r\n",), tuple(bytes([byte]) for byte in OK)],
    ids=["now", "before systemd 243", "bytewise"],
)
def test_let_in(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    """Whatever the server says first, and in however many pieces; messages may follow at once."""
    sent = answer(1, "a", signature="s")
    with server(
        tmp_path / "socket", sending(*parts[:-1], parts[-1] + sent + sent[:10], sent[10:])
    ) as address:
        made = Connection(address, time.monotonic() + 5)
        assert [made.receive(time.monotonic() + 5).values() for _ in range(2)] == [["a"], ["a"]]
        made.close()


@pytest.mark.parametrize(
    ("sent", "number", "words"),
    [(b"REJECTED EXTERNAL\r\n", errno.EACCES, "not let in: 'REJECTED EXTERNAL'"), (b"DATA\r\nERROR\r\n", errno.EACCES, "not let in: 'ERROR'"),
     (b"DATA\r\nDATA\r\n", errno.EACCES, "not let in"), (b"HTTP/1.0 \xff\r\n", errno.EACCES, "not let in"), (b"x" * 20_000, errno.EBADMSG, "this is no D-Bus server")],
)  # fmt: skip
def test_not_let_in(tmp_path: Path, sent: bytes, number: int, words: str) -> None:
    """The server's own words; what never ends is not read for ever."""
    with server(tmp_path / "socket", sending(sent)) as address:
        with pytest.raises(OSError, match=words) as caught:
            Connection(address, time.monotonic() + 5)
        assert (caught.value.errno, caught.value.filename) == (number, address)


def test_nobody_accepts(tmp_path: Path) -> None:
    """The queue of a server is full: connect() ends, too."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(str(tmp_path / "socket"))
        began = time.monotonic()
        with pytest.raises(TimeoutError, match="no answer in time"):
            Connection(f"unix:path={tmp_path}/socket", began + 0.3)
        assert 0.2 < time.monotonic() - began < 5
        for one in waiting:
            one.close()


@pytest.mark.parametrize(
    "sent", [b"", b"l\2", answer(1, "a", signature="s")[:-1]], ids=["nothing", "a beginning", "nearly all"]
)
def test_no_message_in_time(tmp_path: Path, sent: bytes) -> None:
    """The deadline holds, however much has come."""
    with connected(tmp_path / "socket", sent) as made:
        began = time.monotonic()
        with pytest.raises(TimeoutError) as caught:
            made.receive(began + 0.2)
        assert 0.15 < time.monotonic() - began < 5
        assert caught.value.filename == made.address


def test_a_server_that_does_not_stop(tmp_path: Path) -> None:
    """Bytes that come all the time do not move the deadline."""

    def serve(client: socket.socket) -> None:
        client.recv(100)
        client.sendall(OK + b"l\2\0\1" + struct.pack("<III", message.LARGEST - 1000, 1, 8))
        try:
            while True:
                client.sendall(b"x")
                time.sleep(0.001)
        except OSError:
            return

    with server(tmp_path / "socket", serve) as address:
        made = Connection(address, time.monotonic() + 5)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            made.receive(began + 0.3)
        assert time.monotonic() - began < 5
        made.close()


def test_a_server_that_does_not_read(tmp_path: Path) -> None:
    """The deadline holds for what is sent."""
    over = threading.Event()

    def serve(client: socket.socket) -> None:
        client.recv(100)
        client.sendall(OK)
        over.wait(10)

    with server(tmp_path / "socket", serve) as address:
        made = Connection(address, time.monotonic() + 5)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            made.send(bytes(8 << 20), began + 0.2)
        assert 0.15 < time.monotonic() - began < 5
        over.set()
        made.close()


def test_the_end(tmp_path: Path) -> None:
    """A server that has closed is an error of the connection, in both directions."""

    def serve(client: socket.socket) -> None:
        client.recv(100)
        client.sendall(OK)

    with server(tmp_path / "socket", serve) as address:
        made = Connection(address, time.monotonic() + 5)
        with pytest.raises(ConnectionResetError):
            made.receive(time.monotonic() + 5)
        with pytest.raises(BrokenPipeError) as caught:
            made.send(b"x", time.monotonic() + 5)
        assert caught.value.filename == address
        made.close()


def test_descriptors_that_nobody_asked_for(tmp_path: Path) -> None:
    """They don't arrive."""

    def serve(client: socket.socket) -> None:
        client.recv(100)
        client.sendall(OK)
        socket.send_fds(client, [answer(1, "a", signature="s")], [client.fileno()] * 3)
        client.recv(1)

    with server(tmp_path / "socket", serve) as address:
        made = Connection(address, time.monotonic() + 5)
        before = os.listdir("/proc/self/fd")
        assert made.receive(time.monotonic() + 5).values() == ["a"]
        assert os.listdir("/proc/self/fd") == before
        made.close()


def test_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any bytes where a message should be: messages, and then an error with words, but nothing else, and in time."""
    monkeypatch.setattr(connection, "_PART", 64)
    chance = random.Random(3)
    sound = answer(1, "a", signature="s") + job_removed("/a", "b", "done")
    for number in range(200):
        data = bytearray(sound * 2) if number % 2 else bytearray(chance.randbytes(300))
        for _ in range(chance.randint(1, 5)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with connected(tmp_path / f"{number}", bytes(data)) as made:
            failure = failure_of(made)
        assert isinstance(failure, TimeoutError) or "malformed message: " in str(failure)


def failure_of(made: Connection) -> OSError:
    """What ends a connection from which all messages are read."""
    for _ in range(100):
        try:
            made.receive(time.monotonic() + 0.02)
        except OSError as failure:
            return failure
    raise AssertionError("more messages than were sent")
