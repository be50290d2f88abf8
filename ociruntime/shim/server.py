# SPDX-License-Identifier: Apache-2.0
"""Who calls, and who gets which answer? The ttrpc server: unary calls, any number at once, answered in any order.

A handler gets the call's payload and the Call. It returns the answer's bytes at once; or a generator of shim/loop.py, whose
result they are; or None, and answers the Call later. Only processes of this process's own user are served.
This module must not import anything of the package but the shim's own framing, messages, loop and errors' codes.
"""

from __future__ import annotations

import _socket
import errno
import os
import struct

from ociruntime.shim.framing import LARGEST, REQUEST, RESPONSE, Reader, frame
from ociruntime.shim.loop import IN, OUT, tell
from ociruntime.shim.messages import Malformed
from ociruntime.shim.status import INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNIMPLEMENTED, status_of
from ociruntime.shim.tables import REQUEST as ENVELOPE, RESPONSE as ANSWER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ociruntime.shim.framing import Frame
    from ociruntime.shim.loop import Loop, Steps

    Handler = Callable[[bytes, "Call"], "bytes | Steps | None"]

MOST_CALLS = 8192  # of one connection at once; more are refused
_MOST_UNSENT = 8 << 20  # bytes that a client has not read: until it does, no more of its calls are read
_CHUNK = 1 << 16
_ACCEPT_AGAIN = 0.2  # seconds, when descriptors are used up
_CREDENTIALS = struct.Struct("iii")  # ucred: pid, uid, gid


class Call:
    """One call that has not been answered yet."""

    __slots__ = ("_connection", "_stream")

    def __init__(self, connection: Connection, stream: int) -> None:
        self._connection = connection
        self._stream = stream

    @property
    def gone(self) -> bool:
        """True if no one waits for the answer any more."""
        return self._stream not in self._connection.calls

    def answer(self, payload: bytes) -> None:
        """Answer it."""
        if len(payload) > LARGEST - 64:
            self.refuse(RESOURCE_EXHAUSTED, f"the answer has {len(payload)} bytes; the most is {LARGEST}")
        else:
            self._connection.send(self._stream, {"payload": payload})

    def refuse(self, code: int, reason: str) -> None:
        """Answer with an error."""
        limit = LARGEST // 8  # characters may have four bytes
        self._connection.send(self._stream, {"status": {"code": code, "message": reason[:limit]}})

    def fail(self, failure: Exception) -> None:
        """Answer with this error."""
        self.refuse(*status_of(failure))

    def settle(self, payload: object) -> None:
        """Answer with what a generator has returned: bytes, or None if it has answered itself."""
        if isinstance(payload, bytes):
            self.answer(payload)


class Server:
    """Serves the connections of a listening socket.

    handlers   service's full name -> method -> handler
    """

    def __init__(self, loop: Loop, listener: _socket.socket, handlers: dict[str, dict[str, Handler]]) -> None:
        self.loop = loop
        self.handlers = handlers
        self.connections: set[Connection] = set()
        self.accepted = 0  # connections so far
        self._listener = listener
        listener.setblocking(False)
        self._listen()

    def _listen(self) -> None:
        if self._listener.fileno() >= 0:
            self.loop.watch(self._listener.fileno(), IN, self._accept)

    def _accept(self, _events: int) -> None:
        try:
            descriptor, _ = self._listener._accept()  # type: ignore[attr-defined]
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as failure:
            if failure.errno not in {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}:
                raise
            self.loop.forget(self._listener.fileno())  # it would be ready again at once
            self.loop.after(_ACCEPT_AGAIN, self._listen)
            return
        client = _socket.socket(fileno=descriptor)
        credentials = client.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(credentials)
        if uid != os.geteuid():
            tell(f"shim: refused process {pid} of user {uid}")
            client.close()
            return
        self.accepted += 1
        self.connections.add(Connection(self, client))

    def stop_listening(self) -> None:
        """No further connection is accepted."""
        if self._listener.fileno() >= 0:
            self.loop.forget(self._listener.fileno())
            self._listener.close()

    def find(self, service: str, method: str) -> Handler | None:
        """The handler of a method."""
        return self.handlers.get(service, {}).get(method)

    def unsent(self) -> bool:
        """True if a client has not taken an answer yet."""
        return any(connection.waiting for connection in self.connections)


