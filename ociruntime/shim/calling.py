# SPDX-License-Identifier: Apache-2.0
"""How does containerd call the shim's command: which flags, what on stdin, what on stdout?

Must not import anything of the package but the errors.
"""

from __future__ import annotations

import os

from ociruntime.errors import UsageError

_MOST_INPUT = 1 << 20  # bytes of options
_VALUES = ("namespace", "address", "publish-binary", "id", "bundle", "socket", "debug-socket")
_SWITCHES = ("debug", "info", "v", "version")


class Arguments:
    """The command line: flags by name, and the action."""

    def __init__(self, words: list[str]) -> None:
        """Flags as Go reads them, -name value, -name=value and two hyphens, before or after the action. Raises UsageError."""
        self.flags = dict.fromkeys(_VALUES, "")
        self.action = ""
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if not word.startswith("-"):
                if self.action:
                    raise UsageError(f"unexpected argument {word}")
                self.action = word
                continue
            name, equals, value = word.removeprefix("-").removeprefix("-").partition("=")
            if name in _SWITCHES:
                self.flags[name] = value or "true"
            elif name not in _VALUES:
                raise UsageError(f"unknown flag {word}")
            elif equals:
                self.flags[name] = value
            elif rest:
                self.flags[name] = rest.pop(0)
            else:
                raise UsageError(f"flag {word} needs a value")

    def on(self, name: str) -> bool:
        """Whether a switch is on."""
        return self.flags.get(name, "false") not in {"", "false", "0"}

    def need(self, name: str) -> str:
        """A flag that must be given."""
        value = self.flags[name]
        if not value:
            raise UsageError(f"flag -{name} is missing")
        return value


def emit(data: bytes) -> None:
    """Write to stdout, whole."""
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


def given_on_stdin() -> bytes:
    """What containerd has written there; nothing if it is a terminal."""
    found = bytearray()
    while not os.isatty(0) and len(found) <= _MOST_INPUT:
        piece = os.read(0, 1 << 16)
        if not piece:
            return bytes(found)
        found += piece
    if found:
        raise UsageError(f"stdin has more than {_MOST_INPUT} bytes")
    return b""
