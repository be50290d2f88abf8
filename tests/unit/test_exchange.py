# SPDX-License-Identifier: Apache-2.0
"""ociruntime/api/exchange.py: do bytes get through, whatever the other side does?"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any

import pytest

from ociruntime.api.exchange import Exchange
from ociruntime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMIT = 1 << 20


def _talk(
    program: str, stdin: Any, stdout: Any = True, *, limit: int = LIMIT, seconds: float = 20
) -> tuple[Exchange, bool]:
    """An exchange with a Python program, served to its end."""
    exchange = Exchange(stdin, stdout, True, limit)
    streams = [descriptor if descriptor >= 0 else None for descriptor in exchange.given]
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=streams[0], stdout=streams[1], stderr=streams[2]
    ) as child:
        exchange.begin()
        pidfd = os.pidfd_open(child.pid)
        in_time = exchange.serve(pidfd, time.monotonic() + seconds)
        child.kill()
        child.wait()
        exchange.serve(-1, time.monotonic() + 1)
        os.close(pidfd)
    exchange.close()
    return exchange, in_time


def test_much_goes_through_in_both_directions() -> None:
    """Ten times what a pipe holds, while the program writes as it reads."""
    data = os.urandom(700_000)
    exchange, in_time = _talk(
        "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer, 1000)", data
    )
    assert in_time
    assert bytes(exchange.sinks["stdout"].kept) == data
    assert exchange.sinks["stdout"].lost == 0


def test_open_files(tmp_path: Path) -> None:
    """Their descriptors are the program's, as with subprocess."""
    (tmp_path / "in").write_text("hello")
    with open(tmp_path / "in", encoding="ascii") as source, open(tmp_path / "out", "wb") as target:
        _talk("import sys; print(sys.stdin.read().upper())", source, target)
    assert (tmp_path / "out").read_bytes() == b"HELLO\n"


def test_the_rest_is_read_and_dropped() -> None:
    """Beyond the limit nothing is kept, and the program is not held up."""
    exchange, in_time = _talk("print('x' * 1_000_000, end='')", b"", limit=1000)
    assert in_time
    assert (bytes(exchange.sinks["stdout"].kept), exchange.sinks["stdout"].lost) == (b"x" * 1000, 999_000)


def test_a_program_that_reads_nothing() -> None:
    """What is left of stdin is dropped when the program has ended."""
    _, in_time = _talk("pass", b"x" * 1_000_000)
    assert in_time


def test_the_end_of_stdin_is_seen() -> None:
    """Also if there is nothing to be read."""
    exchange, _ = _talk("import sys; print(repr(sys.stdin.read()))", b"")
    assert bytes(exchange.sinks["stdout"].kept) == b"''\n"


def test_a_function_gets_the_pieces() -> None:
    """As they come, and nothing is kept."""
    pieces: list[bytes] = []
    exchange, _ = _talk(
        "print('a', flush=True); import time; time.sleep(0.2); print('b')", b"", pieces.append
    )
    assert len(pieces) > 1
    assert b"".join(pieces) == b"a\nb\n"
    assert not exchange.sinks["stdout"].kept


def test_the_deadline() -> None:
    """It ends the waiting, also while the program writes without a pause."""
    began = time.monotonic()
    _, in_time = _talk("while True: print('x')", b"", seconds=0.3)
    assert not in_time
    assert 0.25 < time.monotonic() - began < 5


def test_a_slow_function_is_not_the_program_s_delay() -> None:
    """It had ended long before the deadline."""
    _, in_time = _talk("print('x', flush=True)", b"", lambda _piece: time.sleep(0.6), seconds=0.5)
    assert in_time


def test_nothing_is_lost_by_a_slow_function() -> None:
    """All that is in a large pipe is read, however long that takes."""
    program = "import fcntl, sys; fcntl.fcntl(1, 1031, 1 << 20); sys.stdout.write('x' * 1_000_000)"
    pieces: list[bytes] = []

    def slow(piece: bytes) -> None:
        time.sleep(0.1)
        pieces.append(piece)

    _talk(program, b"", slow)
    assert len(b"".join(pieces)) == 1_000_000


def test_a_function_may_raise_anything() -> None:
    """Also what has a meaning for generators."""
    with pytest.raises(StopIteration):
        _talk("print('x')", b"", lambda _piece: next(iter([])))


def test_other_items_than_bytes() -> None:
    """All of them are written."""
    exchange, _ = _talk(
        "import sys; print(len(sys.stdin.buffer.read()))", memoryview(array("I", range(200_000)))
    )
    assert bytes(exchange.sinks["stdout"].kept) == b"800000\n"
    exchange, _ = _talk("import sys; print(len(sys.stdin.buffer.read()))", memoryview(b"x" * 1000)[::2])
    assert bytes(exchange.sinks["stdout"].kept) == b"500\n"


@pytest.mark.parametrize("seconds", [float("inf"), 1e12])
def test_a_deadline_far_away(seconds: float) -> None:
    """Is none."""
    assert _talk("pass", b"", seconds=seconds)[1]


def test_nothing_stays_open() -> None:
    """Neither side of any pipe, also if it was never served."""
    before = set(os.listdir("/proc/self/fd"))
    exchange = Exchange(b"data", True, True, 10)
    assert set(os.listdir("/proc/self/fd")) != before
    exchange.close()
    exchange.close()
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: Exchange("text", None, None, 1),
            "stdin: bytes, a descriptor or an open file is wanted, not str",
        ),
        (
            lambda: Exchange(None, "text", None, 1),
            "stdout: True, a descriptor, an open file or a function is wanted, not str",
        ),
        (
            lambda: Exchange(None, None, b"", 1),
            "stderr: True, a descriptor, an open file or a function is wanted, not bytes",
        ),
        (
            lambda: Exchange(io.BytesIO(b"x"), None, None, 1),
            "stdin: BytesIO has no descriptor: fileno (pass its bytes)",
        ),
    ],
)
def test_what_is_no_stream(make: Callable[[], Exchange], said: str) -> None:
    """The argument is named."""
    with pytest.raises(UsageError, match=f"^{re.escape(said)}$"):
        make()