class Connection:
    """One client.

    calls   streams of the calls that are not answered yet
    """

    def __init__(self, server: Server, client: _socket.socket) -> None:
        self.calls: set[int] = set()
        self._server = server
        self._client = client
        self._reader = Reader()
        self._last = 0  # stream of the newest call
        self._unsent = bytearray()
        client.setblocking(False)
        self._watch()

    @property
    def waiting(self) -> bool:
        """True if the client has not taken all answers."""
        return bool(self._unsent)

    def _watch(self) -> None:
        events = (OUT if self._unsent else 0) | (IN if len(self._unsent) < _MOST_UNSENT else 0)
        self._server.loop.watch(self._client.fileno(), events, self._ready)

    def _ready(self, events: int) -> None:
        try:
            if events & OUT:
                self._flush()
            if events & ~OUT:
                piece = self._client.recv(_CHUNK)
                if not piece:
                    self.close()
                    return
                for one in self._reader.feed(piece):
                    self._take(one)
        except BlockingIOError:
            return
        except OSError:
            self.close()

    def _take(self, one: Frame) -> None:
        """Begin a call."""
        if one.kind != REQUEST:
            return  # streams, which no service here has
        call = Call(self, one.stream)
        if one.stream % 2 == 0 or one.stream <= self._last:
            self.calls.add(one.stream)
            call.refuse(INVALID_ARGUMENT, f"stream {one.stream}: a call's number must be odd, and a new one")
            return
        self._last = one.stream
        full = len(self.calls) >= MOST_CALLS
        self.calls.add(one.stream)
        if full:
            call.refuse(RESOURCE_EXHAUSTED, f"more than {MOST_CALLS} calls at once")
        elif one.data is None:
            call.refuse(RESOURCE_EXHAUSTED, f"the message is larger than {LARGEST} bytes")
        else:
            self._dispatch(one.data, call)

    def _dispatch(self, data: bytes, call: Call) -> None:
        try:
            request = ENVELOPE.decode(data)
        except Malformed as failure:
            call.fail(failure)
            return
        handler = self._server.find(request["service"], request["method"])
        if handler is None:
            call.refuse(UNIMPLEMENTED, f"service {request['service']} has no method {request['method']}")
            return
        try:
            result = handler(request["payload"], call)
        except Exception as failure:  # noqa: BLE001 - whatever it is, the caller must get an answer
            call.fail(failure)
            return
        if isinstance(result, bytes):
            call.answer(result)
        elif result is not None:
            self._server.loop.begin(result, call.settle, call.fail)

    def send(self, stream: int, answer: dict[str, Any]) -> None:
        """Answer the call of this stream, if it has not been answered and the client is there."""
        if stream not in self.calls:
            return
        self.calls.discard(stream)
        self._unsent += frame(stream, RESPONSE, ANSWER.encode(answer))
        try:
            self._flush()
        except OSError:
            self.close()

    def _flush(self) -> None:
        try:
            while self._unsent:
                del self._unsent[: self._client.send(self._unsent, _socket.MSG_NOSIGNAL)]
        except BlockingIOError as full:
            del full  # the rest goes when there is room
        if self._client.fileno() >= 0:
            self._watch()

    def close(self) -> None:
        """The client is gone, or has sent what can't be read."""
        if self._client.fileno() >= 0:
            self._server.loop.forget(self._client.fileno())
            self._client.close()
        self.calls.clear()
        self._unsent.clear()
        self._server.connections.discard(self)
