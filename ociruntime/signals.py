# SPDX-License-Identifier: Apache-2.0
"""Which number does a signal have, given its name? Engines poll with `kill`: this module imports nothing expensive.

Must not import anything of the package but errors.
"""

from __future__ import annotations

import _signal

from ociruntime.errors import UsageError

_HIGHEST = 64  # _NSIG of the kernel on every architecture but MIPS


def parse(text: str) -> int:
    """The number of a signal: "9", "KILL", "SIGKILL", "sigkill", "RTMIN+3", "RTMAX-1"; 0 only checks.

    Raises UsageError for anything else.
    """
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) < 4 else _HIGHEST + 1
        if number > _HIGHEST:
            raise UsageError(f"unknown signal {text!r}", hint=f"signals are numbered 0 to {_HIGHEST}")
        return number
    name = text.upper().removeprefix("SIG")
    base, sign, offset = name, "", "0"
    if name.startswith("RT"):
        base, sign = name[:5], name[5:6]
        offset = name[6:] if sign else "0"
    found = getattr(_signal, f"SIG{base}", None) if base.isalnum() else None  # not SIG_DFL
    if isinstance(found, int) and offset.isascii() and offset.isdigit() and len(offset) < 3:
        number = {"": found, "+": found + int(offset), "-": found - int(offset)}.get(sign, 0)
        if _signal.SIGRTMIN <= number <= _signal.SIGRTMAX or (number == found and not sign):
            return number
    raise UsageError(
        f"unknown signal {text!r}", hint="use a number, or a name such as TERM, SIGTERM or RTMIN+1"
    )
