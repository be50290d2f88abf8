# SPDX-License-Identifier: Apache-2.0
"""containerd's side of the protocol: a client that calls a shim, and a server that takes its events.

Both use google's protobuf and descriptions.py, so that nothing of ours is tested with itself.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Self

from tests.harness.driver import PATIENCE
from tests.shim.descriptions import kind_of

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = struct.Struct(">IIBB")
# method -> (request, response) in descriptions.py
METHODS = {
    "Create": ("Create", "Pid"), "Start": ("OfProcess", "Pid"), "Delete": ("OfProcess", "Deleted"),
    "Exec": ("Exec", "Empty"), "State": ("OfProcess", "State"), "Wait": ("OfProcess", "Waited"),
    "Kill": ("Kill", "Empty"), "Pids": ("OfTask", "Pids"), "Pause": ("OfTask", "Empty"),
    "Resume": ("OfTask", "Empty"), "Update": ("Update", "Empty"), "ResizePty": ("Resize", "Empty"),
    "CloseIO": ("CloseIo", "Empty"), "Stats": ("OfTask", "Stats"), "Checkpoint": ("Checkpoint", "Empty"),
    "Connect": ("OfTask", "Connected"), "Shutdown": ("Shutdown", "Empty"),
}  # fmt: skip
EVENTS = {
    "/tasks/create": "EventCreate", "/tasks/start": "EventStart", "/tasks/exit": "EventExit",
    "/tasks/delete": "EventDelete", "/tasks/exec-added": "EventExecAdded",
    "/tasks/exec-started": "EventExecStarted", "/tasks/paused": "EventPaused", "/tasks/resumed": "EventResumed",
    "/tasks/oom": "EventContainer",
}  # fmt: skip


class Refused(Exception):
    """The shim has answered with an error."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


def read_frame(connection: socket.socket) -> tuple[int, int, bytes] | None:
    """Stream, kind and data of the next frame; None at the end."""
    header = _read(connection, HEADER.size)
    if header is None:
        return None
    length, stream, kind, _ = HEADER.unpack(header)
    data = _read(connection, length)
    return None if data is None else (stream, kind, data)


def _read(connection: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        try:
            piece = connection.recv(size - len(data))
        except ConnectionResetError:
            return None
        if not piece:
            return None
        data += piece
    return data


class Client:
    """One connection to a shim."""

    def __init__(self, path: str, version: int = 2) -> None:
        self.service = f"containerd.task.v{version}.Task"
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.settimeout(30 * PATIENCE)
        self._stream = -1
        self._answers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.socket.close()

    def send(self, service: str, method: str, payload: bytes) -> int:
        """Begin a call; its stream."""
        self._stream += 2
        request = kind_of("Request")(service=service, method=method, payload=payload)
        data = request.SerializeToString()
        self.socket.sendall(HEADER.pack(len(data), self._stream, 1, 0) + data)
        return self._stream

    def begin(self, method: str, **fields: Any) -> int:
        """Begin a call of the Task service."""
        return self.send(self.service, method, kind_of(METHODS[method][0])(**fields).SerializeToString())

    def finish(self, stream: int, kind: str) -> Any:
        """The answer to a call, or Refused."""
        while stream not in self._answers:
            frame = read_frame(self.socket)
            assert frame is not None, "the shim has closed the connection"
            assert frame[1] == 2
            self._answers[frame[0]] = kind_of("Response").FromString(frame[2])
        response = self._answers.pop(stream)
        if response.HasField("status") and response.status.code:
            raise Refused(response.status.code, response.status.message)
        return kind_of(kind).FromString(response.payload)

    def call(self, method: str, **fields: Any) -> Any:
        """A call and its answer."""
        return self.finish(self.begin(method, **fields), METHODS[method][1])

    def is_answered(self, stream: int, seconds: float) -> bool:
        """Whether the answer comes within that time."""
        if stream in self._answers:
            return True
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            frame = read_frame(self.socket)
        except TimeoutError:
            return False
        finally:
            self.socket.settimeout(before)
        assert frame is not None
        self._answers[frame[0]] = kind_of("Response").FromString(frame[2])
        return stream in self._answers


class Events:
    """containerd's event service; `seen` are (topic, event) in their order.

    answer   says for each envelope what happens: 0 is taken, a code is refused, None closes the connection
    """

    def __init__(self, path: str, answer: Callable[[Any], int | None] = lambda _: 0) -> None:
        self.path = path
        self.seen: list[tuple[str, Any]] = []
        self.namespaces: set[str] = set()
        self._answer = answer
        self._changed = threading.Condition()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(8)
        self._begin(self._accept)

    def _begin(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            self._begin(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            while (frame := self._next(connection)) is not None:
                request = kind_of("Request").FromString(frame[2])
                assert request.method == "Forward"
                assert request.service == "containerd.services.events.ttrpc.v1.Events"
                envelope = kind_of("Forward").FromString(request.payload).envelope
                code = self._answer(envelope)
                if code is None:
                    return
                if code == 0:
                    event = kind_of(EVENTS[envelope.topic]).FromString(envelope.event.value)
                    with self._changed:
                        self.namespaces |= {envelope.namespace, *(pair.value for pair in request.metadata)}
                        self.seen.append((envelope.topic, event))
                        self._changed.notify_all()
                response = kind_of("Response")()
                if code:
                    response.status.code, response.status.message = code, "not now"
                data = response.SerializeToString()
                try:
                    connection.sendall(HEADER.pack(len(data), frame[0], 2, 0) + data)
                except OSError:
                    return

    @staticmethod
    def _next(connection: socket.socket) -> tuple[int, int, bytes] | None:
        try:
            return read_frame(connection)
        except OSError:
            return None

    def wait(self, count: int, seconds: float = 20) -> list[tuple[str, Any]]:
        """All events, when there are that many."""
        with self._changed:
            there = self._changed.wait_for(lambda: len(self.seen) >= count, seconds * PATIENCE)
            assert there, [topic for topic, _ in self.seen]
            return list(self.seen)

    def topics(self) -> list[str]:
        """Their last words, in order."""
        return [topic.rpartition("/")[2] for topic, _ in self.seen]

    def close(self) -> None:
        """As if containerd were killed."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join()
        os.unlink(self.path)
