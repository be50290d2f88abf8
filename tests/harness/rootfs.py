# SPDX-License-Identifier: Apache-2.0
"""Where do root file systems come from? Made by a command, cached outside the tree, never committed.

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_DIRECTORIES = (
    "bin", "sbin", "usr/bin", "usr/sbin", "etc", "dev", "proc", "sys",
    "tmp", "root", "home", "var/tmp", "run", "mnt", "opt", "work",
)  # fmt: skip
_PASSWD = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n"
_GROUP = "root:x:0:\nuser:x:1000:\nextra:x:2000:\n"


class RootfsUnavailableError(Exception):
    """A root file system can't be made here; the text says what to install."""


def cache_directory() -> Path:
    """$XDG_CACHE_HOME/ociruntime-tests; made if missing."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    directory = Path(base, "ociruntime-tests")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def _locked(name: str) -> Iterator[Path]:
    """Hold the cache entry `name`, so that two test runs do not make it at once."""
    directory = cache_directory()
    with open(directory / f"{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield directory / name


def static_busybox() -> str:
    """The host's statically linked busybox."""
    path = shutil.which("busybox")
    if path is None:
        raise RootfsUnavailableError("no busybox: apt-get install busybox-static")
    with open(path, "rb") as file:
        if b"/ld-linux" in file.read(4096):
            raise RootfsUnavailableError(f"{path} is linked dynamically: apt-get install busybox-static")
    return path


def busybox_template() -> Path:
    """A busybox root with a link per applet; made once and cached."""
    source = static_busybox()
    stamp = f"{os.stat(source).st_size}-{int(os.stat(source).st_mtime)}"
    with _locked(f"busybox-{stamp}") as template:
        if template.is_dir():
            return template
        unfinished = template.with_name(template.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        for name in _DIRECTORIES:
            (unfinished / name).mkdir(parents=True)
        (unfinished / "tmp").chmod(0o1777)
        shutil.copy(source, unfinished / "bin/busybox")
        listed = subprocess.run([source, "--list"], check=True, capture_output=True, text=True).stdout
        for applet in listed.split():
            if applet != "busybox":
                (unfinished / "bin" / applet).symlink_to("busybox")
        (unfinished / "etc/passwd").write_text(_PASSWD)
        (unfinished / "etc/group").write_text(_GROUP)
        unfinished.rename(template)
        return template


def copy_busybox(target: Path, *, own_files: bool = False) -> None:
    """Make `target` a busybox root of its own.

    own_files  copy the program too (for tests that try to overwrite it); else it is a hard link. Everything
               else is always a copy: tests write to etc/passwd
    """
    template = busybox_template()

    def link(source: str, destination: str) -> str:
        if not source.endswith("/bin/busybox"):
            return shutil.copy2(source, destination)
        try:
            os.link(source, destination)
        except OSError:  # another file system
            return shutil.copy2(source, destination)
        return destination

    shutil.copytree(template, target, symlinks=True, copy_function=shutil.copy2 if own_files else link)


def _mirror() -> str:
    """The Debian mirror that apt uses on this machine."""
    candidates = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    for path in candidates:
        if not path.is_file():
            continue
        for line in path.read_text(errors="replace").splitlines():
            words = line.split()
            if not words or words[0] not in ("deb", "URIs:"):
                continue
            address = next((word for word in words[1:] if "://" in word), "")
            if address and "security" not in address:
                return address
    raise RootfsUnavailableError("no Debian mirror in /etc/apt/sources.list")


def debian_rootfs(suite: str = "bookworm") -> Path:
    """A Debian minbase root made by debootstrap; cached, shared, to be used read-only."""
    program = shutil.which("debootstrap", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise RootfsUnavailableError("no debootstrap: apt-get install debootstrap")
    with _locked(f"debian-{suite}") as finished:
        if finished.is_dir():
            return finished
        unfinished = finished.with_name(finished.name + ".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        outcome = subprocess.run(
            [program, "--variant=minbase", suite, str(unfinished), _mirror()],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if outcome.returncode != 0:
            raise RootfsUnavailableError(f"debootstrap failed: {(outcome.stdout + outcome.stderr)[-500:]}")
        unfinished.rename(finished)
        return finished
