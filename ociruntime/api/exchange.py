# SPDX-License-Identifier: Apache-2.0
"""How do bytes get to a program and from it, while somebody waits for its end or for the time limit?

One loop over poll(2), without a thread: what is to be written is written when the pipe takes it, what comes is kept up to a
limit, and a pidfd says when the program has ended. `api/asynchronous.py` serves the same from an asyncio loop.
"""

from __future__ import annotations

import os
import select
import time

from ociruntime.descriptors import Descriptors
from ociruntime.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from io import IOBase
    from typing import IO, Any

    File = IO[Any] | IOBase  # `open` returns the one, tempfile the other
    # None: the caller's own. bytes: given to the program, then the end of file. An int: a descriptor; or an open file.
    Input = bytes | bytearray | memoryview | int | File | None
    # None: the caller's own. True: captured. An int: a descriptor; or an open file. A function: is called with each piece.
    Output = bool | int | File | Callable[[bytes], object] | None

_PIECE = 1 << 16
_LONGEST_POLL = 1e6  # seconds: poll(2) takes an int of milliseconds
_MOST_LATE = 1024  # pieces: as much as any pipe holds, should somebody else go on writing


def is_ready(descriptor: int, seconds: float) -> bool:
    """Whether it can be read, as a pidfd when its process has ended, within so many seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + seconds
    while True:
        left = max(deadline - time.monotonic(), 0)
        if poll.poll(min(left, _LONGEST_POLL) * 1000):
            return True
        if left == 0:
            return False


class _Source:
    """Bytes for the program's stdin."""

    def __init__(self, data: bytes | bytearray | memoryview, descriptor: int) -> None:
        self.left = memoryview(data).cast("B")  # os.write counts bytes, whatever the items are
        self.descriptor = descriptor

    def step(self) -> bool:
        """Write what the pipe takes; False at the end, also if nobody reads any more."""
        try:
            written = os.write(self.descriptor, self.left[:_PIECE])
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        self.left = self.left[written:]
        return bool(self.left)


class _Sink:
    """What comes from the program: kept up to a limit, or handed on."""

    def __init__(self, descriptor: int, limit: int, hand_on: Callable[[bytes], object] | None) -> None:
        self.descriptor = descriptor
        self.limit = limit
        self.hand_on = hand_on
        self.kept = bytearray()
        self.lost = 0

    def step(self) -> bool:
        """Read what there is; False at the end of file. More than the limit is read and dropped."""
        try:
            piece = os.read(self.descriptor, _PIECE)
        except BlockingIOError:
            return True
        if self.hand_on is not None and piece:
            self.hand_on(piece)
        elif piece:
            room = max(self.limit - len(self.kept), 0)
            self.kept += piece[:room]
            self.lost += max(len(piece) - room, 0)
        return bool(piece)


def _descriptor(name: str, file: Any) -> int:
    """That of an open file, whose own buffer the program does not see. Raises UsageError if it has none, as io.BytesIO."""
    try:
        return int(file.fileno())
    except (OSError, ValueError) as failure:
        hint = "pass its bytes" if name == "stdin" else "True captures it"
        raise UsageError(f"{name}: {type(file).__name__} has no descriptor: {failure}", hint=hint) from None


