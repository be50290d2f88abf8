# SPDX-License-Identifier: Apache-2.0
"""What do the calls of `containerd-shim-ociruntime-v1` do? containerd makes them; docs/shim.md shows when.

    start    bind the socket, fork, print its address; the child serves (shim/serve.py)
    delete   remove what is left of a container, print how it ended
    -info    print what the runtime supports
    -v       print the version

This module must not import what only the server needs: `start` and `delete` are on the path of every task.
"""

from __future__ import annotations

import os
import time

from ociruntime.errors import RuntimeFailure, UsageError
from ociruntime.shim.calling import Arguments, emit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NAME = "containerd-shim-ociruntime-v1"
RUNTIME = "io.containerd.ociruntime.v1"
_KILLED = 137


def main(words: list[str]) -> int:
    """Do what containerd asks for; returns the exit code. An error is one line on stderr."""
    try:
        given = Arguments(words)
        if given.on("v") or given.on("version"):
            return _version()
        if given.on("info"):
            return _info()
        if given.action == "start":
            from ociruntime.shim.start import start

            return start(given)
        if given.action == "delete":
            return _delete(given)
        raise UsageError(
            f"unknown action {given.action!r}" if given.action else "no action: start or delete",
            hint="containerd calls this program; it is no command for people",
        )
    except RuntimeFailure as failure:
        return _tell(f"{NAME}: {failure.brief()}")
    except OSError as failure:
        return _tell(f"{NAME}: {failure}")
    except ValueError as failure:  # what came on stdin
        return _tell(f"{NAME}: {failure}")


def _tell(text: str) -> int:
    os.write(2, f"{text}\n".encode("utf-8", "backslashreplace"))
    return 1


def _version() -> int:
    import sys

    from ociruntime import __version__
    from ociruntime.native.full_python import form

    python = ".".join(map(str, sys.version_info[:3]))
    emit(
        f"{NAME}:\n  Version:  {__version__}\n  Python:   {python}, in a{'n' * (form[0] == 'i')} {form}\n".encode()
    )
    return 0


def _delete(given: Arguments) -> int:
    from ociruntime.shim.leftover import clean
    from ociruntime.shim.tables import DELETED

    bundle = given.flags["bundle"] or os.getcwd()
    clean(bundle, given.need("namespace"), given.need("id"))
    _remove_dead_socket(bundle)
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    ended = {"exit_status": _KILLED, "exited_at": {"seconds": seconds, "nanos": rest}}
    emit(DELETED.encode(ended))
    return 0


def _remove_dead_socket(bundle: str) -> None:
    """After kill -9 of a shim its socket is left; one that is served is not touched."""
    try:
        with open(f"{bundle}/address", encoding="utf-8") as file:
            path = file.read(4096).strip().removeprefix("unix://")
    except FileNotFoundError:
        return
    from ociruntime.shim.address import is_served

    if path.startswith("/") and not is_served(path):
        try:
            os.unlink(path)
        except FileNotFoundError:
            return


def _info() -> int:
    """The features document, in a RuntimeInfo."""
    from ociruntime import __version__
    from ociruntime.inspect.features import features
    from ociruntime.jsontext import compact
    from ociruntime.shim.tables import RUNTIME_INFO

    document: dict[str, Any] = {
        "type_url": "types.containerd.io/opencontainers/runtime-spec/1/features/Features",
        "value": compact(features()).encode(),
    }
    found = {"name": RUNTIME, "version": {"version": __version__}, "features": document}
    emit(RUNTIME_INFO.encode(found))
    return 0
