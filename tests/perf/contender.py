# SPDX-License-Identifier: Apache-2.0
"""Who takes part: our command as a snapshot and as the launcher, runc and crun of Debian, and newer ones where they are named.

    RUNC_NEW, CRUN_NEW    absolute paths of other versions, which are measured as well
    SNAPSHOT              a snapshot that has been built already; without it one is built

Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.harness.bundle import Bundle, make_bundle
from tests.harness.command import LAUNCHER
from tests.harness.driver import ENVIRONMENT, MARK, PEERS, Runtime
from tests.perf.stopwatch import CommandFailedError, Lap, lap

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from tests.harness.configuration import Config

_PATIENCE = 30_000  # milliseconds for a killed program to be gone
NEWER = {"runc": "RUNC_NEW", "crun": "CRUN_NEW"}


class Contender:
    """One command, with a --root and bundles of its own."""

    def __init__(self, name: str, command: str, directory: Path) -> None:
        directory.mkdir(parents=True)
        self.name = name
        self.directory = directory
        self.runtime = Runtime(command, directory / "state", directory)
        self.is_ours = name not in PEERS and name not in NEWER.values()
        self._numbers = 0

    def version(self) -> str:
        """What it is, with its version, in a few words."""
        said = self.runtime.call("--version").ok().out.splitlines()
        if self.is_ours:
            return f"ociruntime ({self.name})"
        return said[0].replace(" version ", " ")

    def bundle(self, name: str, *program: str, edit: Callable[[Config], None] | None = None) -> Bundle:
        """A bundle that this runtime can read."""
        made = make_bundle(self.directory / name, *program, edit=edit)
        self.runtime.prepare(made)
        return made

    def close(self) -> None:
        """Remove what a failed round has left."""
        for container_id in self.runtime.ids():
            self.runtime.call("delete", "--force", container_id)

    def new_id(self) -> str:
        """An id that the leak check of the tests knows."""
        self._numbers += 1
        return f"{MARK}-{self.name}-{self._numbers}"

    def argv(self, *words: str) -> list[str]:
        """The command line."""
        return self.runtime.argv(*words)

    def lap(self, *words: str) -> Lap:
        """One call of the command, timed."""
        return lap(self.argv(*words), str(self.directory / "diagnostics"))

    def run(self, bundle: Bundle) -> Lap:
        """`run` to its end."""
        return self.lap("run", "--bundle", str(bundle.directory), self.new_id())

    def begin(self, bundle: Bundle, *flags: str) -> tuple[str, int]:
        """Create and start; the id, and a pidfd of the program, which the caller closes."""
        container_id = self.new_id()
        pid_file = self.directory / "pid"
        words = ("--bundle", str(bundle.directory), "--pid-file", str(pid_file))
        self.lap("create", *words, *flags, container_id)
        pidfd = os.pidfd_open(int(pid_file.read_text(encoding="ascii")))
        self.lap("start", container_id)
        return container_id, pidfd

    def end(self, container_id: str, pidfd: int) -> None:
        """Kill it, wait for its end, delete it."""
        self.lap("kill", container_id, "KILL")
        wait_for_end(pidfd)
        os.close(pidfd)
        self.lap("delete", container_id)


def wait_for_end(pidfd: int) -> None:
    """Wait until a process has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    if not poll.poll(_PATIENCE):
        raise CommandFailedError("a killed program is still there")


def everybody(directory: Path, names: Collection[str] = (), seed: int = 0) -> list[Contender]:
    """All that can take part on this machine, or those of these names; each in its own directory below this one.

    seed    of the snapshot's hashes, if it is built: where objects lie, and so the number of page faults, depends on it.
            0: drawn anew, as for users
    """
    commands = {name: command for name, command in _commands().items() if not names or name in names}
    if not names or "snapshot" in names:
        path = _snapshot(directory, seed)
        commands = ({"snapshot": path} if path else {}) | commands
    return [Contender(name, command, directory / name) for name, command in commands.items()]


def _commands() -> dict[str, str]:
    """All but the snapshot, which must be built."""
    commands = {"launcher": LAUNCHER}
    commands |= {peer: peer for peer in PEERS if shutil.which(peer, path=ENVIRONMENT["PATH"])}
    for peer, variable in NEWER.items():
        path = os.environ.get(variable)
        if path is not None:
            if not os.path.isabs(path) or not os.access(path, os.X_OK):
                raise FileNotFoundError(f"{variable}={path}: must be the absolute path of a newer {peer}")
            commands[variable] = path
    return commands


def _snapshot(directory: Path, seed: int) -> str:
    """Path of our command as a snapshot; "" where none can be built, which is said."""
    path = os.environ.get("SNAPSHOT")
    if path is not None:
        return path
    path = str(directory / "ociruntime")
    done = subprocess.run(
        [sys.executable, "-m", "ociruntime.cli.snapshot", "--seed", str(seed), path],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.stderr.write(f"tests.perf: without a snapshot: {done.stderr.strip()}\n")
        return ""
    return path
