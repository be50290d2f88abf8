# SPDX-License-Identifier: Apache-2.0
"""What do the runtime and init say to each other, and what do the progress pages say? native/handshake.h for Python.

docs/internals/handshake.md explains it; a test compares each number with C's. `state` loads this module, so it imports nothing.
"""

from __future__ import annotations

# How far init has got, in its own words.
CREATING, CREATED, STARTING, EXECUTING = 1, 2, 3, 4

# From init: struct plan_message.
MESSAGE_LAYOUT = "<3IiIi"  # kind, op, index, errno, detail, pid
MESSAGE_SIZE = 24
MESSAGE_SYNC, MESSAGE_ERROR = 1, 2
PID_OFFSET = 20

# To init: one byte.
CONTINUE, GO = b"c", b"g"

SYNC_STARTED, SYNC_MOUNTED, SYNC_READY, SYNC_FORKED, SYNC_HELLO, SYNC_LIMITS = 1, 2, 3, 4, 5, 6
SYNC_TERMINAL, SYNC_LISTENER, SYNC_ENTERED = 7, 8, 9
# Those that a plan has as steps. "ready" and "listener" are ops of their own.
SYNC_POINTS = {
    "started": SYNC_STARTED,
    "mounted": SYNC_MOUNTED,
    "ready": SYNC_READY,
    "limits": SYNC_LIMITS,
    "listener": SYNC_LISTENER,
    "entered": SYNC_ENTERED,
}

# The progress pages: struct plan_progress.
FORKED_OFFSET, PHASE_OFFSET, COUNT_OFFSET, ERROR_OFFSET, STAMPS_OFFSET = 0, 4, 12, 16, 40
_PAGE = 4096


def progress_size(records: int) -> int:
    """Bytes that the progress pages need for a plan of so many records."""
    size = STAMPS_OFFSET + 8 * (records + 1)
    return (size + _PAGE - 1) // _PAGE * _PAGE


def forked_in(pages: bytes) -> int:
    """Process id of what a helper has forked, or 0; the first bytes of the pages will do."""
    return int.from_bytes(pages[FORKED_OFFSET : FORKED_OFFSET + 4], "little")


def phase_in(pages: bytes) -> int:
    """The phase; the first bytes of the pages will do."""
    return int.from_bytes(pages[PHASE_OFFSET : PHASE_OFFSET + 4], "little")


def error_in(pages: bytes) -> bytes:
    """Init's message about its failure, or b"" if it has noted none."""
    message = pages[ERROR_OFFSET:STAMPS_OFFSET]
    return message if message[0] == MESSAGE_ERROR else b""


def stamps_in(pages: bytes) -> list[int]:
    """CLOCK_REALTIME in nanoseconds at which each record was begun."""
    count = int.from_bytes(pages[COUNT_OFFSET : COUNT_OFFSET + 4], "little")
    return memoryview(pages)[STAMPS_OFFSET : STAMPS_OFFSET + 8 * count].cast("Q").tolist()
