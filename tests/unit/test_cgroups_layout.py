# SPDX-License-Identifier: Apache-2.0
"""Does the runtime find the cgroup hierarchies, and the caller's place in each, on every kind of machine?"""

from __future__ import annotations

import io
import os
import time
from typing import TYPE_CHECKING

from ociruntime.linux.cgroups import layout as module
from ociruntime.linux.cgroups.layout import own_paths, probe_layout

if TYPE_CHECKING:
    import pytest

HYBRID = b"""\
23 1 254:0 / / rw,relatime - ext4 /dev/root rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
"""
HYBRID_SELF = b"4:memory:/a/b\n3:cpu,cpuacct:/\n2:name=systemd:/user.slice\n1:pids:/\n0::/user.slice/x\n"


def _layout_of(mountinfo: bytes, cgroup: bytes) -> module.Layout:
    return module._layout(module._cgroup_mounts(mountinfo), own_paths(cgroup))


def test_hybrid() -> None:
    """v1 controllers, mounted together or alone or without a controller, and a cgroup2 hierarchy beside them."""
    layout = _layout_of(HYBRID, HYBRID_SELF)
    assert layout.kind == "hybrid"
    assert layout.controllers == {
        "cpu": "/sys/fs/cgroup/cpu,cpuacct",
        "cpuacct": "/sys/fs/cgroup/cpu,cpuacct",
        "memory": "/sys/fs/cgroup/memory",
        "name=systemd": "/sys/fs/cgroup/systemd",
    }
    assert layout.v2 == "/sys/fs/cgroup/unified"
    assert layout.own == {
        "cpu": "/",
        "cpuacct": "/",
        "memory": "/a/b",
        "name=systemd": "/user.slice",
        "": "/user.slice/x",
    }
    assert layout.hierarchies() == {
        "/sys/fs/cgroup/cpu,cpuacct": ["cpu", "cpuacct"],
        "/sys/fs/cgroup/memory": ["memory"],
        "/sys/fs/cgroup/systemd": ["name=systemd"],
    }


def test_v1_without_a_cgroup2_mount() -> None:
    """Without the cgroup2 mount the same machine is "v1"."""
    layout = _layout_of(HYBRID.rsplit(b"\n", 2)[0] + b"\n", HYBRID_SELF)
    assert (layout.kind, layout.v2) == ("v1", "")
    assert "" not in layout.own


def test_v2_mounted_elsewhere() -> None:
    """A cgroup2 hierarchy alone is found wherever it is mounted; blanks in the path are unescaped."""
    layout = _layout_of(b"41 31 0:38 / /mnt/my\\040cgroups rw - cgroup2 none rw\n", b"0::/init.scope\n")
    assert (layout.kind, layout.v2, layout.own) == ("v2", "/mnt/my cgroups", {"": "/init.scope"})


def test_no_cgroups() -> None:
    """A machine without cgroup mounts (a plain chroot) is "none", and nothing fails."""
    layout = _layout_of(b"23 1 254:0 / / rw - ext4 /dev/root rw\n", HYBRID_SELF)
    assert (layout.kind, layout.controllers, layout.v2, layout.own) == ("none", {}, "", {})


def test_mount_that_shows_a_subtree() -> None:
    """In a container with the host's hierarchy bound in, the own path is the one below the mount."""
    table = HYBRID.replace(b"0:32 / /sys", b"0:32 /a /sys")
    assert _layout_of(table, HYBRID_SELF).own["memory"] == "/b"
    table = HYBRID.replace(b"0:32 / /sys", b"0:32 /elsewhere /sys")
    assert _layout_of(table, HYBRID_SELF).own["memory"] == "/"


def test_standard_place_wins() -> None:
    """A bind of a cgroup directory into some container's root is not taken for the hierarchy's mount."""
    table = b"9 1 0:32 /docker/x /var/lib/x/cgroup rw - cgroup cgroup rw,memory\n" + HYBRID
    layout = _layout_of(table, HYBRID_SELF)
    assert layout.controllers["memory"] == "/sys/fs/cgroup/memory"
    assert layout.own["memory"] == "/a/b"


def test_path_with_colon() -> None:
    """A cgroup's name may have a colon: only the first two separate fields."""
    assert own_paths(b"0::/a:b:c\n") == {"": "/a:b:c"}


def test_this_machine() -> None:
    """The probe agrees with what the kernel shows in the directories that it found, and is quick."""
    best = 1.0
    for _ in range(20):
        begin = time.perf_counter()
        layout = probe_layout()
        best = min(best, time.perf_counter() - begin)
    for controller, mount in {**layout.controllers, **({"": layout.v2} if layout.v2 else {})}.items():
        assert os.path.exists(f"{mount}{layout.own[controller].rstrip('/')}/cgroup.procs")
    assert best < 0.01


def test_reading_stops_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a long mount table no more is read than needed to find every hierarchy."""
    chunks = [HYBRID, b"99 1 0:99 / /x rw - ext4 none rw\n", b""]

    class Table(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            return chunks.pop(0)

    monkeypatch.setattr(module, "open", lambda *_words, **_how: Table(), raising=False)
    names = own_paths(b"4:memory:/\n3:cpu,cpuacct:/\n2:name=systemd:/\n0::/\n")
    found = [mount.number for mount in module._read_mounts(names)]
    assert found == [mount.number for mount in module._cgroup_mounts(HYBRID)]
    assert len(chunks) == 2
