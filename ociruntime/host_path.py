# SPDX-License-Identifier: Apache-2.0
"""What does a path of the host mean? What the kernel finds under it, and nothing else.

A path is made absolute by its text alone, and `..` stays in it: after a symbolic link it does not lead back to the
link's directory, so that `link/../b` must be opened unchanged. Must not import anything of the package but errors.
"""

from __future__ import annotations

import os

from ociruntime.errors import UsageError


def absolute(path: str) -> str:
    """The same path as an absolute one, without `.` and repeated slashes, which change nothing.

    Raises UsageError for a relative path in a current directory that has been removed.
    """
    if not path.startswith("/"):
        try:
            path = f"{os.getcwd()}/{path}"
        except OSError as failure:
            raise UsageError(
                f"{path}: the current directory can't be found",
                errno=failure.errno or 0,
                hint="it has been removed; use an absolute path",
            ) from None
    return "/" + "/".join(part for part in path.split("/") if part not in ("", "."))


def joined(directory: str, path: str) -> str:
    """The path, in this absolute directory if it is relative."""
    return absolute(path if path.startswith("/") else f"{directory}/{path}")
