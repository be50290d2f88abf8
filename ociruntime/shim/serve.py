# SPDX-License-Identifier: Apache-2.0
"""What does the process do that serves a pod? It is asked until Shutdown.

It ends with Shutdown: that containerd goes away is no reason. But if `start` is killed before it has printed the address, no one
knows of this process, and it ends by itself.
"""

from __future__ import annotations

import _signal
import gc
import os

from ociruntime.errors import RuntimeFailure
from ociruntime.native._shim import lib
from ociruntime.shim.events import Publisher
from ociruntime.shim.loop import IN, Loop
from ociruntime.shim.reaper import Reaper
from ociruntime.shim.server import Server
from ociruntime.shim.task import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket


def serve(listener: _socket.socket, path: str, *, ttrpc: str, namespace: str, known: int) -> None:
    """Serve until Shutdown.

    path    of the listening socket; it is removed at the end
    ttrpc   containerd's address for events
    known   a pipe: a byte comes when containerd knows the address, the end if it never will
    """
    os.setsid()
    os.chdir("/")
    done = lib.shim_subreaper()
    if done < 0:
        raise RuntimeFailure("prctl PR_SET_CHILD_SUBREAPER", errno=-done)
    for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGPIPE):
        _signal.signal(number, _signal.SIG_IGN)
    _load()
    gc.enable()  # the launcher has disabled it, for processes that end soon
    gc.freeze()
    loop = Loop()
    publisher = Publisher(loop, ttrpc, namespace)

    def over() -> None:
        # At once: a container that begins now must get a shim of its own.
        os.unlink(path)
        server.stop_listening()

    service = Service(loop, Reaper(loop), publisher, namespace, over)
    server = Server(loop, listener, service.handlers())

    def heard(_events: int) -> None:
        if not os.read(known, 1) and not server.accepted:
            over()
            loop.stop()
        loop.forget(known)
        os.close(known)

    loop.watch(known, IN, heard)
    loop.run()


def _load() -> None:
    """Load what the first Create would, while containerd prepares it."""
    from ociruntime.operations import create, exec, start  # noqa: A004, F401

    for name in ("mounts", "rootfs", "devices", "paths", "namespaces", "capabilities", "seccomp"):
        __import__(f"ociruntime.linux.{name}")
