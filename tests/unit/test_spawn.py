# SPDX-License-Identifier: Apache-2.0
"""What does the runtime make of the messages of the processes that it has cloned, in any order?"""

from __future__ import annotations

import os
import socket

import pytest

from ociruntime.descriptors import Descriptors
from ociruntime.native._shim import ffi
from ociruntime.native.encode import SYNC_FORKED
from ociruntime.spawn import MESSAGE, MESSAGE_ERROR, MESSAGE_SYNC, Child, ChildFailed


def process() -> int:
    """A child of ours that ends when nobody holds it any more; its pid."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return pid


def test_failure_overtakes_the_helpers_word() -> None:
    """The process that a helper has made may fail before the helper tells its pid: it is known all the same.

    Else nobody reaps it, and its pid namespace, in which a failed hook is, never ends.
    """
    child = object.__new__(Child)
    child.socket, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    helper, made = process(), process()
    child.pid, child._forks, child._forked, child._let_go, child._owner = 0, True, False, False, os.getpid()
    child.opened = Descriptors()
    child._spawned = ffi.new("struct shim_spawn *", {"pid": helper, "pidfd": os.pidfd_open(helper)})
    child._own_first()
    far.send(MESSAGE.pack(MESSAGE_ERROR, 1, 0, 2, 0, 0))
    far.send(MESSAGE.pack(MESSAGE_SYNC, SYNC_FORKED, 0, 0, 0, made))
    with pytest.raises(ChildFailed):
        child.receive()
    assert (child.pid, child.helper) == (made, 0)
    child.kill()
    with pytest.raises(ChildProcessError):
        os.waitpid(made, os.WNOHANG)
    child.close()
    far.close()
