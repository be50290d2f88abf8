# SPDX-License-Identifier: Apache-2.0
"""How does containerd hear what has happened? One queue of events, sent one after another over its ttrpc socket.

An event leaves the queue when containerd has confirmed it. If the connection is lost, or containerd is away, the shim tries
again until it is back: the order stays, and nothing is lost but the oldest of more than MOST events. An event whose
confirmation was lost with the connection is sent again. One that containerd refuses is tried TRIES times.
Must not import anything of the package but the shim's own framing, messages and loop.
"""

from __future__ import annotations

import _socket
import errno
import os
import time

from ociruntime.shim.framing import REQUEST, RESPONSE, Reader, frame
from ociruntime.shim.loop import IN, OUT, tell
from ociruntime.shim.messages import Malformed
from ociruntime.shim.tables import EVENTS, FORWARD, REQUEST as ENVELOPE, RESPONSE as ANSWER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ociruntime.shim.loop import Loop, Timer

MOST = 2048  # events in the queue
TRIES = 5  # of an event that containerd refuses
_PATIENCE = 5.0  # seconds until an answer must have come
_FIRST_DELAY, _LONGEST_DELAY = 0.05, 1.0  # seconds between two tries
_SERVICE, _METHOD = "containerd.services.events.ttrpc.v1.Events", "Forward"


class Publisher:
    """Sends events to containerd.

    address     its ttrpc socket: a path, or one that begins with unix://
    namespace   of the containers
    """

    def __init__(self, loop: Loop, address: str, namespace: str) -> None:
        self.queue: list[bytes] = []  # of ForwardRequest
        self.dropped = 0
        self._loop = loop
        self._address = address.removeprefix("unix://")
        self._namespace = namespace
        self._socket: _socket.socket | None = None
        self._connected = False
        self._reader = Reader()
        self._stream = -1  # of the call that is under way, and the newest one of this connection
        self._under_way = False
        self._unsent = b""
        self._refused = 0  # how often the first event has been
        self._delay = _FIRST_DELAY
        self._timer: Timer | None = None

    def publish(self, topic: str, **event: Any) -> None:
        """Put an event into the queue."""
        kind = EVENTS[topic]
        content = {"type_url": kind.name, "value": kind.encode(event)}
        envelope = {
            "timestamp": timestamp(time.time_ns()),
            "namespace": self._namespace,
            "topic": topic,
            "event": content,
        }
        if not self._address:
            return  # nobody wants to hear it
        self.queue.append(FORWARD.encode({"envelope": envelope}))
        if len(self.queue) > MOST:
            self.dropped += 1
            del self.queue[1 if self._under_way else 0]
            if self.dropped == 1:
                tell(f"shim: more than {MOST} events wait for {self._address}: the oldest are dropped")
        self._go_on()

    def _go_on(self) -> None:
        if not self.queue or self._under_way or self._timer is not None:
            return
        if self._socket is None:
            self._connect()
        elif self._connected:
            self._send()

    def _connect(self) -> None:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.setblocking(False)
        self._socket, self._connected, self._reader, self._stream = connection, False, Reader(), -1
        address = f"\0{self._address[1:]}" if self._address.startswith("@") else self._address
        failed = connection.connect_ex(address)
        if failed and failed != errno.EINPROGRESS:
            self._lose(os.strerror(failed))  # also EAGAIN: its backlog is full
            return
        self._loop.watch(connection.fileno(), OUT, self._ready)

    def _send(self) -> None:
        """Begin the call for the first event."""
        self._stream += 2
        self._under_way = True
        request = {
            "service": _SERVICE,
            "method": _METHOD,
            "payload": self.queue[0],
            "timeout_nano": int(_PATIENCE * 1e9),
            "metadata": [{"key": "containerd-namespace-ttrpc", "value": self._namespace}],
        }
        self._unsent = frame(self._stream, REQUEST, ENVELOPE.encode(request))
        stream, connection = self._stream, self._socket
        self._loop.after(_PATIENCE, lambda: self._too_late(connection, stream))
        self._flush()

    def _too_late(self, connection: _socket.socket | None, stream: int) -> None:
        if self._under_way and self._socket is connection and self._stream == stream:
            self._lose("no answer")

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            while self._unsent:
                self._unsent = self._unsent[self._socket.send(self._unsent, _socket.MSG_NOSIGNAL) :]
        except BlockingIOError as full:
            del full  # the rest goes when there is room
        except OSError as failure:
            self._lose(str(failure))
            return
        self._loop.watch(self._socket.fileno(), IN | (OUT if self._unsent else 0), self._ready)

    def _ready(self, events: int) -> None:
        if self._socket is None:
            return
        if not self._connected:
            failed = self._socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
            if failed:
                self._lose(os.strerror(failed))
                return
            self._connected = True
            self._loop.watch(self._socket.fileno(), IN, self._ready)
            self._go_on()
            return
        if events & OUT:
            self._flush()
        if events & ~OUT and self._socket is not None:
            self._receive(self._socket)

    def _receive(self, connection: _socket.socket) -> None:
        try:
            piece = connection.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._lose("the connection was closed")
            return
        for one in self._reader.feed(piece):
            if (
                self._under_way
                and one.kind == RESPONSE
                and one.stream == self._stream
                and one.data is not None
            ):
                self._answered(one.data)

    def _answered(self, data: bytes) -> None:
        self._under_way = False
        try:
            status = ANSWER.decode(data)["status"] or {"code": 0, "message": ""}
        except Malformed as failure:
            status = {"code": 2, "message": str(failure)}
        self._delay = _FIRST_DELAY
        if not status["code"]:
            self._refused = 0
            del self.queue[0]
        else:
            self._refused += 1
            if self._refused >= TRIES:
                tell(f"shim: containerd does not take an event: {status['message']}")
                self._refused = 0
                del self.queue[0]
            else:
                self._wait()
        self._go_on()

    def _lose(self, _why: str) -> None:
        """Give the connection up and try again later: while containerd is away that is no news."""
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
        self._socket, self._connected, self._under_way, self._unsent = None, False, False, b""
        if self.queue:
            self._wait()

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self._loop.after(self._delay, self._again)
            self._delay = min(self._delay * 2, _LONGEST_DELAY)

    def _again(self) -> None:
        self._timer = None
        self._go_on()


def timestamp(nanoseconds: int) -> dict[str, int]:
    """A google.protobuf.Timestamp."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return {"seconds": seconds, "nanos": rest}
