# SPDX-License-Identifier: Apache-2.0
"""podman and buildah, which have no daemon: each command starts the runtime through conmon, or by itself.

Must not import `ociruntime`.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path

from tests.engines.engine import SLICE, SYSTEMD, Engine, runtime_path
from tests.engines.image import NAME
from tests.harness.cgroup_files import ROOT as CGROUP_ROOT, V2
from tests.harness.driver import MARK

# Without CAP_SYS_RESOURCE no limit can be raised, and podman asks for more than this machine's by default.
_CONFIG = """[containers]
{pids}
default_ulimits = ["nofile={files}:{files}", "nproc=32768:32768"]
{cgroupns}
log_driver = "k8s-file"
[engine]
events_logger = "file"
runtime_supports_json = ["crun", "ociruntime", "runc"]
runtime_supports_nocgroup = ["crun", "ociruntime"]
helper_binaries_dir = [{helpers}]
"""


def counts_processes() -> bool:
    """Whether there is a controller for podman's default limit of processes."""
    return not V2 or "pids" in Path(CGROUP_ROOT, "cgroup.controllers").read_text(encoding="ascii").split()


class _Storage(Engine):
    """What both have: containers/storage, and one file of settings."""

    program_variable = ""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        command = self.find(self.name, self.program_variable)
        settings = directory / "containers.conf"
        # A newer podman's helpers lie beside it, if anywhere.
        helpers = ", ".join(f'"{place}"' for place in (os.path.dirname(command), "/usr/lib/podman"))
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        cgroupns = "" if SYSTEMD else 'cgroupns = "host"'
        pids = "" if counts_processes() else "pids_limit = 0"
        settings.write_text(_CONFIG.format(files=files, helpers=helpers, cgroupns=cgroupns, pids=pids))
        self.environment["CONTAINERS_CONF"] = str(settings)
        self.environment["PODMAN_IGNORE_CGROUPSV1_WARNING"] = "1"
        self.client = [
            command,
            "--root", f"{directory}/storage", "--runroot", f"{directory}/run", "--storage-driver", "vfs",
        ]  # fmt: skip


class Podman(_Storage):
    """`podman` with storage of its own."""

    name = "podman"
    program_variable = "PODMAN"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.client += [
            "--tmpdir",
            f"{directory}/tmp",
            *([] if SYSTEMD else ["--cgroup-manager=cgroupfs"]),
            "--runtime",
            runtime_path(),
        ]

    def load(self, archive: Path) -> None:
        """Import the image."""
        self.call("load", "-i", str(archive)).ok()

    def parents(self) -> set[str]:
        """Also the cgroup that conmon is put into."""
        return {MARK, "conmon"}

    def run_words(self, container: str, *command: str, flags: tuple[str, ...] = ()) -> list[str]:
        """The words of `podman run`."""
        network = (
            [] if any(flag.startswith(("--network", "--pod")) for flag in flags) else ["--network", "none"]
        )
        parent = ["--cgroup-parent", SLICE if SYSTEMD else f"/{MARK}"]
        return ["run", "--name", container, *parent, *network, *flags, NAME, *command]


class Buildah(_Storage):
    """`buildah` with storage of its own."""

    name = "buildah"
    program_variable = "BUILDAH"

    def load(self, archive: Path) -> None:
        """Import the image."""
        self.call("pull", f"docker-archive:{archive}").ok()

    def run_words(self, container: str, *command: str, flags: tuple[str, ...] = ()) -> list[str]:
        """The words of `buildah run`, with the runtime under test."""
        how = ["--isolation", "oci", "--network", "none", "--runtime", runtime_path()]
        return ["run", *how, *flags, container, "--", *command]