class Exchange:
    """The pipes of one program.

    given   descriptors for its 0, 1 and 2; -1: the caller's
    """

    def __init__(self, stdin: Input, stdout: Output, stderr: Output, limit: int) -> None:
        """Make the pipes.

        limit   bytes of each captured stream that are kept
        Raises UsageError for something that can't be a stream.
        """
        self._opened = Descriptors()
        self.open: dict[int, _Source | _Sink] = {}
        self.sinks: dict[str, _Sink] = {}
        given = [self._input(stdin)]
        for name, wanted in (("stdout", stdout), ("stderr", stderr)):
            given.append(self._output(name, wanted, limit))
        self.given = (given[0], given[1], given[2])

    def _input(self, wanted: Any) -> int:
        if wanted is None:
            return -1
        if isinstance(wanted, int) and not isinstance(wanted, bool):
            return int(wanted)
        if hasattr(wanted, "fileno"):
            return _descriptor("stdin", wanted)
        if isinstance(wanted, memoryview) and not wanted.c_contiguous:
            wanted = wanted.tobytes()
        if not isinstance(wanted, (bytes, bytearray, memoryview)):
            raise UsageError(
                f"stdin: bytes, a descriptor or an open file is wanted, not {type(wanted).__name__}"
            )
        reader, writer = self._pipe("stdin", "ours")
        if not wanted:
            self._forget(writer)
            return reader
        os.set_blocking(writer, False)
        self.open[writer] = _Source(wanted, writer)
        return reader

    def _pipe(self, name: str, write_end: str) -> tuple[int, int]:
        """(read end, write end); from the moment that they exist they belong to `_opened`."""
        ends = [
            f"{name} {side}" for side in (("theirs", "ours") if write_end == "ours" else ("ours", "theirs"))
        ]
        self._opened.update(zip(ends, os.pipe2(os.O_CLOEXEC), strict=True))
        return self._opened[ends[0]], self._opened[ends[1]]

    def _output(self, name: str, wanted: Any, limit: int) -> int:
        if wanted is None or wanted is False:
            return -1
        if isinstance(wanted, int) and wanted is not True:
            return int(wanted)
        if hasattr(wanted, "fileno"):
            return _descriptor(name, wanted)
        if wanted is not True and not callable(wanted):
            kinds = "True, a descriptor, an open file or a function"
            raise UsageError(f"{name}: {kinds} is wanted, not {type(wanted).__name__}")
        reader, writer = self._pipe(name, "theirs")
        os.set_blocking(reader, False)
        sink = _Sink(reader, limit, None if wanted is True else wanted)
        self.open[reader] = self.sinks[name] = sink
        return writer

    def begin(self) -> None:
        """The program has its ends of the pipes: those of this process are closed, so that they end with the program."""
        for name in [name for name in self._opened if name.endswith("theirs")]:
            os.close(self._opened.pop(name))

    def step(self, descriptor: int, before_close: Callable[[int], object]) -> bool:
        """Serve one descriptor that is ready; False, and it is closed, at its end.

        before_close   is called with it first: whoever watches it must forget it while it is open
        """
        stream = self.open[descriptor]
        if stream.step():
            return True
        before_close(descriptor)
        del self.open[descriptor]
        self._forget(descriptor)
        return False

    def _forget(self, descriptor: int) -> None:
        name = next(name for name, number in self._opened.items() if number == descriptor)
        os.close(self._opened.pop(name))

    def serve(self, pidfd: int, deadline: float | None) -> bool:
        """Serve until the process has ended; False if the deadline (time.monotonic) came first.

        pidfd   -1: until the streams have ended
        """
        poll = select.poll()
        for descriptor in self.open:
            poll.register(descriptor, select.POLLOUT if self.is_input(descriptor) else select.POLLIN)
        if pidfd >= 0:
            poll.register(pidfd, select.POLLIN)
        late = 0  # pieces that were there after the deadline
        while pidfd >= 0 or self.outputs():
            left = None if deadline is None else max(deadline - time.monotonic(), 0)
            # Whatever the caller's function takes, the answer is about what is so now.
            ready = [
                number for number, _ in poll.poll(None if left is None else min(left, _LONGEST_POLL) * 1000)
            ]
            for descriptor in ready:
                if descriptor != pidfd:
                    self.step(descriptor, poll.unregister)
            if pidfd in ready:
                return True
            if left == 0:
                late += 1
                if pidfd >= 0 or not ready or late > _MOST_LATE:
                    return False
        return True

    def is_input(self, descriptor: int) -> bool:
        """True if it is written to."""
        return isinstance(self.open[descriptor], _Source)

    def outputs(self) -> list[int]:
        """The descriptors from which something can still come."""
        return [descriptor for descriptor, stream in self.open.items() if isinstance(stream, _Sink)]

    def close(self) -> None:
        """Close everything. May be called again."""
        self.open.clear()
        self._opened.close()
