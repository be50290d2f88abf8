# SPDX-License-Identifier: Apache-2.0
"""What does the process do that serves a pod? It leaves containerd's streams, and is asked until Shutdown.

It ends with Shutdown only: that containerd goes away is no reason.
"""

from __future__ import annotations

import _signal
import gc
import os
import stat

from ociruntime.errors import RuntimeFailure
from ociruntime.native._shim import lib
from ociruntime.shim.events import Publisher
from ociruntime.shim.loop import Loop
from ociruntime.shim.reaper import Reaper
from ociruntime.shim.server import Server
from ociruntime.shim.task import Service

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket


def serve(listener: _socket.socket, path: str, *, ttrpc: str, namespace: str, bundle: str) -> None:
    """Serve until Shutdown.

    path    of the listening socket; it is removed at the end
    ttrpc   containerd's address for events
    bundle  of the first container, where containerd reads the log
    """
    os.setsid()
    os.chdir("/")
    _leave_streams(f"{bundle}/log")
    done = lib.shim_subreaper()
    if done < 0:
        raise RuntimeFailure("prctl PR_SET_CHILD_SUBREAPER", errno=-done)
    for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGPIPE):
        _signal.signal(number, _signal.SIG_IGN)
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
    loop.run()


def _leave_streams(log: str) -> None:
    """0 and 1 are nothing, 2 is containerd's log: it waits until no one has its pipe open any more."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    try:
        errors = os.open(log, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISFIFO(os.fstat(errors).st_mode):
            os.close(errors)
            errors = null
    except OSError:  # nobody reads it
        errors = null
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.dup2(errors, 2)
    for descriptor in {null, errors}:
        os.close(descriptor)
