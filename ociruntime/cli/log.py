# SPDX-License-Identifier: Apache-2.0
"""What does the command say, and where? Results on stdout, errors and warnings on stderr and in the log.

    --log FILE     errors and warnings are appended to FILE, as text or as JSON lines (--log-format);
                   an error is shown on stderr too, as one plain line
    no --log       both go to stderr: plain lines, or JSON lines with --log-format json

The form of a log line is logrus's, because engines read the last line of level error and show its `msg`.
A line for people has at most LINE_LIMIT bytes: what is longer is cut in the middle. JSON lines have all of it.
This module must not import logging, json, datetime, a verb or the spine.
"""

from __future__ import annotations

import os
import time

from ociruntime.errors import LINE_LIMIT, RuntimeFailure, UsageError, printable, shortened
from ociruntime.jsontext import compact, quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = "ociruntime"
_SHOWN_LIMIT = LINE_LIMIT - len(PROGRAM) - 32  # besides the name, "warning" and the newline
_MESSAGE_LIMIT = LINE_LIMIT * 3 // 4  # of a line with time, level and fields
_FIELD_LIMIT = 48  # the least that is left of a field


class Log:
    """Where errors, warnings and debug lines go."""

    __slots__ = ("descriptor", "json", "verbose")

    def __init__(self, path: str = "", form: str = "text", verbose: bool = False) -> None:
        """Open the log at once: a log that can't be written is an error before anything is made."""
        self.json = form == "json"
        self.verbose = verbose
        self.descriptor = -1
        if path:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
            try:
                self.descriptor = os.open(path, flags, 0o644)
            except OSError as failure:
                raise UsageError(f"flag --log: {path}", errno=failure.errno or 0) from None

    def failure(self, failure: RuntimeFailure, verb: str = "") -> None:
        """Report an error: one line for people, and one for the log that also has the error's fields."""
        begin = f"{verb}: " if verb else ""

        def brief(limit: int) -> str:
            return begin + failure.brief(limit - len(begin))

        self.tell_error(f"{begin}{failure}", failure.as_dict(), brief)

    def tell_error(
        self,
        message: str,
        fields: dict[str, object] | None = None,
        brief: Callable[[int], str] | None = None,
    ) -> None:
        """Show `message` on stderr and log it at level error.

        brief   makes the message this short, because it knows which parts of it matter
        """
        if self.descriptor >= 0:
            in_log = brief(_MESSAGE_LIMIT) if brief is not None and not self.json else message
            self._append(self.descriptor, "error", in_log, fields)
        if self.json and self.descriptor < 0:
            self._append(2, "error", message, fields)
        else:
            _tell_people(f"{PROGRAM}: ", brief(_SHOWN_LIMIT) if brief is not None else message)

    def tell_warning(self, message: str, fields: dict[str, object] | None = None) -> None:
        """Log `message` at level warning; on stderr only if there is no log."""
        if self.descriptor >= 0 or self.json:
            self._append(self.descriptor if self.descriptor >= 0 else 2, "warning", message, fields)
        else:
            _tell_people(f"{PROGRAM}: warning: ", message)

    def tell_debug(self, message: str, fields: dict[str, object] | None = None) -> None:
        """Log `message` at level debug, if --debug was given."""
        if self.verbose:
            self._append(self.descriptor if self.descriptor >= 0 else 2, "debug", message, fields)

    def _append(self, descriptor: int, level: str, message: str, fields: dict[str, object] | None) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        if self.json:
            line = compact({**(fields or {}), "level": level, "msg": message, "time": now})
        else:
            line = f'time="{now}" level={level} msg={_quoted(message, _MESSAGE_LIMIT)}'
            for number, (name, value) in enumerate((fields or {}).items()):
                # they are in the message too
                room = (LINE_LIMIT - len(line)) // (len(fields or {}) - number)
                line += f" {name}={_quoted(str(value), max(room - len(name) - 5, _FIELD_LIMIT))}"
        _tell(descriptor, line)


def _quoted(text: str, limit: int) -> str:
    """The quoted text in about `limit` characters: escapes need more room than the characters that they stand for."""
    size = limit
    quoted = quote(shortened(text, size))
    while len(quoted) > limit + 2 and size > _FIELD_LIMIT:
        size = max(size * limit // len(quoted) - 1, _FIELD_LIMIT)
        quoted = quote(shortened(text, size))
    return quoted


def _tell_people(begin: str, message: str) -> None:
    _tell(2, begin + shortened(printable(message), _SHOWN_LIMIT))


def _tell(descriptor: int, line: str) -> None:
    """One line in one write, so that lines of two processes don't mix.

    A message that can't be written (stderr closed, disk full) must not hide the exit code that says the same.
    """
    try:
        os.write(descriptor, _encoded(printable(line) + "\n"))
    except OSError:
        return


class ReaderGone(Exception):
    """The reader of our output has gone away (`plan | head -1`): not an error, and nothing more to do."""


def emit(text: str) -> None:
    """Write a verb's result to stdout, at once and whole.

    Raises ReaderGone if the reader has gone away, UsageError if stdout can't be written.
    """
    data = memoryview(_encoded(text))
    try:
        while data:
            data = data[os.write(1, data) :]
    except BrokenPipeError:
        raise ReaderGone from None
    except OSError as failure:
        raise UsageError("standard output can't be written", errno=failure.errno or 0) from None


def _encoded(text: str) -> bytes:
    """UTF-8, with bytes that never were UTF-8 as they came."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can say ("\\ud800")
        return text.encode("utf-8", "backslashreplace")
