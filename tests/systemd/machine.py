# SPDX-License-Identifier: Apache-2.0
"""A machine with systemd as its PID 1, at this machine's own speed: how is it booted, entered and ended?

See `boot`. A program in it runs as a transient service, with its output in pipes: so it is in a cgroup of that machine, as
what an administrator or an engine starts is. Must not import anything of `ociruntime`.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

from tests.harness.driver import ENVIRONMENT, MARK, PATIENCE, Result, decode

HERE = Path(__file__).parent
KINDS = ("v2", "hybrid")
# Says to the tests inside that they are inside.
VARIABLE = "OCIRUNTIME_TEST_SYSTEMD"
# A cgroup or a slice that a session of tests has named.
_OF_A_TEST = re.compile(r"ociruntime[-_]test[-_]")
_BOOT = 60.0 * PATIENCE  # seconds; it takes less than one


class Machine:
    """One booted systemd.

    kind   "v2" or "hybrid": which cgroups it sees
    pid    its PID 1, here
    """

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind = kind
        self.name = f"{MARK}-{kind}"
        self.directory = directory / kind
        self.directory.mkdir()
        self.console = directory / f"{kind}.log"
        with open(self.console, "wb") as console:
            self.process = subprocess.Popen(
                [str(HERE / "boot"), str(self.directory), self.name, kind],
                stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=ENVIRONMENT, start_new_session=True,
            )  # fmt: skip
        self.pid = 0

    def wait(self) -> None:
        """Wait until it is up. Raises AssertionError with its console's last lines."""
        end = time.monotonic() + _BOOT
        while time.monotonic() < end and self.process.poll() is None:
            self.pid = self.pid or self._systemd()
            if self.pid and self._is_running():
                return
            time.sleep(0.05)
        raise AssertionError(f"systemd does not boot: {decode(self.console.read_bytes())[-2000:]}")

    def _systemd(self) -> int:
        """The child of unshare, once it has become systemd."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text("ascii")
            found = [pid for pid in children.split() if os.readlink(f"/proc/{pid}/exe").endswith("/systemd")]
        except FileNotFoundError:  # one has ended meanwhile
            return 0
        return int(found[0]) if found else 0

    def _is_running(self) -> bool:
        done = subprocess.run(
            [*self.entering(), "systemctl", "is-system-running"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT, check=False,
        )  # fmt: skip
        return done.stdout.strip() == b"running"

    def entering(self) -> list[str]:
        """What starts a program in its namespaces, though not in its cgroups."""
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-i", "-n", "-p", "-C", "--"]

    def call(self, *words: str, environment: dict[str, str] | None = None, timeout: float = 600.0) -> Result:
        """Run a program in it, as a service, to its end."""
        said = [f"--setenv={name}={value}" for name, value in {**ENVIRONMENT, **(environment or {})}.items()]
        service = ["systemd-run", "--quiet", "--pipe", "--wait", "--collect", "-p", "LimitNOFILE=65536", "-p", "LimitMEMLOCK=infinity", "-p", "TasksMax=infinity", *said]  # fmt: skip
        began = time.monotonic()
        done = subprocess.run(
            [*self.entering(), *service, *words],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=ENVIRONMENT, timeout=timeout * PATIENCE, check=False,
        )  # fmt: skip
        return Result(done.returncode, decode(done.stdout), "", time.monotonic() - began)

    def stop(self) -> None:
        """End it, with all that is in it, and remove its cgroups."""
        if self.pid:
            try:
                os.kill(self.pid, signal.SIGKILL)
            except ProcessLookupError:
                self.pid = 0
        self.process.kill()
        self.process.wait()
        for place in cgroups():
            remove_tree(f"{place}/{self.name}")

    def left(self) -> list[str]:
        """The cgroups of tests in it, in every hierarchy, its own or not."""
        own = [f"{place}/{self.name}" for place in cgroups()]
        return sorted(
            path for top in own for path, _, _ in os.walk(top) if _OF_A_TEST.search(path.removeprefix(top))
        )


def cgroups() -> list[str]:
    """The mount points of all hierarchies."""
    lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    return [line.split()[1] for line in lines if line.split()[2] in ("cgroup", "cgroup2")]


def remove_tree(directory: str) -> None:
    """Remove a cgroup and all below it, once its processes are gone."""
    end = time.monotonic() + 10.0 * PATIENCE
    while os.path.isdir(directory):
        for place, _, _ in sorted(os.walk(directory), reverse=True):
            try:
                os.rmdir(place)
            except OSError as failure:
                if time.monotonic() > end:
                    raise AssertionError(f"{place} does not go away") from failure
        time.sleep(0.02)
