# SPDX-License-Identifier: Apache-2.0
"""What does host.py find on a machine? Files of sysfs and procfs as other machines have them."""

from __future__ import annotations

import io
import os
from typing import Any

import pytest

from ociruntime import host
from ociruntime.config import Node
from ociruntime.linux import mountinfo


def shown(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes]) -> None:
    """Let host.py read these files; others don't exist."""

    def fake(path: str, *_arguments: Any, **_more: Any) -> io.BytesIO:
        if path not in files:
            raise FileNotFoundError(2, "No such file or directory", path)
        return io.BytesIO(files[path])

    for module in (host, mountinfo):
        monkeypatch.setattr(module, "open", fake, raising=False)
    monkeypatch.setattr(os.path, "exists", lambda path: path in files)


@pytest.mark.parametrize(
    ("text", "count"),
    [(b"0\n", 1), (b"0-1\n", 2), (b"0-255\n", 256), (b"0-3,8-11\n", 12), (None, 8192), (b"", 8192)],
)
def test_possible_cpus(monkeypatch: pytest.MonkeyPatch, text: bytes | None, count: int) -> None:
    """One more than the last number; without sysfs as many as there can be."""
    shown(monkeypatch, {} if text is None else {"/sys/devices/system/cpu/possible": text})
    assert host._possible_cpus() == count


@pytest.mark.parametrize(
    ("files", "there"),
    [
        ({}, False),
        ({"/proc/self/attr/current": b"docker-default (enforce)\n"}, False),
        ({"/sys/fs/selinux/enforce": b"0", "/proc/self/attr/current": b"kernel\0"}, False),
        ({"/sys/fs/selinux/enforce": b"0", "/proc/self/attr/current": b"u:r:unconfined_t:s0\0"}, True),
    ],
)
def test_selinux(monkeypatch: pytest.MonkeyPatch, files: dict[str, bytes], there: bool) -> None:
    """It is enabled if it has loaded a policy: before that every process is labelled "kernel"."""
    shown(monkeypatch, files)
    assert host._has_selinux() is there


MOUNTS = b"""22 1 0:20 / /proc rw - proc proc rw
30 24 0:26 / /sys/fs/resctrl rw,relatime shared:9 - resctrl resctrl rw
31 24 0:26 / /mnt/other rw - resctrl resctrl rw
"""


def test_where_resctrl_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel's table of mounts says where, and it is asked only if the config has intelRdt (R158)."""
    shown(monkeypatch, {"/proc/self/mountinfo": MOUNTS})
    assert host._mount_point("resctrl") == "/sys/fs/resctrl"
    shown(monkeypatch, {"/proc/self/mountinfo": MOUNTS.replace(b"/sys/fs/resctrl", b"/a\\040b")})
    assert host._mount_point("resctrl") == "/a b"
    shown(monkeypatch, {"/proc/self/mountinfo": MOUNTS.replace(b"- resctrl", b"- tmpfs")})
    assert host._mount_point("resctrl") == ""
    shown(monkeypatch, {})
    assert host._mount_point("resctrl") == ""


def test_resctrl_is_looked_for_only_if_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A config without intelRdt costs no look at a long table."""
    monkeypatch.setattr(host, "_mount_point", lambda kind: f"/found/{kind}")
    assert host.probe().resctrl == ""
    assert host.probe(Node({"linux": {}})).resctrl == ""
    assert host.probe(Node({"linux": {"intelRdt": {}}})).resctrl == "/found/resctrl"
