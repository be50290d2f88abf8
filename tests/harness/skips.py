# SPDX-License-Identifier: Apache-2.0
"""May this test be skipped on this host? Only if tests/skips.toml says so; any other skip is a failure.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.harness.browser import chromium
from tests.harness.rootfs import cache_directory

if TYPE_CHECKING:
    from collections.abc import Callable

LIST = Path(__file__).parents[1] / "skips.toml"


def _has_v2_only() -> bool:
    return os.path.exists("/sys/fs/cgroup/cgroup.controllers")


def has_lsm(name: str) -> bool:
    """Whether the kernel runs this security module."""
    try:
        return name in Path("/sys/kernel/security/lsm").read_text(encoding="ascii").split(",")
    except OSError:
        return False


def has_pidfds_of_threads() -> bool:
    """Whether the kernel has PIDFD_THREAD (Linux 6.9)."""
    try:
        os.close(os.pidfd_open(os.getpid(), os.O_EXCL))
    except OSError:
        return False
    return True


def has_resctrl() -> bool:
    """Whether the file system of Intel RDT is mounted."""
    return " - resctrl " in Path("/proc/self/mountinfo").read_text(encoding="utf-8")


def _has_virtual_machine() -> bool:
    """Whether tests/vm/vm-build has made the image, and there is a QEMU to run it."""
    image = os.environ.get("VM_CACHE") or cache_directory() / "vm"
    return os.path.exists(f"{image}/key") and shutil.which("qemu-system-x86_64") is not None


def has_git_history() -> bool:
    """Whether the tree is a clone, and there is a git to read it: neither a copy without .git nor a part of another clone."""
    return (LIST.parents[1] / ".git").exists() and shutil.which("git") is not None


def _has_other_counts() -> bool:
    """Whether the table of system calls and page faults is of another kind of machine."""
    from tests.perf import counts  # which needs much that this list does not

    return counts.read()[0] != counts.kind_of_machine()


def _has_static_python() -> bool:
    """Whether a snapshot can be linked with the Python that runs this; so far 3.11 to 3.14 on x86_64, 3.11 on aarch64."""
    library = f"libpython{sys.version_info.major}.{sys.version_info.minor}.a"
    newest = {"x86_64": (3, 14), "aarch64": (3, 11)}.get(os.uname().machine, (0, 0))
    known = (3, 11) <= sys.version_info[:2] <= newest
    tools = shutil.which("gcc") and shutil.which("objcopy")
    return known and bool(tools) and os.path.exists(f"{sysconfig.get_config_var('LIBPL')}/{library}")


def _has_static_libseccomp() -> bool:
    """Whether a snapshot gets libseccomp into it."""
    words = ["gcc", "-print-file-name=libseccomp.a"]
    return _has_static_python() and os.path.isabs(subprocess.check_output(words, text=True))


def knows_runtime_types() -> bool:
    """Whether the dockerd under test can name a shim (version 23 and newer)."""
    dockerd = os.environ.get("DOCKERD") or shutil.which("dockerd", path="/usr/sbin:/usr/bin")
    if not dockerd:
        return False
    said = subprocess.run([dockerd, "--version"], capture_output=True, text=True, check=True).stdout
    return int(said.split("version ")[1].split(".")[0]) >= 23


# A kind of host, and how to tell that this is one.
HOST_KINDS: dict[str, Callable[[], bool]] = {
    "not root": lambda: os.geteuid() != 0,
    "cgroup v1 or hybrid": lambda: not _has_v2_only(),
    "cgroup v2": _has_v2_only,
    "no virtual machine": lambda: not _has_virtual_machine(),
    "apparmor": lambda: has_lsm("apparmor"),
    "no apparmor": lambda: not has_lsm("apparmor"),
    "selinux": lambda: has_lsm("selinux"),
    "no selinux": lambda: not has_lsm("selinux"),
    "resctrl": has_resctrl,
    "no runtime-spec checkout": lambda: not os.environ.get("OCI_SPEC_SCHEMA"),
    "no runtime-tools checkout": lambda: not os.environ.get("RUNTIME_TOOLS"),
    "no pidfd of a thread": lambda: not has_pidfds_of_threads(),
    "no memfd_noexec": lambda: not os.path.exists("/proc/sys/vm/memfd_noexec"),
    "no git history": lambda: not has_git_history(),
    "no static libpython": lambda: not _has_static_python(),
    "no static libseccomp": lambda: not _has_static_libseccomp(),
    "not all shells": lambda: not all(map(shutil.which, ("bash", "zsh", "fish"))),
    "not all formatters": lambda: not all(map(shutil.which, ("mandoc", "groff"))),
    "no image tools": lambda: not all(map(shutil.which, ("skopeo", "umoci"))),
    "no musl": lambda: shutil.which("musl-gcc") is None,
    "no arm64 tree": lambda: not os.environ.get("OCIRUNTIME_ARM64_TREE"),
    "other counts": _has_other_counts,
    "no chromium": lambda: not chromium(),
    "docker before 23": lambda: not knows_runtime_types(),
    "peer under test": lambda: os.environ.get("RUNTIME", "ociruntime") not in {"ociruntime", "launcher"},
}


class Entry(NamedTuple):
    """One line of the list: tests (pattern of node ids), the kind of host, the reason."""

    test: str
    host: str
    reason: str


def load(path: Path = LIST) -> list[Entry]:
    """The committed list; a kind of host that can't be detected is an error."""
    with open(path, "rb") as file:
        entries = [Entry(**line) for line in tomllib.load(file).get("skip", [])]
    for entry in entries:
        if entry.host not in HOST_KINDS:
            raise ValueError(f"{path}: no such kind of host: {entry.host!r}")
    return entries


def permitted(node_id: str, entries: list[Entry]) -> Entry | None:
    """The entry that allows this test to be skipped here, or None."""
    for entry in entries:
        if fnmatchcase(node_id, entry.test) and HOST_KINDS[entry.host]():
            return entry
    return None
