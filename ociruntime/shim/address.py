# SPDX-License-Identifier: Apache-2.0
"""Where does a shim listen, and does one listen there already? One socket for each pod of each containerd.

Must not import anything of the package but the errors and the digest.
"""

from __future__ import annotations

import _socket
import errno
import os

from ociruntime.errors import UsageError

DIRECTORY = "/run/containerd/s"
_BACKLOG = 128
_LONGEST = 107  # bytes of a socket's path (unix(7))


def path_of(directory: str, containerd: str, namespace: str, group: str) -> str:
    """The socket's path: the same for all containers of a group, and no other.

    containerd   its gRPC address
    Raises UsageError if the path is too long.
    """
    digest = _sha256(f"{containerd}/{namespace}/{group}".encode())
    path = f"{directory or DIRECTORY}/{digest}"
    if len(os.fsencode(path)) > _LONGEST:
        raise UsageError(f"socket {path}: longer than {_LONGEST} bytes", hint="a shorter socket_dir")
    return path


def _sha256(data: bytes) -> str:
    # hashlib loads OpenSSL, which takes 3 ms
    for module in ("_sha256", "_sha2"):  # CPython 3.11, and newer ones
        try:
            found: str = __import__(module).sha256(data).hexdigest()
        except ImportError:
            continue
        return found
    from ociruntime.shim import sha256

    return sha256.hexdigest(data)


def is_served(path: str) -> bool:
    """True if a process accepts connections there, or is about to."""
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        probe.setblocking(False)
        failed = probe.connect_ex(path)
    finally:
        probe.close()
    return failed not in {errno.ENOENT, errno.ECONNREFUSED}  # EAGAIN: its backlog is full


def listen(path: str) -> _socket.socket | None:
    """A listening socket, only for root; None if another shim serves there. One that is left of a dead shim is replaced."""
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    for _ in range(3):
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(path)
        except OSError as failure:
            listener.close()
            if failure.errno != errno.EADDRINUSE:
                raise OSError(failure.errno, failure.strerror, path) from None
        else:
            listener.listen(_BACKLOG)
            return listener
        finally:
            os.umask(before)
        if is_served(path):
            return None
        try:
            os.unlink(path)
        except FileNotFoundError:
            continue
    return None
