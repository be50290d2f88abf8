# SPDX-License-Identifier: Apache-2.0
"""Does the program get a terminal, and how large? (config.md, "Process")

Terminals are not supported yet; consoleSize without one is ignored, as R039 demands.
Must not import another subject.
"""

from __future__ import annotations

from ociruntime.errors import Violation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ociruntime.config import Node

KEYS = (
    "/process/terminal",
    "/process/consoleSize",
    "/process/consoleSize/height",
    "/process/consoleSize/width",
)

_LARGEST = 0xFFFF  # struct winsize has 16 bits for each (ioctl_tty(2))


def check(config: Node) -> Iterator[Violation]:
    """Yield sizes that no terminal can have, and the terminal itself."""
    process = config.at("process")
    terminal = process.at("terminal")
    if not terminal.flag():
        return
    for name in ("height", "width"):
        side = process.at("consoleSize", name)
        if side.number() > _LARGEST:
            yield Violation(side.pointer, f"a terminal's {name} is at most {_LARGEST}", "R040")
    yield Violation(terminal.pointer, "a terminal is not supported yet", "R038", "unsupported")
