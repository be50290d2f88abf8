# SPDX-License-Identifier: Apache-2.0
"""How does a test call a command as an ordinary user, without changing the machine's accounts?

In a mount namespace with an /etc/passwd, /etc/subuid and /etc/subgid of its own, as a uid that nobody has.
Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.driver import ENVIRONMENT, MARK, TIMEOUT, Result, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

UID = 54321
NAME = "oci-tester"
FIRST = 700_000  # of the sub-ids
_ENTER = """
set -e
mount --make-rprivate /
for name in passwd group subuid subgid; do mount --bind "$FILES/$name" "/etc/$name"; done
eval "$BEFORE"
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --inh-caps=-all "$@"
"""


class User:
    """An ordinary user with a home and an XDG_RUNTIME_DIR.

    directory  searchable by everybody
    sub_ids    how many ids /etc/subuid and /etc/subgid give it
    """

    def __init__(self, directory: Path, sub_ids: int = 65536) -> None:
        self.home = directory / "home"
        self.runtime_directory = directory / "run"
        self.files = directory / "etc"
        for place, mode in ((self.home, 0o755), (self.runtime_directory, 0o700), (self.files, 0o755)):
            place.mkdir()
            place.chmod(mode)
        for place in (self.home, self.runtime_directory):
            os.chown(place, UID, UID)
        line = f"{NAME}:x:{UID}:"
        self._copy("passwd", f"{line}{UID}::{self.home}:/bin/sh")
        self._copy("group", line)
        for name in ("subuid", "subgid"):
            (self.files / name).write_text(f"{NAME}:{FIRST}:{sub_ids}\n" if sub_ids else "")
        self.environment = {
            **ENVIRONMENT,
            "HOME": str(self.home),
            "USER": NAME,
            "XDG_RUNTIME_DIR": str(self.runtime_directory),
        }

    def _copy(self, name: str, line: str) -> None:
        (self.files / name).write_text(Path("/etc", name).read_text() + line + "\n")

    def start(self, *words: object, **how: Any) -> subprocess.Popen[bytes]:
        """Start a command as this user, in its home.

        before  what root does first, in the mount namespace in which the command runs
        """
        before = str(how.pop("before", ""))
        given = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": self.home,
        }
        env = {**self.environment, **how.pop("env", {})}
        return subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", _ENTER, "sh", *map(str, words)],
            **{
                **given,
                **how,
                "env": {**env, "FILES": str(self.files), "USER_ID": str(UID), "BEFORE": before},
            },
        )

    def call(self, *words: object, timeout: float = TIMEOUT, **how: Any) -> Result:
        """Run it to its end."""
        process = self.start(*words, **how)
        out, err = process.communicate(timeout=timeout)
        return Result(process.returncode, decode(out or b""), decode(err or b""), 0, "ociruntime")

    def detach(self, *words: object) -> None:
        """Run a command that leaves a process behind, which keeps the output."""
        with open(self.files / "said", "w+b") as log:
            process = self.start(*words, stdout=log, stderr=log)
            assert process.wait(TIMEOUT) == 0, (self.files / "said").read_text()

    def own(self, path: Path) -> None:
        """Give a tree to this user."""
        subprocess.run(["chown", "-hR", f"{UID}:{UID}", path], check=True)


def command() -> str:
    """This runtime's command, if others than root may execute it; else ""."""
    beside = os.path.join(os.path.dirname(sys.executable), "ociruntime")
    path = os.environ.get("RUNTIME", "")
    found = path if path.startswith("/") else beside
    words = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", found, "--version"]
    if shutil.which("setpriv") is None:
        return ""
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return found if done.returncode == 0 else ""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that everybody may search."""
    directory = Path(tempfile.mkdtemp(prefix=f"{MARK}-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)


@pytest.fixture
def user(place: Path) -> User:
    """With 65536 sub-ids."""
    return User(place)


@pytest.fixture
def poor(place: Path) -> User:
    """Without any."""
    return User(place, sub_ids=0)
