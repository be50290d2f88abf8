# SPDX-License-Identifier: Apache-2.0
"""containerd with its runc shim, driven by `ctr`. Must not import `ociruntime`."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

from tests.engines.engine import (
    SLICE,
    SYSTEMD,
    Daemon,
    Engine,
    runtime_path,
    shim_directory,
    wait_until_serves,
)
from tests.engines.image import NAME
from tests.harness.driver import MARK

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = """version = 2
root = "{directory}/root"
state = "{directory}/run"
oom_score = 0
disabled_plugins = [{disabled}]
[grpc]
address = "{directory}/containerd.sock"
[ttrpc]
address = "{directory}/containerd.sock.ttrpc"
"""
UNUSED = (
    "snapshotter.v1.btrfs",
    "snapshotter.v1.zfs",
    "snapshotter.v1.aufs",
    "snapshotter.v1.devmapper",
    "grpc.v1.cri",
)


class Containerd(Engine):
    """`ctr` against a containerd of its own."""

    name = "containerd"
    config = CONFIG
    unused: tuple[str, ...] = UNUSED

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        settings = directory / "config.toml"
        settings.write_text(self.config.format(**self.settings()))
        self.daemon = Daemon(
            [self.find("containerd", "CONTAINERD"), "--config", str(settings)],
            directory / "containerd.log",
            self.environment,
        )
        ctr = self.find("ctr", "CTR")
        # The namespace names the runtime's root below /run/containerd/runc, which all daemons share.
        self.client = [ctr, "--address", f"{directory}/containerd.sock", "--namespace", MARK]

    def settings(self) -> dict[str, str]:
        """What is filled into the configuration."""
        disabled = ", ".join(f'"io.containerd.{plugin}"' for plugin in self.unused)
        return {"directory": str(self.directory), "disabled": disabled, "runtime": runtime_path()}

    def start(self) -> None:
        """Start the daemon, wait until it answers."""
        self.daemon.start()
        wait_until_serves(self.daemon, [*self.client, "version"], self.environment)

    def load(self, archive: Path) -> None:
        """Import the image."""
        self.call("image", "import", "--no-unpack", str(archive)).ok()

    def stop(self) -> None:
        """End the daemon; its shims go with the last task."""
        self.daemon.stop()

    def lose_daemon(self) -> None:
        """Kill the daemon."""
        self.daemon.stop(signal.SIGKILL)

    def run_words(self, container: str, *command: str, flags: tuple[str, ...] = ()) -> list[str]:
        """The words of `ctr run`."""
        place = f"{SLICE}:ctr:{container}" if SYSTEMD else f"/{MARK}/{container}"
        driver = ["--runc-systemd-cgroup"] if SYSTEMD else []
        runtime = ["--runc-binary", runtime_path(), "--cgroup", place, *driver]
        return ["run", *runtime, *flags, NAME, container, *command]


class ShimContainerd(Containerd):
    """`ctr` against a containerd that uses our own shim."""

    name = "shim-containerd"
    runtime = "io.containerd.ociruntime.v1"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        # containerd looks for the shim on its PATH.
        self.environment["PATH"] = f"{shim_directory()}:{self.environment['PATH']}"

    def stop(self) -> None:
        """End the daemon; the directory of the containers' state stays, with its seccomp filters, so it is removed."""
        super().stop()
        shutil.rmtree(f"/run/containerd/ociruntime/{MARK}", ignore_errors=True)

    def run_words(self, container: str, *command: str, flags: tuple[str, ...] = ()) -> list[str]:
        """The words of `ctr run`."""
        place = f"{SLICE}:ctr:{container}" if SYSTEMD else f"/{MARK}/{container}"
        options = ["--runtime-config-path", write_options(self.directory)] if SYSTEMD else []
        return [
            "run",
            "--runtime",
            self.runtime,
            "--cgroup",
            place,
            *options,
            *flags,
            NAME,
            container,
            *command,
        ]


def write_options(directory: Path) -> str:
    """A file with the options of our own shim, where systemd makes the cgroups; its path."""
    path = directory / "shim.toml"
    path.write_text("SystemdCgroup = true\n", encoding="ascii")
    return str(path)
