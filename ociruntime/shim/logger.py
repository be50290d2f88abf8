# SPDX-License-Identifier: Apache-2.0
"""How does a logger, a program of the user's, get a container's output? (containerd's binary:// URIs)

    3, 4   what the program writes to 1 and 2; both end with the program
    5      the logger closes it when it is ready (binary-v2: it writes a byte first); until then nothing is created
    CONTAINER_ID, CONTAINER_NAMESPACE   in its environment; the URI's parameters are its arguments, name and value by turns

This module must not import anything of the package but the shim's own.
"""

from __future__ import annotations

import _signal
import fcntl
import os

from ociruntime.shim.loop import IN, Pause
from ociruntime.shim.status import FAILED_PRECONDITION, INVALID_ARGUMENT, Refusal
from ociruntime.shim.stdio import Output, close

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from ociruntime.shim.loop import Loop
    from ociruntime.shim.reaper import Reaper

SCHEMES = ("binary://", "binary-v2://")
_READY_WITHIN = 10.0  # seconds
_END_WITHIN = (
    12.0  # seconds after the end of the output, then it is told to end; and as long again, then it is killed
)


class Logger:
    """A logger that runs.

    pid   its process id; 0 once it has ended
    """

    def __init__(self, loop: Loop, reaper: Reaper, uri: str, names: tuple[str, str]) -> None:
        """Start it.

        names   the container's id and namespace
        """
        self._loop = loop
        scheme, _, rest = uri.partition("://")
        self._says_ready = scheme == "binary-v2"
        path, _, query = rest.partition("?")
        self.program = decoded(path)
        if not self.program.startswith("/"):
            raise Refusal(INVALID_ARGUMENT, f"{uri}: the logger's path must be absolute")
        out, err = os.pipe2(os.O_CLOEXEC), os.pipe2(os.O_CLOEXEC)
        self.ready, ready = os.pipe2(os.O_CLOEXEC)
        self.writing = [out[1], err[1]]
        try:
            self.pid = self._start(arguments(query), names, (out[0], err[0], ready))
        except OSError as failure:
            self.close()
            raise Refusal(FAILED_PRECONDITION, f"logger {self.program}: {failure.strerror}") from None
        finally:
            for descriptor in (out[0], err[0], ready):
                os.close(descriptor)
        reaper.on(self.pid, self._ended)

    def _start(self, words: list[str], names: tuple[str, str], passed: tuple[int, int, int]) -> int:
        # Above those that they become, so that none is overwritten before it is copied.
        high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 10) for one in passed]
        try:
            return os.posix_spawn(
                self.program,
                [self.program, *words],
                {
                    "CONTAINER_ID": names[0],
                    "CONTAINER_NAMESPACE": names[1],
                    "PATH": os.environ.get("PATH", os.defpath),
                },
                file_actions=[(os.POSIX_SPAWN_DUP2, one, 3 + number) for number, one in enumerate(high)],
                setsigdef=[_signal.SIGPIPE, _signal.SIGXFSZ, _signal.SIGHUP, _signal.SIGINT],
            )
        finally:
            for one in high:
                os.close(one)

    def _ended(self, _status: int, _moment: int) -> None:
        self.pid = 0

    def wait(self) -> Generator[Pause, bool, None]:
        """Until it is ready. Raises Refusal if it never is."""
        if not (yield Pause(_READY_WITHIN, self.ready, IN)):
            raise Refusal(
                FAILED_PRECONDITION, f"logger {self.program}: not ready after {_READY_WITHIN:.0f} s"
            )
        said = os.read(self.ready, 1)
        self.ready = close(self.ready)
        if self._says_ready and not said:
            raise Refusal(FAILED_PRECONDITION, f"logger {self.program}: ended, or closed 5, without a word")

    def close(self) -> None:
        """No more output comes; it has some time to write what it has."""
        self.ready = close(self.ready)
        for number, one in enumerate(self.writing):
            self.writing[number] = close(one)
        if getattr(self, "pid", 0):
            self._loop.after(_END_WITHIN, lambda: self._kill(_signal.SIGTERM))
            self._loop.after(2 * _END_WITHIN, lambda: self._kill(_signal.SIGKILL))

    def _kill(self, number: int) -> None:
        if self.pid:  # not reaped: the pid is still its own
            os.kill(self.pid, number)


class Logged(Output):
    """One of the two streams of a logger."""

    def __init__(self, logger: Logger, number: int, terminal: bool) -> None:
        super().__init__()
        self._logger = logger
        self._number = number
        if terminal:
            os.set_blocking(logger.writing[number], False)

    def prepare(self) -> None:
        """See Output."""
        self.program, self._logger.writing[self._number] = self._logger.writing[self._number], -1

    def write(self, data: bytes) -> int:
        """See Output."""
        return os.write(self.writable, data)

    @property
    def writable(self) -> int:
        """See Output."""
        return self._logger.writing[self._number]

    def close(self) -> None:
        """See Output."""
        self.given()
        if self.writable >= 0:
            self._logger._loop.forget(self.writable)
        self._logger.close()

    def ended(self) -> None:
        """See Output."""
        self.close()


def arguments(query: str) -> list[str]:
    """The words of a URI's query: `a=b&c` is a, b, c, "" (as Go's url.Query has them)."""
    words: list[str] = []
    for part in query.split("&") if query else []:
        name, _, value = part.partition("=")
        words += [decoded(name.replace("+", " ")), decoded(value.replace("+", " "))]
    return words


def decoded(text: str) -> str:
    """Without percent signs."""
    first, *others = text.encode("utf-8", "surrogateescape").split(b"%")
    out = bytearray(first)
    for part in others:
        try:
            out += bytes((int(part[:2], 16),)) + part[2:]
        except ValueError:
            out += b"%" + part
    return out.decode("utf-8", "surrogateescape")
