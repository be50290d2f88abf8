# SPDX-License-Identifier: Apache-2.0
"""Is our SHA-256 the same as everybody's, and does a shim without CPython's find the same socket?"""

from __future__ import annotations

import hashlib
import random
import sys
from typing import TYPE_CHECKING

from ociruntime.shim import address, sha256

if TYPE_CHECKING:
    import pytest


def test_digests() -> None:
    """Of every length around the blocks' ends."""
    source = random.Random(1)
    for size in [*range(200), 1000]:
        data = source.randbytes(size)
        assert sha256.hexdigest(data) == hashlib.sha256(data).hexdigest()


def test_the_same_socket_without_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another name would be a second shim for the pod."""
    wanted = address.path_of("/s", "/run/c.sock", "ns", "pod")
    for module in ("_sha256", "_sha2"):
        monkeypatch.setitem(sys.modules, module, None)
    assert address.path_of("/s", "/run/c.sock", "ns", "pod") == wanted
