# SPDX-License-Identifier: Apache-2.0
"""What can another, unprivileged user of the host prepare for a container that is not made yet? (invariant 26)"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

import pytest

from tests.harness.driver import runtime_under_test
from tests.harness.peers import PEERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.stage import Stage

pytestmark = pytest.mark.skipif(
    runtime_under_test() in PEERS, reason="the attacks are on this runtime: run with RUNTIME=ociruntime"
)
_KEYCTL = {"x86_64": 250, "aarch64": 219}[os.uname().machine]
_JOIN, _PERMISSIONS, _ALL = 1, 5, 0x3F3F3F3F
_SOMEBODY = 12345


def _hold_keyring(name: str, uid: int) -> tuple[int, int]:
    """(process, pipe that ends it): a user's session keyring of this name, in which everybody may search."""
    ready, said = os.pipe()
    stop, end = os.pipe()
    pid = os.fork()
    if pid:
        os.close(said)
        os.close(stop)
        answer = os.read(ready, 1)
        os.close(ready)
        assert answer == b"0"
        return pid, end
    os.close(end)
    call = ctypes.CDLL(None).syscall
    os.setgid(uid)
    os.setuid(uid)
    serial = call(_KEYCTL, _JOIN, name.encode())
    done = serial > 0 and call(_KEYCTL, _PERMISSIONS, serial, ctypes.c_uint(_ALL)) == 0
    os.write(said, b"0" if done else b"1")
    os.read(stop, 1)
    os._exit(0)


@pytest.fixture
def keyring_id() -> Iterator[str]:
    """A container's id for which another user already holds a keyring."""
    name = f"attack-{os.getpid()}"
    pid, end = _hold_keyring(f"_ses.{name}", _SOMEBODY)
    yield name
    os.close(end)
    os.waitpid(pid, 0)


def test_keyring_of_another_user(stage: Stage, keyring_id: str) -> None:
    """A keyring is joined by its name: one that another user has made would show that user the container's keys."""
    container = stage.container("true")
    container.id = keyring_id
    result = container.create()
    result.refused("keyring")
    assert "another user" in result.err
    assert not (stage.runtime.root / keyring_id).exists()
    container.create("--no-new-keyring").ok()
    container.delete("--force").ok()
