# SPDX-License-Identifier: Apache-2.0
"""How is an engine run so that nothing else on the machine notices? Own root, state and sockets; ended by pid.

An engine is a daemon (or none: podman, buildah) and a client's command line. Must not import `ociruntime`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from tests.harness.command import our_shim
from tests.harness.driver import (
    DRIVER,
    ENVIRONMENT,
    MARK,
    PATIENCE,
    TIMEOUT,
    Result,
    command_of,
    decode,
    runtime_under_test,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

# Debian's programs first: an engine of another version may be in front of them on PATH.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# Whether the engine makes cgroups with systemd, as it does by default where that is PID 1 (tests/systemd).
SYSTEMD = DRIVER == "systemd"
# In which slice; its name has no dash, which would mean a slice in a slice.
SLICE = f"{MARK.replace('-', '_')}.slice"


def runtime_path() -> str:
    """Absolute path of the runtime under test, as an engine's configuration names it."""
    return command_of(runtime_under_test())[0]


def shim_directory() -> str:
    """Where our own shim is, whichever runtime is under test."""
    return os.path.dirname(our_shim())


def program(name: str, variable: str) -> str:
    """The engine's program: the one that $variable names, or Debian's. Raises FileNotFoundError."""
    path = os.environ.get(variable) or shutil.which(name, path=PATH)
    if path is None:
        raise FileNotFoundError(f"no program {name}")
    return path


class Daemon:
    """A process that serves until it is told to end."""

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        self.command = list(command)
        self.log = log
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; whether it serves, the engine must ask."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment,
            )  # fmt: skip

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it and wait for its end."""
        if self.process is None:
            return
        self.process.send_signal(number)
        try:
            self.process.wait(30 * PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def must_live(self) -> None:
        """Raise with the end of its log if it has ended by itself."""
        if self.process is not None and self.process.poll() is not None:
            tail = decode(self.log.read_bytes()[-2000:])
            raise AssertionError(f"{self.command[0]} ended with {self.process.returncode}:\n{tail}")


class Engine(ABC):
    """One engine in a directory of its own; `client` are the words before each subcommand."""

    name = ""
    client: list[str]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.environment = {**ENVIRONMENT, "PATH": f"{PATH}:/usr/local/bin", "HOME": str(directory)}

    def find(self, name: str, variable: str) -> str:
        """The program, whose directory goes first on PATH: its shims lie there."""
        path = program(name, variable)
        self.environment["PATH"] = f"{os.path.dirname(path)}:{self.environment['PATH']}"
        return path

    def call(self, *words: str, timeout: float = 2 * TIMEOUT, stdin: str = "") -> Result:
        """Run one command of the client to its end."""
        began = time.monotonic()
        done = subprocess.run(
            [*self.client, *words], input=stdin.encode(), capture_output=True, env=self.environment,
            timeout=timeout, check=False,
        )  # fmt: skip
        return Result(done.returncode, decode(done.stdout), decode(done.stderr), time.monotonic() - began)

    def begin(self, *words: str, **how: Any) -> subprocess.Popen[bytes]:
        """Start one command of the client."""
        return subprocess.Popen([*self.client, *words], env=self.environment, **how)

    def start(self) -> None:  # noqa: B027 - podman and buildah have no daemon
        """Make it ready to serve."""

    @abstractmethod
    def load(self, archive: Path) -> None:
        """Import the image."""

    @abstractmethod
    def run_words(self, container: str, *command: str, flags: tuple[str, ...] = ()) -> list[str]:
        """The words of the client that run a container of the image."""

    def parents(self) -> set[str]:
        """Names of cgroups that are made with the first container and stay until the engine is stopped."""
        return {MARK}

    def stop(self) -> None:  # noqa: B027
        """End everything that belongs to it."""


# A shell's script: the container's limits, one `name value` a line, by the names of cgroup v1.
SHOW_LIMITS = """cd /sys/fs/cgroup
show() { for file in $2 $3; do [ -f $file ] && echo $1 $(cat $file); done; }
show memory memory/memory.limit_in_bytes memory.max
show swap memory/memory.memsw.limit_in_bytes memory.swap.max
show reservation memory/memory.soft_limit_in_bytes memory.low
show shares cpu/cpu.shares cpu.weight
show quota cpu/cpu.cfs_quota_us cpu.max
show period cpu/cpu.cfs_period_us
show cpus cpuset/cpuset.cpus cpuset.cpus
show pids pids/pids.max pids.max
true"""


def limits(shown: str) -> dict[str, str]:
    """What SHOW_LIMITS has printed."""
    return {name: text for name, _, text in (line.partition(" ") for line in shown.splitlines())}


def wait_for(what: Callable[[], bool], seconds: float = 20) -> None:
    """Ask again and again until the answer is yes."""
    end = time.monotonic() + seconds * PATIENCE
    while not what():
        assert time.monotonic() < end, f"not so after {seconds} s"
        time.sleep(0.1)


def wait_until_serves(daemon: Daemon, ask: Sequence[str], environment: dict[str, str]) -> None:
    """Ask until the answer is yes."""
    end = time.monotonic() + 30 * PATIENCE
    while True:
        daemon.must_live()
        done = subprocess.run(ask, capture_output=True, env=environment, check=False)
        if done.returncode == 0:
            return
        assert time.monotonic() < end, f"{daemon.command[0]} does not serve: {decode(done.stderr)}"
        time.sleep(0.1)
