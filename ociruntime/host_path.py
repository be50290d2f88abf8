# SPDX-License-Identifier: Apache-2.0
"""What does a path of the host mean that somebody gave? What the kernel finds under it, and nothing else.

A path is made absolute by its text alone, and `..` stays where it is: behind a symbolic link it does not lead back to
where the link is, so that `link/../b` must be opened as it stands. Must not import anything of the package but errors.
"""

from __future__ import annotations

import os

from ociruntime.errors import UsageError


def absolute(path: str) -> str:
    """The same path from the root on, without `.` and repeated slashes, which change nothing.

    Raises UsageError for a relative path in a current directory that has been removed.
    """
    if not path.startswith("/"):
        try:
            path = f"{os.getcwd()}/{path}"
        except OSError as failure:
            raise UsageError(
                f"{path}: the current directory can't be found",
                errno=failure.errno or 0,
                hint="it has been removed; an absolute path needs none",
            ) from None
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def joined(directory: str, path: str) -> str:
    """A path that is relative to an absolute directory, if it is not absolute itself."""
    return absolute(path if path.startswith("/") else f"{directory}/{path}")
