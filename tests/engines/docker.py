# SPDX-License-Identifier: Apache-2.0
"""dockerd without a network, on a containerd of our own, driven by `docker`. Must not import `ociruntime`.

Not on a containerd of dockerd's: one that has died counts as alive until something reaps it.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

from tests.engines.containerd import Containerd, ShimContainerd
from tests.engines.engine import SLICE, SYSTEMD, Daemon, Engine, runtime_path, wait_until_serves
from tests.engines.image import NAME
from tests.harness.cgroup_files import V2
from tests.harness.driver import MARK

# What it needs to live beside others: no packet filter, no bridge; and cgroups without systemd. Where that is PID 1 it is
# docker's default on v2, and has to be asked for on v1.
_DRIVER = (
    () if SYSTEMD and V2 else ("--exec-opt", f"native.cgroupdriver={'systemd' if SYSTEMD else 'cgroupfs'}")
)
_FLAGS = (
    "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none", "--userland-proxy=false",
    *_DRIVER, "--storage-driver", "overlay2", "--live-restore",
)  # fmt: skip


class Docker(Engine):
    """`docker` against a dockerd of its own; the runtime under test is its default."""

    name = "docker"
    containerd_kind: type[Containerd] = Containerd

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        socket = f"unix://{directory}/docker.sock"
        self.containerd = self.containerd_kind(directory / "containerd")
        settings = directory / "daemon.json"
        settings.write_text(json.dumps({"runtimes": {"tested": self.runtime()}, "default-runtime": "tested"}))
        self.daemon = Daemon(
            [
                self.find("dockerd", "DOCKERD"), "--config-file", str(settings), "-H", socket, *_FLAGS,
                "--data-root", f"{directory}/data", "--exec-root", f"{directory}/exec",
                "--pidfile", f"{directory}/dockerd.pid", "--cgroup-parent", SLICE if SYSTEMD else f"/{MARK}",
                "--containerd", f"{self.containerd.directory}/containerd.sock",
            ],
            directory / "dockerd.log",
            self.environment,
        )  # fmt: skip
        self.client = [self.find("docker", "DOCKER"), "-H", socket]

    def runtime(self) -> dict[str, Any]:
        """How daemon.json names the runtime."""
        return {"path": runtime_path()}

    def start(self) -> None:
        """Start both daemons (containerd may be there still), wait until docker answers."""
        if self.containerd.daemon.process is None:
            self.containerd.start()
        self.daemon.start()
        wait_until_serves(self.daemon, [*self.client, "version"], self.environment)

    def load(self, archive: Path) -> None:
        """Import the image."""
        self.call("load", "-i", str(archive)).ok()

    def stop(self) -> None:
        """End both daemons.

        The bind of the data directory onto itself is undone as well: dockerd leaves it on a machine whose / is a
        directory of its file system (tests/fresh_machine.sh), as it does not know its own mount there.
        """
        self.daemon.stop()
        self.containerd.stop()
        if f" {self.directory}/data " in Path("/proc/self/mountinfo").read_text(encoding="utf-8"):
            subprocess.run(["umount", f"{self.directory}/data"], check=True)

    def lose_daemon(self) -> None:
        """Kill dockerd; containerd stays. Its data directory, which it binds onto itself, is unbound as it would have done."""
        self.daemon.stop(signal.SIGKILL)
        subprocess.run(["umount", "-l", f"{self.directory}/data"], check=True)

    def run_words(self, container: str, *command: str, flags: tuple[str, ...] = ()) -> list[str]:
        """The words of `docker run`."""
        network = [] if any(flag.startswith("--network") for flag in flags) else ["--network", "none"]
        return ["run", "--name", container, *network, *flags, NAME, *command]


class ShimDocker(Docker):
    """`docker` with our own shim, which it can name from version 23 on."""

    name = "shim-docker"
    containerd_kind = ShimContainerd

    def runtime(self) -> dict[str, Any]:
        """The shim's type, and its options."""
        return {"runtimeType": ShimContainerd.runtime, "options": {"SystemdCgroup": SYSTEMD}}
