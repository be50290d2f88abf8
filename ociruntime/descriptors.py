# SPDX-License-Identifier: Apache-2.0
"""How is a descriptor closed if the caller's signal handler raises an exception at the worst moment?

Such an exception can come between any two lines, even between the line that opens something and the `try` that closes
it. So the line that opens a descriptor also gives it an owner. This module must not import anything of the package.
"""

from __future__ import annotations

import os


class Descriptors(dict[str, int]):
    """Open descriptors by name, closed with the last reference to this object at the latest.

    `opened["plan"] = os.open(...)` is one line, and so is `os.close(opened.pop("plan"))`.
    """

    __slots__ = ()
    _close = staticmethod(os.close)  # the module may be gone when the interpreter ends

    def close(self) -> None:
        """Close all of them. May be called again."""
        while self:
            self._close(self.popitem()[1])

    def __enter__(self) -> Descriptors:  # noqa: PYI034 - Self is in typing, which costs 6 ms
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()
