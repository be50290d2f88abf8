# SPDX-License-Identifier: Apache-2.0
"""How is a pid file written? create, run and exec do so. Must not import anything of the package but errors."""

from __future__ import annotations

import os

from ociruntime.errors import RuntimeFailure


def write_pid_file(path: str, pid: int) -> None:
    """Digits and nothing else (engines parse it with a plain number parser), replaced atomically."""
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{name}")
    remove_pid_file(temporary)
    try:
        # O_EXCL ("x") follows no link: a pid file in /tmp must not overwrite the target of another user's link
        with open(temporary, "xb", buffering=0, opener=_open_for_all_to_read) as file:
            file.write(str(pid).encode())
        os.rename(temporary, path)
    except BaseException as failure:
        remove_pid_file(temporary)
        if isinstance(failure, OSError):
            raise RuntimeFailure(path, step="write pid file", errno=failure.errno or 0) from None
        raise


def _open_for_all_to_read(path: str, flags: int) -> int:
    return os.open(path, flags, 0o644)


def remove_pid_file(path: str) -> None:
    """Remove a pid file, or what is left of one."""
    try:
        os.unlink(path)
    except OSError:
        return  # it was never made, or its directory is gone
