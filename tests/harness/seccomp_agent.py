# SPDX-License-Identifier: Apache-2.0
"""An agent that answers the system calls of containers: what listenerPath leads to. seccomp_unotify(2)

It listens on a socket, takes one message with one descriptor from each connection, and answers every call that the
descriptor tells of. Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import array
import fcntl
import json
import os
import select
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tests.harness.driver import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

_RECEIVE, _SEND, _ADD = 0xC0502100, 0xC0182101, 0x40182103  # SECCOMP_IOCTL_NOTIF_*
_NOTIFICATION = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, nr, arch, instruction pointer, arguments
_RESPONSE = struct.Struct("=QqiI")  # id, value, error, flags
_ADD_FD = struct.Struct("=QIIII")  # id, flags, source, new number, its flags
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_ADD_AND_SEND = 2  # SECCOMP_ADDFD_FLAG_SEND


class Call(NamedTuple):
    """One call that a process of the container waits in."""

    pid: int
    number: int
    arguments: tuple[int, ...]

    def text(self, argument: int) -> str:
        """The string that an argument points to."""
        with open(f"/proc/{self.pid}/mem", "rb", buffering=0) as memory:
            memory.seek(self.arguments[argument])
            return memory.read(4096).split(b"\0", 1)[0].decode()


class LetGoOn:
    """Answer: the kernel carries the call out."""


class Descriptor(NamedTuple):
    """Answer: the call returns a copy of this descriptor."""

    number: int


Answer = int | LetGoOn | Descriptor  # a negative number is an errno


class Message(NamedTuple):
    """What came over one connection; ended: is set when the other side has closed it."""

    state: dict[str, Any]
    descriptors: int
    ended: threading.Event


class Agent:
    """Listens from `with` on; `messages` and `calls` say what came."""

    def __init__(self, path: Path, answer: Callable[[Call], Answer]) -> None:
        self.path = path
        self.answer = answer
        self.messages: list[Message] = []
        self.calls: list[Call] = []
        self.problems: list[Exception] = []
        self._stop, self._stopping = os.pipe()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(self.path))
        self._socket.listen(4)
        self._begin(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._stopping)
        for thread in self._threads:
            thread.join(10)
        self._socket.close()
        os.close(self._stop)
        self.path.unlink(missing_ok=True)
        assert kind is not None or not self.problems, self.problems

    def message(self, count: int = 1, seconds: float = 10.0) -> Message:
        """The last of `count` messages, once that many have come whole; no more must have come."""
        end = time.monotonic() + seconds * PATIENCE
        while len(self.messages) < count:
            assert time.monotonic() < end, f"{len(self.messages)} of {count} messages after {seconds} s"
            time.sleep(0.01)
        assert len(self.messages) == count
        return self.messages[-1]

    def _begin(self, work: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            try:
                work(*arguments)
            except Exception as problem:  # noqa: BLE001 (told when the test ends)
                self.problems.append(problem)

        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()

    def _wait(self, descriptor: int) -> bool:
        """True if there is something to read, False if the test or the container has ended."""
        poll = select.poll()
        poll.register(self._stop, select.POLLIN)
        poll.register(descriptor, select.POLLIN)
        events = dict(poll.poll())
        return self._stop not in events and bool(events[descriptor] & select.POLLIN)

    def _accept(self) -> None:
        while self._wait(self._socket.fileno()):
            self._begin(self._take, self._socket.accept()[0])

    def _take(self, connection: socket.socket) -> None:
        """The first object is the message; the connection is read to its end, for tests that check whether it has one."""
        text, listeners, message = b"", array.array("i"), None
        with connection:
            while self._wait(connection.fileno()):
                data, ancillary, _, _ = connection.recvmsg(65536, socket.CMSG_SPACE(4 * 8))
                if not data and message is not None:
                    message.ended.set()
                    return
                assert message is None, f"more after the message: {data[:80]!r}"
                assert data, f"ended before the message was whole: {text[:80]!r}"
                text += data
                for _, _, rights in ancillary:
                    listeners.frombytes(rights[: len(rights) - len(rights) % 4])
                with suppress(ValueError):
                    message = Message(json.loads(text), len(listeners), threading.Event())
                    self.messages.append(message)
                    for listener in listeners:
                        self._begin(self._serve, listener)

    def _serve(self, listener: int) -> None:
        try:
            while self._wait(listener):
                buffer = bytearray(_NOTIFICATION.size)
                # The process may have been killed meanwhile.
                with suppress(FileNotFoundError):
                    fcntl.ioctl(listener, _RECEIVE, buffer)
                    self._reply(listener, buffer)
        finally:
            os.close(listener)

    def _reply(self, listener: int, buffer: bytearray) -> None:
        cookie, pid, _, number, _, _, *arguments = _NOTIFICATION.unpack(buffer)
        call = Call(pid, number, tuple(arguments))
        self.calls.append(call)
        answer = self.answer(call)
        if isinstance(answer, Descriptor):
            add = _ADD_FD.pack(cookie, _ADD_AND_SEND, answer.number, 0, 0)
            fcntl.ioctl(listener, _ADD, bytearray(add))
            return
        value, flags = (0, _CONTINUE) if isinstance(answer, LetGoOn) else (answer, 0)
        response = _RESPONSE.pack(cookie, max(value, 0), min(value, 0), flags)
        fcntl.ioctl(listener, _SEND, bytearray(response))


def refusing_socket(path: Path) -> socket.socket:
    """A socket that no one listens on: connecting to it is refused."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    return made
