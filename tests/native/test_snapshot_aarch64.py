# SPDX-License-Identifier: Apache-2.0
"""Can the snapshot be built for aarch64, and does it run? Under qemu-user, in a tree that OCIRUNTIME_ARM64_TREE names.

The tree is Debian 12's for arm64 (docs/internals/snapshot.md says how to make it). Containers can't be made: qemu-user lacks
clone3. A user namespace gives the test a binfmt_misc of its own (Linux 6.7), so that the machine's stays as it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.unit.test_package import copy_sources

if TYPE_CHECKING:
    from pathlib import Path

TREE = os.environ.get("OCIRUNTIME_ARM64_TREE", "")
QEMU = shutil.which("qemu-aarch64-static") or "qemu-aarch64-static is missing"

pytestmark = [
    pytest.mark.root,
    pytest.mark.slow,
    pytest.mark.skipif(not TREE, reason="OCIRUNTIME_ARM64_TREE names no tree"),
]

# CAP_SYS_ADMIN is taken away because a build that has it tries a container.
ENTER = r"""
set -e
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
printf %s ":arm64:M::$magic:$mask:$QEMU:FP" > /proc/sys/fs/binfmt_misc/register
mount --rbind /proc "$TREE/proc"
mount --rbind /dev "$TREE/dev"
mkdir -p "$TREE/mnt"
mount --bind "$SOURCES" "$TREE/mnt"
exec setpriv --bounding-set=-sys_admin chroot "$TREE" sh -c 'cd /mnt && exec "$@"' sh "$@"
"""
# As pip does it for an editable install, and then the command.
BUILD = """
import sys
from setuptools import setup
setup(script_args=["build_ext", "--inplace"])
sys.path.insert(0, "/mnt")
from ociruntime.cli.snapshot.build import main
sys.exit(main(["--seed", "7", "--launcher", "/nonexistent/ociruntime", "/mnt/command"]))
"""


def inside(sources: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A program of the tree; `sources` is /mnt there."""
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", ENTER, "sh", *words]
    places = {"TREE": TREE, "QEMU": QEMU, "SOURCES": str(sources), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return subprocess.run(
        command,
        env={**places, **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, in which the command has been built."""
    directory = copy_sources(tmp_path_factory.mktemp("arm64"))
    (directory / "root").mkdir()
    done = inside(directory, "python3", "-c", BUILD)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "-DOWN_LIBC" in done.stdout  # init has a start of its own for this processor
    assert "slower" not in done.stderr  # the trial has worked, too
    return directory


def test_segments_fit_pages_of_64_kib(sources: Path) -> None:
    """A kernel with such pages maps them; and none can be written and executed."""
    done = subprocess.run(
        ["readelf", "-hlW", sources / "command"], capture_output=True, text=True, check=True
    )
    assert "AArch64" in done.stdout
    loads = re.findall(r"^  LOAD .* ([R ][W ][E ]) (0x\w+)$", done.stdout, re.MULTILINE)
    assert not [flags for flags, _ in loads if "W" in flags and "E" in flags]
    assert {alignment for _, alignment in loads} == {"0x10000"}
    assert len(loads) > 5


@pytest.mark.parametrize("size", ["4096", "65536"])
def test_calls(sources: Path, size: str) -> None:
    """Those that need no container, also with the large pages that qemu can pretend."""

    def call(*words: str) -> tuple[int, str, str]:
        done = inside(sources, "/mnt/command", *words, QEMU_PAGESIZE=size)
        return done.returncode, done.stdout, done.stderr

    said = inside(
        sources, "python3", "-c", "import os; print(os.sysconf('SC_PAGE_SIZE'))", QEMU_PAGESIZE=size
    )
    assert said.stdout == f"{size}\n"
    code, out, err = call("--version")
    assert (code, err) == (0, "")
    assert re.search(r"^python: 3\.11\.\d+, in a snapshot$", out, re.MULTILINE)
    code, out, err = call("features")
    assert (code, err) == (0, "")
    assert json.loads(out)["annotations"]["run.ociruntime.form"] == "snapshot"
    for words, error in (
        (("state", "unknown"), "state: container does not exist"),
        (("kill", "unknown", "NOSUCHSIGNAL"), "NOSUCHSIGNAL"),
        (("create", "--bundle", "/nonexistent", "x"), "create: /nonexistent: no such directory"),
        (
            ("plan", "/nonexistent"),
            "/nonexistent/ociruntime: no such file or directory (this call needs the ord",
        ),
    ):
        code, out, err = call("--root", "/mnt/root", *words)
        assert (code, out) == (1, "")
        assert error in err


def test_create_comes_as_far_as_clone3(sources: Path) -> None:
    """Plan, shim and cffi's errno (its TLS descriptor) work up to the system call that qemu-user lacks."""
    (sources / "rootfs").mkdir()
    config = {
        "ociVersion": "1.0.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/program"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]},
    }
    (sources / "config.json").write_text(json.dumps(config))
    words = ("--root", "/mnt/root", "--cgroup-manager", "disabled", "create", "--bundle", "/mnt", "x")
    done = inside(sources, "/mnt/command", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "clone init with new pid, mount: ENOSYS" in done.stderr
    assert list((sources / "root").iterdir()) == []
